//! The one thread that writes.
//!
//! It takes what is queued, up to a bound, as one transaction: a savepoint per operation, so that one that fails takes
//! back only itself; commit, which flushes; only then the answers. When the last group had company, it waits a moment
//! for as many to come again: with a fast disk a group would otherwise close before those who were just answered are
//! back. A lone writer never waits.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use mainstay_txn::JournalError;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::Instant;

use super::StoreOptions;

/// Most operations of one commit.
pub const GROUP_LEN_MAX: usize = 256;
/// Most operations that wait to be written; more wait with their callers.
pub const QUEUE_LEN_MAX: usize = 1024;
/// How often the busy timeout may pass before a writer in another process is taken for a failure.
const BEGIN_TRIES_MAX: usize = 12;

/// Something to be written, whatever its result is.
trait Operation: Send {
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn refuse(&mut self, error: JournalError);
    fn answer(self: Box<Self>, committed: Result<(), JournalError>);
}

struct Job<T, F> {
    job: Option<F>,
    result: Option<Result<T, JournalError>>,
    reply: oneshot::Sender<Result<T, JournalError>>,
    /// Keeps the queue within its bound.
    _place: OwnedSemaphorePermit,
}

impl<T, F> Operation for Job<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if let Some(job) = self.job.take() {
            self.result = Some(Ok(job(connection)?));
        }
        Ok(())
    }

    fn refuse(&mut self, error: JournalError) {
        self.result = Some(Err(error));
    }

    fn answer(self: Box<Self>, committed: Result<(), JournalError>) {
        if let Some(result) = self.result {
            // Whoever stopped waiting does not know whether it was written, and knows that.
            let _ = self.reply.send(committed.and(result));
        }
    }
}

pub(super) struct Writer {
    queue: Mutex<Option<SyncSender<Box<dyn Operation>>>>,
    places: Arc<Semaphore>,
    failed: watch::Receiver<Option<String>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn spawn(connection: Connection, options: StoreOptions) -> std::io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE_LEN_MAX);
        let (failed_sender, failed) = watch::channel(None);
        let groups = Groups { connection, queue, failed: failed_sender, options, last_len: 1 };
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || groups.run())?;
        Ok(Self {
            queue: Mutex::new(Some(sender)),
            places: Arc::new(Semaphore::new(QUEUE_LEN_MAX)),
            failed,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn failed(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }

    /// Queues `job`, and comes back when it is durable.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let place = self.places.clone().acquire_owned().await.expect("the places are never closed");
        let (reply, answer) = oneshot::channel();
        let operation = Box::new(Job { job: Some(job), result: None, reply, _place: place });
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // There is a place for it, so this never blocks.
        if queue.is_none_or(|queue| queue.send(operation).is_err()) {
            return Err(self.failure());
        }
        answer.await.unwrap_or_else(|_| Err(self.failure()))
    }

    fn failure(&self) -> JournalError {
        let why = self.failed.borrow().clone();
        JournalError::Failed(why.unwrap_or_else(|| "it is closed".into()))
    }

    /// Writes what is queued, then ends the thread.
    pub(super) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Whatever made it panic was already reported to those who then got no answer.
            let _ = thread.join();
        }
    }
}

/// Waits for the last write, so that whoever drops the journal may unmount the disk.
impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

struct Groups {
    connection: Connection,
    queue: Receiver<Box<dyn Operation>>,
    failed: watch::Sender<Option<String>>,
    options: StoreOptions,
    last_len: usize,
}

impl Groups {
    fn run(mut self) {
        while let Ok(first) = self.queue.recv() {
            let mut group = self.gather(first);
            let committed = self.commit(&mut group).map_err(|e| {
                // Said before the answers: whoever gets one finds the reason here.
                self.failed.send_replace(Some(e.to_string()));
                JournalError::Failed(e.to_string())
            });
            let over = committed.is_err();
            for operation in group {
                operation.answer(committed.clone());
            }
            if over {
                return;
            }
        }
    }

    fn gather(&mut self, first: Box<dyn Operation>) -> Vec<Box<dyn Operation>> {
        let mut group = Vec::with_capacity(self.last_len.max(4));
        group.push(first);
        let max = self.options.group_len_max;
        while group.len() < max
            && let Ok(next) = self.queue.try_recv()
        {
            group.push(next);
        }
        if self.last_len > 1 {
            let until = Instant::now() + self.options.group_wait;
            while group.len() < self.last_len.min(max) {
                let left = until.saturating_duration_since(Instant::now());
                let Ok(next) = self.queue.recv_timeout(left) else { break };
                group.push(next);
            }
        }
        self.last_len = group.len();
        group
    }

    /// An error means that nothing more can be promised, the group included.
    fn commit(&mut self, group: &mut [Box<dyn Operation>]) -> rusqlite::Result<()> {
        self.begin()?;
        for operation in group {
            self.run_cached("SAVEPOINT one")?;
            match operation.apply(&self.connection) {
                Ok(()) => {}
                Err(e) if is_fatal(&e) => return Err(e),
                Err(e) => {
                    self.run_cached("ROLLBACK TO one")?;
                    operation.refuse(error(&e));
                }
            }
            self.run_cached("RELEASE one")?;
        }
        self.run_cached("COMMIT")
    }

    fn begin(&self) -> rusqlite::Result<()> {
        let mut tries = 1;
        loop {
            match self.run_cached("BEGIN IMMEDIATE") {
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < BEGIN_TRIES_MAX => {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    fn run_cached(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(|_| ())
    }
}

/// Everything that SQLite itself reports is, except what is wrong with the operation alone.
fn is_fatal(e: &rusqlite::Error) -> bool {
    let of_the_operation =
        [ErrorCode::ConstraintViolation, ErrorCode::TooBig, ErrorCode::TypeMismatch, ErrorCode::ParameterOutOfRange];
    e.sqlite_error_code().is_some_and(|code| !of_the_operation.contains(&code))
}

pub(super) fn error(e: &rusqlite::Error) -> JournalError {
    match is_fatal(e) {
        true => JournalError::Failed(e.to_string()),
        false => JournalError::Refused(e.to_string()),
    }
}
