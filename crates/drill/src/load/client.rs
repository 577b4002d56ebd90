//! The clients' HTTP: keep-alive connections in a pool, one timeout over everything, a bounded answer.

use std::hash::Hasher;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::arrivals::Request;

/// Longest answer that a client reads.
const REPLY_LEN_MAX: usize = 1024 * 1024;

/// Connections that wait for their next request.
const IDLE_CONNECTIONS_MAX: usize = 256;

/// Shorter than any server waits for the next request, so that no request runs into a connection being closed.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// The address of the system is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an address to drill: write http://host:port")]
pub struct TargetError(String);

/// What came back.
#[derive(Debug)]
pub(crate) enum Reply {
    /// An answer, whole.
    Answer { status: StatusCode, body_hash: u64, transaction: Option<String>, reason: Option<String> },
    /// No connection: the request was certainly not sent.
    NotConnected(String),
    /// Sent, or perhaps sent, and no whole answer.
    Broken(String),
}

/// Many clients over one pool of connections.
#[derive(Clone)]
pub(crate) struct Client {
    base: Uri,
    pool: Pool<HttpConnector, Full<Bytes>>,
}

impl Client {
    /// Clients of the system at `base`.
    pub(crate) fn new(base: &str) -> Result<Self, TargetError> {
        let bad = || TargetError(base.to_owned());
        let uri: Uri = base.trim_end_matches('/').parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(bad());
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_MAX));
        let pool = Pool::builder(TokioExecutor::new())
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .pool_idle_timeout(IDLE_MAX)
            // The pool's own retry stays on: it repeats only what hyper gives back unwritten.
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { base: uri, pool })
    }

    fn uri(&self, path: &str) -> Result<Uri, http::Error> {
        let authority = self.base.authority().expect("checked when the client was made").clone();
        Uri::builder().scheme("http").authority(authority).path_and_query(path).build()
    }

    /// Whether anything at all answers.
    pub(crate) async fn answers(&self) -> Result<(), String> {
        let request = Request {
            key: "".into(),
            method: http::Method::GET,
            path: "/".into(),
            headers: vec![],
            body: Bytes::new(),
        };
        match self.send(&request, CONNECT_MAX).await {
            Reply::Answer { .. } => Ok(()),
            Reply::NotConnected(why) | Reply::Broken(why) => Err(why),
        }
    }

    /// Sends `request` and reads the whole answer, or gives up after `timeout`.
    pub(crate) async fn send(&self, request: &Request, timeout: Duration) -> Reply {
        match tokio::time::timeout(timeout, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => Reply::Broken(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    async fn exchange(&self, request: &Request) -> Reply {
        let mut builder = http::Request::builder().method(request.method.clone());
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let ready = self.uri(&request.path).and_then(|uri| builder.uri(uri).body(Full::new(request.body.clone())));
        let ready = match ready {
            Ok(ready) => ready,
            Err(e) => return Reply::NotConnected(format!("the request cannot be written: {e}")),
        };
        let answer = match self.pool.request(ready).await {
            Ok(answer) => answer,
            Err(e) if e.is_connect() => return Reply::NotConnected(chain(&e)),
            Err(e) => return Reply::Broken(chain(&e)),
        };
        let (head, body) = answer.into_parts();
        let body = match Limited::new(body, REPLY_LEN_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) => return Reply::Broken(format!("the answer broke off: {e}")),
        };
        let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok()).map(|v| cut(v, 120));
        Reply::Answer {
            status: head.status,
            body_hash: hash(&body),
            transaction: header("mainstay-transaction"),
            reason: header("mainstay-reason"),
        }
    }
}

/// The same body gives the same hash in every run: `DefaultHasher::new` has fixed keys.
fn hash(body: &[u8]) -> u64 {
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    cut(&text, 200)
}

fn cut(text: &str, len_max: usize) -> String {
    text.chars().take(len_max).collect()
}
