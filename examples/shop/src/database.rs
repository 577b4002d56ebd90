//! One SQLite file per service, shared by its replicas: a thread that writes and a thread that reads.
//!
//! Two threads, because in WAL mode a reader never waits for a writer: when another replica sits on the write lock
//! (it may have been stopped in the middle of a commit), `/health` and reads still answer at once.
//! Each write is its own `BEGIN IMMEDIATE` transaction and is on the disk (`synchronous=FULL`) before it is acknowledged.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for one of the threads; more are refused at once.
const QUEUE_LEN_MAX: usize = 256;
/// How long a write waits for the writers of other replicas.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// How often opening is tried again while another replica creates the file.
const OPEN_TRIES_MAX: u32 = 50;
const OPEN_TRY_PAUSE: Duration = Duration::from_millis(50);
/// Says in the file that it is filled.
const SCHEMA_VERSION: i32 = 1;

/// Why the database gave no answer. The effect did not happen.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Too many requests wait already.
    #[error("too many requests wait for the database")]
    QueueFull,
    /// The thread is gone.
    #[error("the database thread ended")]
    Gone,
    /// SQLite refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The folder cannot be made.
    #[error(transparent)]
    Folder(#[from] std::io::Error),
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Handle to the two threads, which end when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Database {
    writer: mpsc::Sender<Job>,
    reader: mpsc::Sender<Job>,
}

/// Where the database of `name` is, and why it cannot be opened.
pub(crate) type OpenError = (PathBuf, DatabaseError);

impl Database {
    /// Opens `<folder>/<name>.db`; the replica that finds it new fills it by `setup`.
    pub(crate) async fn open(
        folder: &Path,
        name: &str,
        setup: impl Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Result<Database, OpenError> {
        let path = folder.join(format!("{name}.db"));
        std::fs::create_dir_all(folder).map_err(|error| (path.clone(), error.into()))?;
        let setup = Arc::new(setup);
        let mut tries = 0;
        let (writer, reader) = loop {
            let (file, setup) = (path.clone(), setup.clone());
            let opened = tokio::task::spawn_blocking(move || open_pair(&file, &*setup)).await;
            match opened.map_err(|_| (path.clone(), DatabaseError::Gone))? {
                Ok(pair) => break pair,
                // Turning the journal to WAL does not wait for other replicas that do the same.
                Err(error) if is_busy(&error) && tries < OPEN_TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(OPEN_TRY_PAUSE).await;
                }
                Err(error) => return Err((path, error.into())),
            }
        };
        let spawn = |role, connection| spawn(name, role, connection).map_err(|error| (path.clone(), error.into()));
        Ok(Database { writer: spawn("write", writer)?, reader: spawn("read", reader)? })
    }

    /// Runs `work` in one durable transaction; an error rolls all of it back.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        submit(&self.writer, move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    /// Runs `work` on one consistent state, without waiting for writers.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        submit(&self.reader, move |connection| work(&connection.transaction()?)).await
    }
}

async fn submit<T: Send + 'static>(
    queue: &mpsc::Sender<Job>,
    work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
) -> Result<T, DatabaseError> {
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        // Nobody waits any more: the effect would only be one that the caller does not know of.
        if !reply.is_closed() {
            let _ = reply.send(work(connection));
        }
    });
    queue.try_send(job).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => DatabaseError::QueueFull,
        mpsc::error::TrySendError::Closed(_) => DatabaseError::Gone,
    })?;
    Ok(answer.await.map_err(|_| DatabaseError::Gone)??)
}

fn open_pair(
    path: &Path,
    setup: &impl Fn(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<(Connection, Connection)> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    let version =
        |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
    let mut writer = open()?;
    // Only a new file needs the write lock, so that a replica can start while another sits on it.
    if version(&writer)? != SCHEMA_VERSION {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if version(&transaction)? != SCHEMA_VERSION {
            setup(&transaction)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        transaction.commit()?;
    }
    let reader = open()?;
    reader.pragma_update(None, "query_only", true)?;
    Ok((writer, reader))
}

fn spawn(name: &str, role: &str, mut connection: Connection) -> std::io::Result<mpsc::Sender<Job>> {
    let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE_LEN_MAX);
    std::thread::Builder::new().name(format!("{name}-{role}")).spawn(move || {
        while let Some(job) = jobs.blocking_recv() {
            job(&mut connection);
        }
    })?;
    Ok(queue)
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
}
