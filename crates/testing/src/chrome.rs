//! A real browser: chromedriver on a free port and one headless session with a profile of its own.
//!
//! Ending it must work from a panicking test too, so the end is synchronous: the session is deleted, which ends the
//! browser, then the process group of the driver is killed.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const START_MAX: Duration = Duration::from_secs(60);
const CALL_MAX: Duration = Duration::from_secs(10);

/// Quiet, without a network of its own, and able to run as root in a container.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A running browser; it ends when this is dropped.
pub struct Chrome {
    client: Client,
    session: String,
    driver: SocketAddr,
    group: Option<Pid>,
    _child: Child,
    _profile: TempDir,
}

impl Chrome {
    /// Starts a browser, or says (as [`crate::require`] does) that there is none and gives nothing.
    #[track_caller]
    pub fn start() -> impl Future<Output = Option<Chrome>> {
        let found = crate::require("chromedriver") && crate::require("chromium");
        async move { if found { Some(Self::launch().await) } else { None } }
    }

    async fn launch() -> Chrome {
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let mut child = Command::new("chromedriver")
            .arg("--port=0")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts");
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let port = async {
            loop {
                let line =
                    lines.next_line().await.expect("chromedriver's output").expect("chromedriver names its port");
                if let Some(port) = line.split_once("successfully on port ") {
                    break port.1.trim_end_matches('.').parse::<u16>().expect("a port");
                }
            }
        };
        let port = tokio::time::timeout(START_MAX, port).await.expect("chromedriver starts in time");
        // Keeps reading, so that the driver never blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });

        let driver = SocketAddr::from(([127, 0, 0, 1], port));
        let args: Vec<String> = FLAGS
            .iter()
            .map(ToString::to_string)
            .chain([format!("--user-data-dir={}", profile.path().display())])
            .collect();
        let mut capabilities = Map::new();
        let binary = crate::tools::find("chromium").expect("looked for before");
        capabilities.insert("goog:chromeOptions".to_owned(), json!({ "args": args, "binary": binary }));
        capabilities.insert("goog:loggingPrefs".to_owned(), json!({ "browser": "ALL" }));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://{driver}"))
            .await
            .expect("a browser session");
        let session = client.session_id().await.expect("the driver answers").expect("there is a session");
        Chrome { client, session, driver, group, _child: child, _profile: profile }
    }

    /// The session, to go places and look at them.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Gives the page exactly this room, however small, as a telephone would.
    pub async fn viewport(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics).await;
    }

    /// `light` or `dark`, as the reader's system would ask for.
    pub async fn color_scheme(&self, scheme: &str) {
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &media).await;
    }

    async fn devtools(&self, command: &str, params: &Value) {
        self.call("POST", "goog/cdp/execute", &json!({ "cmd": command, "params": params })).await;
    }

    /// What the console of the page was told since the last call, one `LEVEL message` each: errors, and what the content
    /// security policy forbade.
    pub async fn console(&self) -> Vec<String> {
        let log = self.call("POST", "se/log", &json!({ "type": "browser" })).await;
        let entries = log["value"].as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|e| format!("{} {}", e["level"].as_str().unwrap_or("?"), e["message"].as_str().unwrap_or("?")))
            .collect()
    }

    /// Writes what is seen now to a PNG file.
    pub async fn screenshot(&self, file: &Path) {
        let png = self.client.screenshot().await.expect("a screenshot");
        std::fs::write(file, png).expect("the screenshot can be written");
    }

    async fn call(&self, method: &'static str, path: &str, body: &Value) -> Value {
        let (driver, path, body) = (self.driver, format!("/session/{}/{path}", self.session), body.to_string());
        let answer = tokio::task::spawn_blocking(move || call(driver, method, &path, &body)).await;
        let answer = answer.expect("no panic in the call").expect("chromedriver answers");
        let value: Value = serde_json::from_str(&answer).expect("chromedriver answers in JSON");
        assert!(value["value"]["error"].is_null(), "{value}");
        value
    }
}

impl Drop for Chrome {
    fn drop(&mut self) {
        let _ = call(self.driver, "DELETE", &format!("/session/{}", self.session), "");
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// One blocking call to the driver, on a connection of its own.
fn call(driver: SocketAddr, method: &str, path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&driver, CALL_MAX)?;
    stream.set_read_timeout(Some(CALL_MAX))?;
    stream.set_write_timeout(Some(CALL_MAX))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {driver}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    // By its length: the driver keeps the connection open, whatever it was asked.
    let mut reader = std::io::BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut answer = String::new();
    reader.take(length).read_to_string(&mut answer)?;
    Ok(answer)
}
