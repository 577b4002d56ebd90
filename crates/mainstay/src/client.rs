//! The command line's side of the API: one request at a time to a running Mainstay on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::state::StateDir;

/// Longest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How long one call may take.
const CALL_MAX: Duration = Duration::from_secs(30);

/// Reaches one Mainstay process.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    api: SocketAddr,
    token: String,
}

impl Client {
    /// To the Mainstay that holds `state`, or an error that says how to start one.
    pub(crate) fn to(state: &StateDir) -> anyhow::Result<Self> {
        match state.running() {
            Some(running) if state.is_held() => Ok(Self { api: running.api, token: state.token()? }),
            _ => bail!("Mainstay is not up in {}\n  fix: start it with `mainstay up`", state.root().display()),
        }
    }

    /// To an address that is known.
    pub(crate) fn at(api: SocketAddr, token: String) -> Self {
        Self { api, token }
    }

    /// Reads `path` as JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let (_, body) = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body).with_context(|| format!("{path}: the answer is not what was expected"))
    }

    /// Sends `body`, wants a good answer, and gives its JSON (null where there is none).
    pub(crate) async fn send(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let (_, answer) = self.call(method, path, Some(body)).await?;
        Ok(serde_json::from_slice(&answer).unwrap_or(Value::Null))
    }

    /// Does something to a thing that may be gone: false when it is.
    pub(crate) async fn exists(&self, method: Method, path: &str) -> anyhow::Result<bool> {
        let response = tokio::time::timeout(CALL_MAX, self.open(method, path, Some(&Value::Null))).await??;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => Ok(true),
            status => bail!("{path}: {status}"),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<(StatusCode, Bytes)> {
        let exchange = async {
            let response = self.open(method, path, body).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|e| anyhow::anyhow!("{path}: {e}"))?.to_bytes();
            Ok::<_, anyhow::Error>((status, body))
        };
        let (status, body) = tokio::time::timeout(CALL_MAX, exchange)
            .await
            .with_context(|| format!("{}: no answer in {CALL_MAX:?}", self.api))??;
        if !status.is_success() {
            let said: Value = serde_json::from_slice(&body).unwrap_or_default();
            bail!("{path}: {status}: {}", said["message"].as_str().unwrap_or("no reason given"));
        }
        Ok((status, body))
    }

    /// Sends a request and gives the answer as soon as its head is there: for streams.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream = TcpStream::connect(self.api).await;
        let stream = stream.with_context(|| format!("nobody answers on {}", self.api))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = body.map_or_else(Bytes::new, |b| b.to_string().into());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.api.to_string())
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .context("the request is malformed")?;
        Ok(sender.send_request(request).await?)
    }
}
