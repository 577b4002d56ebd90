//! How the rest of Mainstay starts transactions and looks at them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{Reason, TransactionId};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::options::INPUT_BYTES_MAX;
use super::shared::Shared;
use crate::definition::Definition;
use crate::journal::{Counts, Cursor, Filter, JournalError};
use crate::machine::Status;
use crate::record::{Page, Record};

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// Most records of one page.
pub const LIST_LIMIT_MAX: usize = 500;

/// A transaction to be started.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The name of a definition.
    pub name: String,
    /// Identifies it: a second start with the same name and key finds the first. Without one, every start is a new
    /// transaction, and its id fills `{key}`.
    #[serde(default)]
    pub key: Option<String>,
    /// Goes to every participant, as it is.
    #[serde(default)]
    pub input: serde_json::Value,
}

/// A transaction that is durable and will be brought to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Started {
    /// Its id.
    pub id: TransactionId,
    /// Where it is.
    pub status: Status,
    /// An earlier start had made it.
    pub existing: bool,
}

/// Why nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No definition has this name.
    #[error("no transaction is named '{name}'; there are: {known}")]
    UnknownName {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The key cannot be used.
    #[error("this key cannot be used: {0}")]
    BadKey(&'static str),
    /// The input is over the limit.
    #[error("the input has {bytes} bytes, at most {INPUT_BYTES_MAX} are taken")]
    InputTooLarge {
        /// Its size as compact JSON.
        bytes: usize,
    },
    /// The key was used before, with another input.
    #[error("the key was used before with another input, by transaction {id}")]
    Conflict {
        /// Who has it.
        id: TransactionId,
    },
    /// Too much is open.
    #[error("{max} transactions are open, no more are taken until some end")]
    TooManyOpen {
        /// The limit.
        max: u64,
    },
    /// The engine stops, or has not the chance to start. Whether the transaction was accepted is not known; the same
    /// key finds out.
    #[error("the engine is stopping")]
    Stopping,
    /// The journal did not take it.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl StartError {
    /// The reason for an answer to whoever asked.
    pub fn reason(&self) -> Reason {
        match self {
            Self::UnknownName { .. } | Self::BadKey(_) => Reason::BadRequest,
            Self::InputTooLarge { .. } => Reason::BodyTooLarge,
            Self::Conflict { .. } => Reason::IdempotencyConflict,
            Self::TooManyOpen { .. } => Reason::RateLimited,
            Self::Stopping | Self::Journal(_) => Reason::Draining,
        }
    }
}

/// A start on its way to the engine.
pub(super) struct Submission {
    pub(super) definition: Arc<Definition>,
    pub(super) key: Option<String>,
    pub(super) input: serde_json::Value,
    pub(super) bytes: Bytes,
    reply: oneshot::Sender<Result<Started, StartError>>,
}

impl Submission {
    pub(super) fn answer(self, result: Result<Started, StartError>) {
        // Whoever stopped waiting finds it again by its key.
        let _ = self.reply.send(result);
    }
}

/// Starts transactions and looks at them. Cheap to clone, usable on any runtime.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    starts: mpsc::Sender<Submission>,
}

impl Handle {
    pub(super) fn new(shared: Arc<Shared>, starts: mpsc::Sender<Submission>) -> Self {
        Self { shared, starts }
    }

    /// Returns when the transaction is durable; from then on it reaches its end whatever happens.
    pub async fn start(&self, start: Start) -> Result<Started, StartError> {
        let Some(definition) = self.shared.definitions.get(&start.name).cloned() else {
            let known = self.names().collect::<Vec<_>>().join(", ");
            return Err(StartError::UnknownName { name: start.name.chars().take(64).collect(), known });
        };
        if let Some(key) = &start.key {
            check_key(key)?;
        }
        let bytes = Bytes::from(serde_json::to_vec(&start.input).expect("a JSON value can be written"));
        if bytes.len() > INPUT_BYTES_MAX {
            return Err(StartError::InputTooLarge { bytes: bytes.len() });
        }
        let (reply, answer) = oneshot::channel();
        let submission = Submission { definition, key: start.key, input: start.input, bytes, reply };
        self.starts.send(submission).await.map_err(|_| StartError::Stopping)?;
        answer.await.unwrap_or(Err(StartError::Stopping))
    }

    /// Waits until the transaction has come to an end, is stuck, or `timeout` is over, and returns what it is then.
    pub async fn wait(&self, id: &TransactionId, timeout: Duration) -> Result<Option<Record>, JournalError> {
        let until = Instant::now() + timeout;
        let mut recovered = self.shared.recovered.subscribe();
        // Before that a transaction of an earlier process has no task yet that could say when it has ended.
        let _ = timeout_at(until, recovered.wait_for(|r| *r)).await;
        if let Some(end) = self.shared.wait_for(id)
            && let Ok(Ok(record)) = timeout_at(until, end).await
        {
            return Ok(Some(record));
        }
        self.get(id).await
    }

    /// What the journal knows of a transaction.
    pub async fn get(&self, id: &TransactionId) -> Result<Option<Record>, JournalError> {
        match self.shared.journal.get(id.clone()).await? {
            Some(stored) => self.shared.record(stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// Transactions that match, the newest first, at most [`LIST_LIMIT_MAX`] at once.
    pub async fn list(&self, filter: Filter, limit: usize, cursor: Option<Cursor>) -> Result<Page, JournalError> {
        let rows = self.shared.journal.list(filter, limit.clamp(1, LIST_LIMIT_MAX), cursor).await?;
        let mut records = Vec::with_capacity(rows.rows.len());
        for stored in rows.rows {
            records.push(self.shared.record(stored).await?);
        }
        Ok(Page { records, next: rows.next })
    }

    /// How many transactions are where, those of earlier processes included.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// What can be started.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shared.definitions.keys().map(String::as_str)
    }
}

/// A key fills a segment of a path: dots alone would be read as a way up, whatever the encoding.
fn check_key(key: &str) -> Result<(), StartError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(StartError::BadKey("it has 1 to 256 bytes"));
    }
    if key.bytes().all(|b| b == b'.') {
        return Err(StartError::BadKey("it is more than dots"));
    }
    if key.chars().any(char::is_control) {
        return Err(StartError::BadKey("it has no control characters"));
    }
    Ok(())
}
