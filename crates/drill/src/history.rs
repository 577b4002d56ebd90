//! What the clients saw, and nothing else: the only witness that a drill believes.
//!
//! An operation that timed out or whose connection broke is *unknown*, never failed: the system may have acted.
//! Counting it as failed would accuse the system of phantoms; counting it as done would accuse it of losses.

mod ledger;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use ledger::Ledger;
pub use writer::HISTORY_QUEUE_LEN_MAX;
pub(crate) use writer::{HistoryWriter, Line};

/// Everything that the clients did, in the order in which it was due.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// One entry per arrival.
    pub operations: Vec<Op>,
}

/// One arrival and what became of it. Times count from the start of the load.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    /// Counted from 0 in the order of the arrivals.
    pub index: u64,
    /// The client that sent it. As in Jepsen's histories a client whose last operation is unknown is never used again.
    pub process: u64,
    /// Name of the operation.
    pub name: Arc<str>,
    /// Its key. Two operations with one key are one request that was sent twice.
    pub key: Arc<str>,
    /// When it was due. Latency counts from here, so that a slow client cannot hide a slow system.
    pub due: Duration,
    /// When it was sent, if it was.
    pub sent: Option<Duration>,
    /// When it was over.
    pub done: Option<Duration>,
    /// How it ended.
    pub ending: Ending,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// Hash of the answer's body.
    pub reply: Option<u64>,
    /// Why it ended badly, or the transaction that the answer names.
    pub detail: Option<String>,
    /// A right answer within the objective.
    pub good: bool,
}

impl Op {
    /// Time from when it was due until it was over.
    pub fn latency(&self) -> Option<Duration> {
        self.done.map(|done| done.saturating_sub(self.due))
    }

    /// For counterexamples: `#12 checkout → 200 done at 4.210 s`.
    pub(crate) fn line(&self) -> String {
        let status = self.status.map_or(String::new(), |s| format!("{s}, "));
        let at = self.done.unwrap_or(self.due).as_secs_f64();
        format!("#{} {} → {status}{} at {at:.3} s", self.index, self.name, self.ending.as_str())
    }
}

/// How an operation ended, as its client saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Answered: it happened.
    Done,
    /// Answered: it was taken on, the outcome is open.
    Accepted,
    /// Answered: it did not happen, and rightly so.
    Refused,
    /// Answered with a status that is wrong and that says that it did not happen (4xx).
    Rejected,
    /// No connection could be made: it was not sent.
    NotConnected,
    /// Timed out, broken off or answered with a 5xx: nobody knows.
    Unknown,
    /// The bound on operations in flight was reached: it was not even tried.
    Unsent,
}

impl Ending {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Done => "done",
            Ending::Accepted => "accepted",
            Ending::Refused => "refused",
            Ending::Rejected => "rejected",
            Ending::NotConnected => "not connected",
            Ending::Unknown => "unknown",
            Ending::Unsent => "not sent",
        }
    }

    /// The type in `history.jsonl`. What was accepted only is `info`: its outcome is not known.
    pub const fn history_type(self) -> &'static str {
        match self {
            Ending::Done => "ok",
            Ending::Refused | Ending::Rejected | Ending::NotConnected | Ending::Unsent => "fail",
            Ending::Accepted | Ending::Unknown => "info",
        }
    }

    /// A right answer.
    pub const fn is_right(self) -> bool {
        matches!(self, Ending::Done | Ending::Accepted | Ending::Refused)
    }

    /// The system promised something.
    pub const fn is_acked(self) -> bool {
        matches!(self, Ending::Done | Ending::Accepted)
    }

    /// It certainly had no effect.
    pub const fn had_no_effect(self) -> bool {
        matches!(self, Ending::Refused | Ending::Rejected | Ending::NotConnected | Ending::Unsent)
    }
}

impl History {
    /// The operations of each key, in order.
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&Op>> {
        let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
        for op in &self.operations {
            keys.entry(&op.key).or_default().push(op);
        }
        keys
    }

    /// What all keys of the run start with; none before the first operation.
    pub fn key_prefix(&self) -> Option<&str> {
        let first = self.operations.first()?;
        first.key.rfind('-').map(|at| &first.key[..=at])
    }
}
