//! Performs what the machine decides: writes to the journal first, then calls.
//!
//! One task per open transaction holds its state, and only that task writes its row. What a task waits for is dropped
//! without loss at any moment: a timer, a permit, a call; the journal says what may have happened. So stopping is easy
//! and recovery is the normal start: read everything open, page by page, and look at it.
//!
//! Calls to one service share a fixed number of permits. A service that answers nothing holds its own permits until
//! its calls time out, and nobody else's: the transactions of all other services pass by, at recovery as at any time.
//!
//! Starts come through one bounded queue, so that the tasks live on the engine's runtime whoever starts them, and a
//! caller that goes away after its start was queued cannot leave a journalled transaction without a task.

mod drive;
mod handle;
mod options;
mod shared;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Clock, EventBus, EventKind, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

pub use handle::{Handle, KEY_BYTES_MAX, LIST_LIMIT_MAX, Start, StartError, Started};
pub use options::{INPUT_BYTES_MAX, OPEN_MAX, Options, OptionsError};

use crate::definition::Definition;
use crate::journal::{Cursor, DefinitionId, Journal, JournalError};
use crate::participant::Participant;
use drive::Drive;
use handle::Submission;
use shared::Shared;

/// Starts that wait for the engine; more wait with their callers.
const STARTS_QUEUED_MAX: usize = 1024;
/// Open transactions read at once at recovery.
const RECOVERY_PAGE_LEN: usize = 256;

/// Why the engine ended by itself. The process must end too, and start again from the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The engine, ready to run.
pub struct Engine {
    shared: Arc<Shared>,
    starts: mpsc::Receiver<Submission>,
    failed: watch::Receiver<Option<JournalError>>,
    tasks: JoinSet<()>,
}

impl Engine {
    /// Puts an engine together. Nothing happens before [`Engine::run`]; starts wait until then.
    pub fn new<J: Journal, P: Participant>(
        options: Options,
        definitions: Vec<Definition>,
        journal: Arc<J>,
        participant: Arc<P>,
        clock: Arc<dyn Clock>,
        bus: EventBus,
    ) -> Result<(Self, Handle), OptionsError> {
        options.check()?;
        let mut by_name = BTreeMap::new();
        for definition in definitions {
            if let Some(twice) = by_name.insert(definition.name().to_string(), Arc::new(definition)) {
                return Err(OptionsError(format!("two transactions are named {}", twice.name())));
            }
        }
        let (starts_sender, starts) = mpsc::channel(STARTS_QUEUED_MAX);
        let (failed_sender, failed) = watch::channel(None);
        let shared = Arc::new(Shared::new(options, by_name, journal, Arc::new(participant), clock, bus, failed_sender));
        let handle = Handle::new(shared.clone(), starts_sender);
        Ok((Self { shared, starts, failed, tasks: JoinSet::new() }, handle))
    }

    /// Works on everything that is open in the journal, then takes new transactions, until `shutdown`.
    ///
    /// At shutdown no new call is begun; calls in flight get [`Options::shutdown_grace`] to come back. A panic in a
    /// transaction's task is passed on: a coordinator with a bug must not go on quietly.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), EngineError> {
        let end = tokio::select! {
            biased;
            end = self.serve(shutdown.clone()) => end,
            () = shutdown.cancelled() => Ok(()),
        };
        self.shared.stop.cancel();
        self.shared.recovered.send_replace(true);
        self.starts.close();
        if end.is_ok() {
            let _ = tokio::time::timeout(self.shared.options.shutdown_grace, async {
                while let Some(done) = self.tasks.join_next().await {
                    pass_on(done);
                }
            })
            .await;
        }
        self.tasks.shutdown().await;
        end
    }

    async fn serve(&mut self, shutdown: Shutdown) -> Result<(), EngineError> {
        let mut ids = BTreeMap::new();
        for (name, definition) in &self.shared.definitions {
            let text = serde_json::to_string(&**definition).expect("a definition has only text, numbers and lists");
            let id = self.shared.journal.define(text).await?;
            self.shared.remember_definition(id, definition.clone());
            ids.insert(name.clone(), id);
        }
        self.shared.set_counts(self.shared.journal.counts().await?);
        if self.shared.options.recovery {
            self.recover().await?;
        }
        self.shared.recovered.send_replace(true);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                changed = self.failed.changed() => {
                    changed.expect("the sender lives in what this engine shares");
                    if let Some(e) = self.failed.borrow().clone() {
                        return Err(e.into());
                    }
                }
                Some(done) = self.tasks.join_next() => pass_on(done),
                Some(submission) = self.starts.recv() => self.begin(submission, &ids),
            }
        }
    }

    async fn recover(&mut self) -> Result<(), EngineError> {
        let mut count = 0;
        let mut after: Option<Cursor> = None;
        loop {
            let page = self.shared.journal.open(RECOVERY_PAGE_LEN, after).await?;
            for stored in page.rows {
                count += 1;
                // Entered here and not in its task, so that whoever waits for it finds it.
                let live = self.shared.enter(stored.id.clone());
                self.tasks.spawn(drive::resume(live, stored));
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if count > 0 {
            self.shared.bus.publish(EventKind::TransactionsRecovered { count });
        }
        Ok(())
    }

    fn begin(&mut self, submission: Submission, ids: &BTreeMap<String, DefinitionId>) {
        let max = self.shared.options.open_max;
        if self.shared.live_count() as u64 >= max {
            submission.answer(Err(StartError::TooManyOpen { max }));
            return;
        }
        let definition = ids[submission.definition.name()];
        self.tasks.spawn(Drive::begin(self.shared.clone(), submission, definition));
    }
}

fn pass_on(done: Result<(), JoinError>) {
    match done {
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        _ => {}
    }
}

/// Sleeps that are too long are cut: the wall clock may be set meanwhile, and then the state is looked at again.
const SLEEP_MAX: Duration = Duration::from_secs(60);
