//! What the engine, its tasks and its handles share.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::{Clock, EventBus, ServiceName, Shutdown, TransactionId};
use tokio::sync::{Semaphore, oneshot, watch};

use super::options::Options;
use crate::definition::Definition;
use crate::journal::{Counts, DefinitionId, Journal, JournalError, Stored};
use crate::machine::Status;
use crate::outcome::Outcome;
use crate::participant::{BranchCall, Participant};
use crate::record::{Record, unreadable};

/// Most who wait for one transaction; more are answered with what is known now.
const WAITERS_MAX: usize = 64;

/// A participant of any type: the engine's types stay plain, at the price of one allocation per call.
pub(super) trait AnyParticipant: Send + Sync {
    fn call(&self, call: BranchCall) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>>;
}

impl<P: Participant> AnyParticipant for Arc<P> {
    fn call(&self, call: BranchCall) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        Box::pin(P::call(self, call))
    }
}

type Waiter = oneshot::Sender<Record>;

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) definitions: BTreeMap<String, Arc<Definition>>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) participant: Arc<dyn AnyParticipant>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) bus: EventBus,
    /// No new calls.
    pub(super) stop: Shutdown,
    /// Everything open has its task, or never will.
    pub(super) recovered: watch::Sender<bool>,
    failed: watch::Sender<Option<JournalError>>,
    /// Transactions that have a task, and who waits for each.
    live: Mutex<BTreeMap<TransactionId, Vec<Waiter>>>,
    by_id: Mutex<BTreeMap<DefinitionId, Arc<Definition>>>,
    permits: Mutex<BTreeMap<ServiceName, Arc<Semaphore>>>,
    counts: Mutex<Counts>,
    rng: Mutex<fastrand::Rng>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn new(
        options: Options,
        definitions: BTreeMap<String, Arc<Definition>>,
        journal: Arc<dyn Journal>,
        participant: Arc<dyn AnyParticipant>,
        clock: Arc<dyn Clock>,
        bus: EventBus,
        failed: watch::Sender<Option<JournalError>>,
    ) -> Self {
        let rng = fastrand::Rng::with_seed(options.seed);
        Self {
            options,
            definitions,
            journal,
            participant,
            clock,
            bus,
            stop: Shutdown::new(),
            recovered: watch::Sender::new(false),
            failed,
            live: Mutex::default(),
            by_id: Mutex::default(),
            permits: Mutex::default(),
            counts: Mutex::default(),
            rng: Mutex::new(rng),
        }
    }

    pub(super) fn random(&self) -> u64 {
        lock(&self.rng).u64(..)
    }

    /// Ends the engine when the journal is beyond help.
    pub(super) fn report(&self, error: &JournalError) {
        if matches!(error, JournalError::Failed(_)) {
            self.fail(error);
        }
    }

    /// Ends the engine.
    pub(super) fn fail(&self, error: &JournalError) {
        self.failed.send_replace(Some(error.clone()));
    }

    pub(super) fn permits_of(&self, service: &ServiceName) -> Arc<Semaphore> {
        let mut permits = lock(&self.permits);
        match permits.get(service) {
            Some(of_service) => of_service.clone(),
            None => {
                let of_service = Arc::new(Semaphore::new(self.options.calls_per_service_max));
                permits.insert(service.clone(), of_service.clone());
                of_service
            }
        }
    }

    pub(super) fn remember_definition(&self, id: DefinitionId, definition: Arc<Definition>) {
        lock(&self.by_id).insert(id, definition);
    }

    pub(super) async fn definition(&self, id: DefinitionId) -> Result<Arc<Definition>, JournalError> {
        let known = lock(&self.by_id).get(&id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let text = self.journal.definition(id).await?;
        let text = text.ok_or_else(|| JournalError::Refused(format!("definition {} is not in the journal", id.0)))?;
        let definition: Arc<Definition> = Arc::new(serde_json::from_str(&text).map_err(|e| unreadable(&e))?);
        self.remember_definition(id, definition.clone());
        Ok(definition)
    }

    pub(super) async fn record(&self, stored: Stored) -> Result<Record, JournalError> {
        let definition = self.definition(stored.definition).await?;
        Record::new(stored, &definition)
    }

    pub(super) fn live_count(&self) -> usize {
        lock(&self.live).len()
    }

    /// Says that `id` has a task now, until the guard is dropped.
    pub(super) fn enter(self: &Arc<Self>, id: TransactionId) -> Live {
        lock(&self.live).insert(id.clone(), Vec::new());
        Live { shared: self.clone(), id }
    }

    /// Comes back when the task of `id` has ended; none when it has no task, or too many wait for it.
    pub(super) fn wait_for(&self, id: &TransactionId) -> Option<oneshot::Receiver<Record>> {
        let mut live = lock(&self.live);
        let waiters = live.get_mut(id)?;
        waiters.retain(|w| !w.is_closed());
        if waiters.len() >= WAITERS_MAX {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        waiters.push(sender);
        Some(receiver)
    }

    pub(super) fn set_counts(&self, counts: Counts) {
        *lock(&self.counts) = counts;
    }

    pub(super) fn counts(&self) -> Counts {
        *lock(&self.counts)
    }

    pub(super) fn count(&self, from: Option<Status>, to: Status) {
        let mut counts = lock(&self.counts);
        if let Some(from) = from {
            let of_from = counts.of_mut(from);
            *of_from = of_from.saturating_sub(1);
        }
        *counts.of_mut(to) += 1;
    }
}

/// A transaction has a task as long as this lives.
pub(super) struct Live {
    pub(super) shared: Arc<Shared>,
    pub(super) id: TransactionId,
}

impl Live {
    /// Whether somebody waits.
    pub(super) fn is_awaited(&self) -> bool {
        lock(&self.shared.live).get(&self.id).is_some_and(|w| w.iter().any(|w| !w.is_closed()))
    }

    /// Ends it, and tells those who wait what came of it.
    pub(super) fn finish(self, record: &Record) {
        let waiters = lock(&self.shared.live).remove(&self.id).unwrap_or_default();
        for waiter in waiters {
            // Whoever stopped waiting needs no answer.
            let _ = waiter.send(record.clone());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        lock(&self.shared.live).remove(&self.id);
    }
}
