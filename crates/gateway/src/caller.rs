//! Calls of the control plane (the branches of transactions) through the same upstream stack as all traffic:
//! the same balancing, retries, budget, ejection and faults. They travel to a worker through a bounded channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use mainstay_core::{Reason, ServiceName};
use tokio::sync::{mpsc, oneshot};

/// Calls that may wait for one worker.
pub(crate) const CALLS_QUEUED_MAX: usize = 256;

/// Longest body of an answer to a call.
pub const CALL_BODY_BYTES_MAX: usize = 1024 * 1024;

/// A request of the control plane.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path with its query, starting with `/`.
    pub path: String,
    /// Headers; `Host`, the length and those of the connection are added or replaced.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Instead of the service's total timeout.
    pub timeout: Option<Duration>,
}

/// The answer of a service.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status.
    pub status: StatusCode,
    /// Headers, without those of the connection.
    pub headers: HeaderMap,
    /// The whole body, at most [`CALL_BODY_BYTES_MAX`].
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct CallError {
    /// The code.
    pub reason: Reason,
    /// Whether the service may have acted. `false` is certain: no byte of it left this process.
    pub sent: bool,
    /// What happened, for a person.
    pub message: String,
}

pub(crate) struct Call {
    pub(crate) service: ServiceName,
    pub(crate) request: Request,
    pub(crate) reply: oneshot::Sender<Result<Response, CallError>>,
}

/// Makes calls through the data plane. Cheap to clone.
#[derive(Clone)]
pub struct Caller {
    pub(crate) workers: Arc<[mpsc::Sender<Call>]>,
    pub(crate) next: Arc<AtomicUsize>,
}

impl Caller {
    /// Calls `service` and waits for the whole answer. Dropping the future gives up on the answer only: the request
    /// may still reach the service.
    pub async fn call(&self, service: &ServiceName, request: Request) -> Result<Response, CallError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { service: service.clone(), request, reply };
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        let unsent = |message: &str| CallError { reason: Reason::Draining, sent: false, message: message.to_owned() };
        if self.workers[turn].send(call).await.is_err() {
            return Err(unsent("the data plane has stopped"));
        }
        answer.await.unwrap_or_else(|_| {
            // The worker dropped the call: it was stopped in the middle.
            Err(CallError { reason: Reason::Draining, sent: true, message: "the data plane stopped".to_owned() })
        })
    }
}
