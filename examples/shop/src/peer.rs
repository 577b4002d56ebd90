//! Another service, called over HTTP.

use std::time::Duration;

use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::web::Failure;

/// Longest time for one call, answer included.
const CALL_MAX: Duration = Duration::from_secs(2);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct Peer {
    base: String,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Peer {
    pub(crate) fn new(url: &str) -> Self {
        Self { base: url.trim_end_matches('/').to_owned(), client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// The JSON at `path`. Not found stays not found; everything else that is no answer is 502 or 503.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        match tokio::time::timeout(CALL_MAX, self.call(path)).await {
            Ok(result) => result,
            Err(_) => Err(unavailable(format!("{}{path} gave no answer within {CALL_MAX:?}", self.base))),
        }
    }

    async fn call(&self, path: &str) -> Result<Value, Failure> {
        let url = format!("{}{path}", self.base);
        let uri: Uri = url.parse().map_err(|error| unavailable(format!("{url:?} is no URL: {error}")))?;
        let answer =
            self.client.get(uri).await.map_err(|error| unavailable(format!("{url} cannot be reached: {error}")))?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Err(Failure::not_found(path));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(unavailable(format!("{url} is unavailable")));
        }
        if status != StatusCode::OK {
            return Err(bad(format!("{url} answered {status}")));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| bad(format!("the answer of {url} broke off: {error}")))?.to_bytes();
        serde_json::from_slice(&body).map_err(|error| bad(format!("{url} answered with no JSON: {error}")))
    }
}

fn unavailable(message: String) -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}

fn bad(message: String) -> Failure {
    Failure::new(StatusCode::BAD_GATEWAY, message)
}
