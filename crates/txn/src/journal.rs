//! Where transactions survive. One small trait, so that every back end can pass the same [`crate::conformance`] suite.
//!
//! A row is written as a whole once, and changed by compare-and-set on its version: of two engines that both believe
//! to own a transaction, the second write fails. The state is a short text, the history of attempts only grows at its
//! end, and the input is never written again; so a transition costs one small update, whatever came before it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use mainstay_core::{TransactionId, WallMs};
use serde::{Deserialize, Serialize};

use crate::machine::Status;

/// Why the journal did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The journal has failed and takes nothing more; whether the last operations are durable is not known.
    /// The process must end, and start again from what is on disk.
    #[error("the journal failed: {0}")]
    Failed(String),
    /// This operation cannot be done, the journal itself is well.
    #[error("the journal refused: {0}")]
    Refused(String),
}

/// What a journal operation returns.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, JournalError>> + Send + 'a>>;

/// The journal's number of a stored definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DefinitionId(pub i64);

/// A place in the order in which transactions were accepted. Opaque to users; as text it is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub i64);

/// A transaction to be accepted.
#[derive(Debug, Clone)]
pub struct New {
    /// Its id, which no other transaction has.
    pub id: TransactionId,
    /// The name of its definition.
    pub name: String,
    /// What fills `{key}`.
    pub key: String,
    /// Whether `(name, key)` identifies it, so that a second start finds the first.
    pub dedup: bool,
    /// Its definition.
    pub definition: DefinitionId,
    /// Its first status.
    pub status: Status,
    /// Its first state.
    pub state: String,
    /// When it was accepted.
    pub started_ms: WallMs,
    /// Its input, JSON.
    pub input: Bytes,
}

/// A transaction as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the order of acceptance.
    pub cursor: Cursor,
    /// Its id.
    pub id: TransactionId,
    /// The name of its definition.
    pub name: String,
    /// What fills `{key}`.
    pub key: String,
    /// Its definition.
    pub definition: DefinitionId,
    /// Where it is.
    pub status: Status,
    /// 0 when accepted, one more with every change.
    pub version: i64,
    /// When it was accepted.
    pub started_ms: WallMs,
    /// When it was changed last.
    pub updated_ms: WallMs,
    /// The state of its machine.
    pub state: String,
    /// Its attempts, one line of JSON each.
    pub history: String,
    /// Its input, JSON.
    pub input: Bytes,
}

/// What came of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is durable.
    New(Cursor),
    /// The name and key were taken before; this is who has them. Nothing was written.
    Existing(Box<Stored>),
    /// Another transaction has this id. Nothing was written.
    IdTaken,
}

/// What becomes of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// Add these lines at its end; may be empty.
    Append(String),
    /// Put this in its place.
    Replace(String),
}

/// A transition.
#[derive(Debug, Clone)]
pub struct Change {
    /// Which transaction.
    pub cursor: Cursor,
    /// The same, by its id: both must match.
    pub id: TransactionId,
    /// The version that it must still have.
    pub version: i64,
    /// The new status.
    pub status: Status,
    /// The new state.
    pub state: String,
    /// When.
    pub updated_ms: WallMs,
    /// What becomes of the history.
    pub history: History,
}

/// Which transactions are asked for; everything that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// The name of the definition.
    pub name: Option<String>,
    /// Where it is.
    pub status: Option<Status>,
    /// What it was started with.
    pub key: Option<String>,
    /// Accepted at or after.
    pub since_ms: Option<WallMs>,
    /// Accepted before.
    pub until_ms: Option<WallMs>,
}

/// Some rows, and where the next ones begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows.
    pub rows: Vec<Stored>,
    /// Ask again with this; none when there are no more.
    pub next: Option<Cursor>,
}

/// How many transactions are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are named after the statuses that they count")]
pub struct Counts {
    pub running: u64,
    pub compensating: u64,
    pub committed: u64,
    pub rolled_back: u64,
    pub stuck: u64,
}

impl Counts {
    /// The count of `status`, to be changed.
    pub fn of_mut(&mut self, status: Status) -> &mut u64 {
        match status {
            Status::Running => &mut self.running,
            Status::Compensating => &mut self.compensating,
            Status::Committed => &mut self.committed,
            Status::RolledBack => &mut self.rolled_back,
            Status::Stuck => &mut self.stuck,
        }
    }

    /// The engine works on these.
    pub fn open(&self) -> u64 {
        self.running + self.compensating
    }
}

/// A durable record of transactions. When a write returns, it has survived whatever comes.
///
/// A future that is dropped may or may not have written; the operation itself is never half done.
pub trait Journal: Send + Sync + 'static {
    /// Stores a definition, once: the same text gets the same id, always.
    fn define(&self, definition: String) -> Answer<'_, DefinitionId>;
    /// A stored definition.
    fn definition(&self, id: DefinitionId) -> Answer<'_, Option<String>>;
    /// Accepts a transaction, or finds the one that has its name and key.
    fn insert(&self, new: New) -> Answer<'_, Inserted>;
    /// Changes a transaction when it still has the expected version; says whether it had.
    fn update(&self, change: Change) -> Answer<'_, bool>;
    /// One transaction.
    fn get(&self, id: TransactionId) -> Answer<'_, Option<Stored>>;
    /// Those that match, the newest first, from before `cursor`.
    fn list(&self, filter: Filter, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows>;
    /// Those that the engine must work on, the oldest first, from after `cursor`.
    fn open(&self, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows>;
    /// How many are where.
    fn counts(&self) -> Answer<'_, Counts>;
}
