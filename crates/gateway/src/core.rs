//! What all workers share: what was published to them, and the door through which their counters are read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mainstay_core::{Endpoints, EventBus, LeaseId, ReplicaId, ServiceName, Shutdown};
use mainstay_policy::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::caller::{CALLS_QUEUED_MAX, Call, Caller};
use crate::counters::WorkerCounters;
use crate::handle::{FAULTS_MAX, Handle, InjectError};
use crate::health::Health;
use crate::options::Options;
use crate::snapshot::{EdgeFault, ListenerId, Snapshot};
use crate::stats::Stats;

/// What all workers share.
pub struct Core {
    pub(crate) options: Options,
    pub(crate) addresses: Vec<(ListenerId, SocketAddr)>,
    pub(crate) bus: EventBus,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) endpoints: watch::Receiver<Endpoints>,
    pub(crate) faults: watch::Sender<Arc<Vec<EdgeFault>>>,
    pub(crate) counters: Vec<Arc<WorkerCounters>>,
    faults_lock: Mutex<()>,
    health: Mutex<BTreeMap<ServiceName, Arc<Health>>>,
    origin: OnceLock<Instant>,
    calls: Arc<[mpsc::Sender<Call>]>,
    next_call: Arc<AtomicUsize>,
    /// Workers that still serve requests from outside.
    outer_left: AtomicUsize,
    /// Cancelled when the last of them has finished: inner calls are needed until then.
    pub(crate) inner_drain: Shutdown,
}

/// The place of one worker: its number and the calls that are sent to it.
pub struct WorkerSeat {
    pub(crate) index: usize,
    pub(crate) calls: mpsc::Receiver<Call>,
}

impl WorkerSeat {
    /// From 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Core {
    /// One worker has no more requests from outside. The last one ends the inner calls of all.
    pub(crate) fn outer_drained(&self) {
        if self.outer_left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inner_drain.cancel();
        }
    }

    /// What `options.workers` workers share, and a seat for each.
    pub fn new(
        options: Options,
        addresses: Vec<(ListenerId, SocketAddr)>,
        snapshot: Snapshot,
        endpoints: watch::Receiver<Endpoints>,
        bus: EventBus,
    ) -> (Arc<Core>, Vec<WorkerSeat>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..options.workers).map(|_| mpsc::channel(CALLS_QUEUED_MAX)).unzip();
        let seats = receivers.into_iter().enumerate().map(|(index, calls)| WorkerSeat { index, calls }).collect();
        let core = Core {
            outer_left: AtomicUsize::new(options.workers),
            inner_drain: Shutdown::new(),
            counters: (0..options.workers).map(|_| Arc::default()).collect(),
            health: Mutex::default(),
            origin: OnceLock::new(),
            options,
            addresses,
            bus,
            snapshot: watch::Sender::new(Arc::new(snapshot)),
            endpoints,
            faults: watch::Sender::new(Arc::default()),
            faults_lock: Mutex::new(()),
            calls: senders.into(),
            next_call: Arc::default(),
        };
        (Arc::new(core), seats)
    }

    /// A handle, for simulations that make the core themselves.
    pub fn handle(self: &Arc<Self>) -> Handle {
        Handle::new(self.clone())
    }

    pub(crate) fn inject(&self, fault: EdgeFault) -> Result<(), InjectError> {
        let _one_at_a_time = self.faults_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut faults: Vec<EdgeFault> = self.faults.borrow().to_vec();
        faults.retain(|f| f.until > now && f.lease != fault.lease);
        if faults.len() >= FAULTS_MAX {
            return Err(InjectError::TooMany);
        }
        faults.push(fault);
        self.faults.send_replace(Arc::new(faults));
        Ok(())
    }

    pub(crate) fn clear(&self, lease: &LeaseId) -> bool {
        let _one_at_a_time = self.faults_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut faults: Vec<EdgeFault> = self.faults.borrow().to_vec();
        let before = faults.len();
        faults.retain(|f| f.lease != *lease);
        let found = faults.len() < before;
        self.faults.send_replace(Arc::new(faults));
        found
    }

    /// When the first worker began: from here moments are counted. Not earlier, since a simulation has its own clock.
    pub(crate) fn origin(&self) -> Instant {
        *self.origin.get_or_init(Instant::now)
    }

    /// What the workers know together of a service.
    pub(crate) fn health(&self, service: &ServiceName) -> Arc<Health> {
        let mut all = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        // Tokio's clock, because a simulation steers it.
        all.entry(service.clone()).or_insert_with(|| Arc::new(Health::new(service.clone(), Clock::tokio()))).clone()
    }

    pub(crate) fn in_flight(&self, replica: &ReplicaId) -> u64 {
        self.counters.iter().map(|c| c.in_flight(replica)).sum()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for counters in &self.counters {
            counters.add_to(&mut sum);
        }
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, service) in health.iter() {
            sum.services.entry(name.clone()).or_default().budget_milli = service.budget_milli();
            let (out, ejections) = service.ejections();
            for replica in out {
                sum.replicas.entry(replica).or_default().ejected = true;
            }
            for (replica, n) in ejections {
                sum.replicas.entry(replica).or_default().ejections = n;
            }
        }
        sum
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller { workers: self.calls.clone(), next: self.next_call.clone() }
    }
}
