//! The journal in SQLite.
//!
//! Durability costs a disk flush, and a flush costs the same for one row as for two hundred. So all writes go through
//! one thread that owns the only writing connection: while it flushes one group the next one gathers in its queue, and
//! under load the flush is shared by everybody who waits (DeWitt et al., "Implementation Techniques for Main Memory
//! Database Systems", 1984, section 5.2: group commit). Nobody is told "done" before the flush.
//!
//! A flush that failed cannot be repeated: the kernel may have dropped the pages (Rebello et al., "Can Applications
//! Recover from fsync Failures?", 2020). The writer then stops for good and says so through [`SqliteJournal::failed`];
//! the process must end and begin again from what is on disk.
//!
//! Readers use connections of their own that cannot write, so they neither wait for the writer nor hold it up.

mod open;
mod rows;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::TransactionId;
use mainstay_txn::{
    Answer, Change, Counts, Cursor, DefinitionId, Filter, Inserted, Journal, JournalError, New, Rows, Stored,
};
use rusqlite::Connection;
use tokio::sync::{Semaphore, watch};

pub use open::{OpenError, SQLITE_VERSION_MIN};
use writer::Writer;
pub use writer::{GROUP_LEN_MAX, QUEUE_LEN_MAX};

/// Most reads at once; more wait.
pub const READERS_MAX: usize = 4;

/// What can be set about the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Operations of one commit, at most; 1 to [`GROUP_LEN_MAX`].
    pub group_len_max: usize,
    /// How long a commit may wait for more operations, when there was more than one lately.
    pub group_wait: Duration,
    /// Test only, for mutation proofs: `false` skips the flush that makes a commit durable.
    pub sync: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { group_len_max: GROUP_LEN_MAX, group_wait: Duration::from_millis(1), sync: true }
    }
}

/// The journal of transactions in one SQLite file. Cheap to clone; dropping the last one blocks until what is queued is
/// written and the file is closed.
#[derive(Clone)]
pub struct SqliteJournal {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    readers: Readers,
}

impl SqliteJournal {
    /// Opens the file, and makes it when there is none. Blocks.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let options = StoreOptions { group_len_max: options.group_len_max.clamp(1, GROUP_LEN_MAX), ..options };
        let connection = open::writer(path, options.sync)?;
        let readers = (0..READERS_MAX).map(|_| open::reader(path)).collect::<Result<Vec<_>, _>>()?;
        let writer = Writer::spawn(connection, options).map_err(|e| OpenError::Io { path: path.into(), why: e })?;
        let readers = Readers { idle: Arc::new(Mutex::new(readers)), permits: Arc::new(Semaphore::new(READERS_MAX)) };
        Ok(Self { inner: Arc::new(Inner { writer, readers }) })
    }

    /// Becomes `Some(why)` when a write could not be made durable. Then the process must end: nothing is written any
    /// more, and what was in flight may or may not be on disk.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.inner.writer.failed()
    }
}

/// Connections that cannot write.
struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let permit = self.permits.clone().acquire_owned().await.expect("the permits are never closed");
        let idle = self.idle.clone();
        let done = tokio::task::spawn_blocking(move || {
            let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = connection.expect("there are as many connections as permits");
            let result = job(&connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            drop(permit);
            result
        });
        match done.await {
            Ok(result) => result.map_err(|e| writer::error(&e)),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Err(JournalError::Refused("the runtime is stopping".into())),
        }
    }
}

impl Journal for SqliteJournal {
    fn define(&self, definition: String) -> Answer<'_, DefinitionId> {
        Box::pin(self.inner.writer.write(move |c| rows::define(c, &definition)))
    }

    fn definition(&self, id: DefinitionId) -> Answer<'_, Option<String>> {
        Box::pin(self.inner.readers.read(move |c| rows::definition(c, id)))
    }

    fn insert(&self, new: New) -> Answer<'_, Inserted> {
        Box::pin(self.inner.writer.write(move |c| rows::insert(c, &new)))
    }

    fn update(&self, change: Change) -> Answer<'_, bool> {
        Box::pin(self.inner.writer.write(move |c| rows::update(c, &change)))
    }

    fn get(&self, id: TransactionId) -> Answer<'_, Option<Stored>> {
        Box::pin(self.inner.readers.read(move |c| rows::get(c, &id)))
    }

    fn list(&self, filter: Filter, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        Box::pin(self.inner.readers.read(move |c| rows::list(c, &filter, limit, cursor)))
    }

    fn open(&self, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        Box::pin(self.inner.readers.read(move |c| rows::open(c, limit, cursor)))
    }

    fn counts(&self) -> Answer<'_, Counts> {
        Box::pin(self.inner.readers.read(rows::counts))
    }
}
