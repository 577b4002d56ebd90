//! What all workers know together of a service: who is ejected, and what may be retried. It is behind locks, which are
//! taken only when something has failed: as long as all is calm a worker reads one flag and counts on its own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::{Cause, EventBus, EventKind, ReplicaId, ServiceName};
use mainstay_policy::{
    BudgetSettings, Change, Clock, Env, Failure, Moment, Outlier, OutlierOptions, Probe, Rate, RetryBudget, Share,
};

use crate::snapshot::{Budget, UpstreamPolicy};

/// One process at one address: a restarted replica is somebody new.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PeerKey {
    pub(crate) replica: ReplicaId,
    pub(crate) incarnation: u64,
    pub(crate) addr: SocketAddr,
}

pub(crate) struct Health {
    service: ServiceName,
    outlier: Mutex<Tracked>,
    calm: AtomicBool,
    exhausted_told_s: AtomicU64,
    pub(crate) budget: RetryBudget,
    /// As a worker has read it last. Not read when statistics are asked for: that may be outside of the workers' time.
    budget_milli: AtomicU64,
}

pub(crate) struct Tracked {
    pub(crate) outlier: Outlier<PeerKey>,
    ejections: std::collections::BTreeMap<ReplicaId, u64>,
}

impl Health {
    /// `clock` is that of the workers.
    pub(crate) fn new(service: ServiceName, clock: Clock) -> Self {
        let env = Env::new(service.as_str()).with_clock(clock);
        let budget = RetryBudget::new(BudgetSettings::default(), &env).expect("the default budget is one that works");
        let outlier = Outlier::new(OutlierOptions::default());
        Self {
            service,
            outlier: Mutex::new(Tracked { outlier, ejections: Default::default() }),
            calm: AtomicBool::new(true),
            exhausted_told_s: AtomicU64::new(u64::MAX),
            budget_milli: AtomicU64::new(0),
            budget,
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Relaxed)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Tracked> {
        self.outlier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_budget(&self, budget: &Budget) {
        self.budget.set_settings(budget_settings(budget)).expect("any count in a second is a floor that works");
        self.read_budget();
    }

    pub(crate) fn read_budget(&self) {
        self.budget_milli.store(self.budget.remaining_milli(), Relaxed);
    }

    /// What may be retried, in thousandths.
    pub(crate) fn budget_milli(&self) -> u64 {
        self.budget_milli.load(Relaxed)
    }

    pub(crate) fn set_members(&self, now: Moment, policy: &UpstreamPolicy, keys: Vec<PeerKey>, bus: &EventBus) {
        let ejection = &policy.ejection;
        let mut tracked = self.lock();
        tracked.outlier.set_options(OutlierOptions {
            consecutive: ejection.consecutive,
            base: ejection.base,
            max: ejection.max,
            cap_points: ejection.cap.points(),
            slow_start: ejection.slow_start,
            probe_lease: policy.timeouts.per_try + std::time::Duration::from_secs(1),
        });
        for key in tracked.outlier.set_members(now, keys) {
            bus.publish(EventKind::EndpointReturned { replica: key.replica });
        }
        self.calm.store(tracked.outlier.is_calm(), Relaxed);
    }

    /// A call has ended. Costs one load as long as all is well.
    pub(crate) fn observe(
        &self,
        now: Moment,
        key: &PeerKey,
        failure: Failure,
        probe: Option<Probe>,
        rng: &mut fastrand::Rng,
        bus: &EventBus,
    ) {
        if failure == Failure::None && probe.is_none() && self.is_calm() {
            return;
        }
        let mut tracked = self.lock();
        let change = tracked.outlier.observe(now, key, failure, probe, rng);
        self.calm.store(tracked.outlier.is_calm(), Relaxed);
        // Published under the lock, so that events come in the order of what they tell.
        match change {
            Some(Change::Ejected { length, failures }) => {
                *tracked.ejections.entry(key.replica.clone()).or_default() += 1;
                bus.publish(EventKind::EndpointEjected {
                    replica: key.replica.clone(),
                    cause: Cause::ConsecutiveFailures,
                    failures,
                    for_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
                });
            }
            Some(Change::Returned) => bus.publish(EventKind::EndpointReturned { replica: key.replica.clone() }),
            None => {}
        }
    }

    pub(crate) fn give_back(&self, now: Moment, key: &PeerKey, probe: Probe) {
        self.lock().outlier.give_back(now, key, probe);
    }

    /// Tells once a second that retries are withheld.
    pub(crate) fn budget_exhausted(&self, now: Moment, bus: &EventBus) {
        if self.exhausted_told_s.swap(now.as_secs(), Relaxed) != now.as_secs() {
            bus.publish(EventKind::RetryBudgetExhausted { service: self.service.clone() });
        }
    }

    /// Who is out now and how often each was, for the statistics.
    pub(crate) fn ejections(&self) -> (Vec<ReplicaId>, Vec<(ReplicaId, u64)>) {
        let tracked = self.lock();
        let out = tracked.outlier.ejected().map(|k| k.replica.clone()).collect();
        (out, tracked.ejections.iter().map(|(k, n)| (k.clone(), *n)).collect())
    }
}

fn budget_settings(budget: &Budget) -> BudgetSettings {
    if !budget.enabled {
        return BudgetSettings::UNLIMITED;
    }
    BudgetSettings {
        share: Share::basis_points(budget.share.points()).unwrap_or(Share::ALL),
        floor: Rate::per_second(budget.floor_per_s),
        concurrent_min: budget.concurrent_min,
    }
}
