//! The Mainstay that is drilled: started by us as `mainstay up`, killed and started again by us as an init system would,
//! or one that was up already and is left up.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_core::{Clock, SystemClock, WallMs};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::state::StateDir;

/// How long a start may take until every service has a ready replica.
const START_MAX: Duration = Duration::from_secs(60);
/// How long an orderly stop may take.
const STOP_MAX: Duration = Duration::from_secs(120);
/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The process that is drilled.
pub(crate) struct Mainstay {
    /// Asked for once: the file may be replaced by a newer build while a drill runs.
    program: PathBuf,
    file: PathBuf,
    state: StateDir,
    ingress: SocketAddr,
    /// None when it was up already.
    child: Option<Mutex<Child>>,
}

impl Mainstay {
    /// The one that is up for `file`, or a new one as our child; waits until all of it is ready.
    pub(crate) async fn up(file: PathBuf) -> anyhow::Result<Self> {
        let state = StateDir::beside(&file);
        let program = std::env::current_exe().context("cannot find our own program")?;
        let child = if state.is_held() {
            None
        } else {
            // What an earlier drill's child said is of no use to this one.
            let _ = std::fs::remove_file(log(&state));
            Some(Mutex::new(start(&program, &file, &state)?))
        };
        let mut mainstay = Self { program, file, state, ingress: SocketAddr::from(([127, 0, 0, 1], 0)), child };
        let outcome = tokio::select! {
            outcome = mainstay.until_ready() => outcome,
            () = tokio::time::sleep(START_MAX) => Err(anyhow::anyhow!("not everything got ready within {START_MAX:?}")),
            // The child is in a group of its own and would live on without us.
            () = crate::drills::told_to_end() => Err(anyhow::anyhow!("interrupted while it started")),
        };
        if let Err(error) = outcome {
            let said = mainstay.last_words();
            mainstay.down().await.ok();
            return Err(error.context(said));
        }
        mainstay.ingress = mainstay.state.running().context("Mainstay is announced")?.ingress;
        Ok(mainstay)
    }

    pub(crate) fn ingress(&self) -> SocketAddr {
        self.ingress
    }

    /// Through the announcement, because a new process may have another address.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::to(&self.state)
    }

    /// Refuses faults that kill a Mainstay which somebody else has to start again.
    pub(crate) fn may_be_killed(&self) -> anyhow::Result<()> {
        if self.child.is_none() {
            bail!(
                "this drill kills Mainstay itself, and the one that is up was not started by the drill\n  fix: `mainstay down` first; the drill then runs it as its child"
            );
        }
        Ok(())
    }

    async fn until_ready(&self) -> anyhow::Result<()> {
        loop {
            if let Some(child) = &self.child
                && let Some(status) = child.lock().await.try_wait()?
            {
                bail!("`mainstay up` ended at once ({status})");
            }
            if let Ok(client) = self.client()
                && let Ok(status) = client.get::<Value>("/v1/status").await
                && all_ready(&status)
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// What the child wrote last, for an error.
    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(log(&self.state)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        format!("the app did not come up; it said:\n  {}", lines[lines.len().saturating_sub(20)..].join("\n  "))
    }

    /// SIGKILL, and a new one at once.
    pub(crate) async fn kill_and_restart(&self) -> anyhow::Result<WallMs> {
        self.may_be_killed()?;
        let mut child = self.child.as_ref().context("the child is ours")?.lock().await;
        let at = SystemClock.wall_ms();
        // Waits until it is gone: the lock of the state folder dies with it, and the new one must not come before that.
        child.kill().await?;
        *child = start(&self.program, &self.file, &self.state)?;
        Ok(at)
    }

    /// Ends what we started, in an orderly way; leaves what was up before.
    pub(crate) async fn down(&self) -> anyhow::Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        let gone = async {
            // Asked again and again: a child that is still starting has no ear for it yet.
            while child.lock().await.try_wait()?.is_none() {
                if let Ok(client) = self.client() {
                    client.send(hyper::Method::POST, "/v1/shutdown", &Value::Null).await.ok();
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok::<_, anyhow::Error>(())
        };
        tokio::time::timeout(STOP_MAX, gone).await.with_context(|| format!("Mainstay still runs after {STOP_MAX:?}"))?
    }
}

fn all_ready(status: &Value) -> bool {
    let services = status["services"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    !services.is_empty() && services.iter().all(|s| s["ready"] == s["wanted"])
}

fn log(state: &StateDir) -> PathBuf {
    state.root().join("logs/mainstay.log")
}

fn start(program: &Path, file: &Path, state: &StateDir) -> anyhow::Result<Child> {
    state.create()?;
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log(state))?;
    let mut command = Command::new(program);
    command.arg("up").arg("--file").arg(file);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A Ctrl-C on the terminal is for us: we end the child when the faults are out.
    command.process_group(0);
    command.spawn().context("cannot start `mainstay up`")
}
