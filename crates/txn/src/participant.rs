//! Whoever does a part of a transaction, as the engine sees it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{ServiceName, TransactionId};
use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// What a branch call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Do it.
    Action,
    /// Undo it; also when it was never done, and then it must block a late action.
    Compensate,
}

impl Op {
    /// The word in headers and idempotency keys.
    pub const fn code(self) -> &'static str {
        match self {
            Op::Action => "action",
            Op::Compensate => "compensate",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// One try of one call to one participant.
#[derive(Debug, Clone)]
pub struct BranchCall {
    /// Which transaction.
    pub transaction: TransactionId,
    /// The name of its definition.
    pub name: String,
    /// The step.
    pub step: String,
    /// Do or undo.
    pub op: Op,
    /// The HTTP method.
    pub method: http::Method,
    /// Whom to call.
    pub service: ServiceName,
    /// Path and query, the key filled in and encoded.
    pub path: String,
    /// `content-type`, `mainstay-transaction`, `mainstay-branch`, `mainstay-op` and `idempotency-key`.
    pub headers: [(&'static str, String); 5],
    /// The transaction's input, JSON.
    pub body: Bytes,
    /// How long an answer is waited for; the engine stops waiting by itself shortly after.
    pub timeout: Duration,
}

impl BranchCall {
    /// The key by which the participant knows a repeat: `<transaction>/<step>/<op>`.
    pub fn idempotency_key(&self) -> &str {
        &self.headers[4].1
    }
}

/// Carries out branch calls. Must be safe to call again with the same idempotency key.
pub trait Participant: Send + Sync + 'static {
    /// One try. Dropping the future gives up waiting; whether the call took effect is then unknown.
    fn call(&self, call: BranchCall) -> impl Future<Output = Outcome> + Send;
}
