//! What all workers know together of a service: who is ejected, and what may be retried. It is behind locks, which are
//! taken only when something has failed: as long as all is calm a worker reads one flag and counts on its own.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::{Cause, EventBus, EventKind, ReplicaId, ServiceName};
use mainstay_policy::{
    BudgetSettings, Change, Clock, EjectionCause, Env, Failure, Mode, Moment, Outcome, Outlier, OutlierSettings, Probe,
    Rate, RetryBudget, Share, Tally,
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
        let outlier = Outlier::new(OutlierSettings::default()).expect("the default settings can work");
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
        let settings = OutlierSettings {
            mode: if ejection.enabled { Mode::Enforce } else { Mode::Off },
            failures: ejection.consecutive,
            out_for: ejection.base,
            out_max: ejection.max.max(ejection.base),
            max: Share::basis_points(ejection.cap.points()).unwrap_or(Share::ALL),
            slow_start: ejection.slow_start,
            probe_lease: policy.timeouts.per_try.saturating_add(Duration::from_secs(1)),
            ..OutlierSettings::default()
        };
        let mut tracked = self.lock();
        // What cannot work changes nothing: the settings before go on to hold.
        if let Ok(changes) = tracked.outlier.set_settings(now, settings) {
            tracked.tell(changes, bus);
        }
        let changes = tracked.outlier.set_members(now, keys);
        tracked.tell(changes, bus);
        self.calm.store(tracked.outlier.is_calm(), Relaxed);
    }

    /// A call has ended. As long as all is well it is counted in the worker's own tally, which costs no lock.
    pub(crate) fn observe(
        &self,
        now: Moment,
        key: &PeerKey,
        outcome: Outcome,
        tally: &RefCell<Tally>,
        rng: &mut fastrand::Rng,
        bus: &EventBus,
    ) {
        if outcome.failure == Failure::None && outcome.probe.is_none() && self.is_calm() {
            tally.borrow_mut().count(outcome.failure, outcome.took);
            return;
        }
        let mut tracked = self.lock();
        let changes = tracked.outlier.observe(now, key, outcome, rng);
        self.calm.store(tracked.outlier.is_calm(), Relaxed);
        // Published under the lock, so that events come in the order of what they tell.
        tracked.tell(changes, bus);
    }

    /// Takes over what a worker has counted by itself, and judges what is due.
    pub(crate) fn absorb<'a>(
        &self,
        now: Moment,
        tallies: impl Iterator<Item = (&'a PeerKey, &'a RefCell<Tally>)>,
        rng: &mut fastrand::Rng,
        bus: &EventBus,
    ) {
        let mut tracked = self.lock();
        let mut changes = tracked.outlier.tick(now, rng);
        for (key, tally) in tallies {
            changes.append(&mut tracked.outlier.absorb(now, key, &mut tally.borrow_mut(), rng));
        }
        self.calm.store(tracked.outlier.is_calm(), Relaxed);
        tracked.tell(changes, bus);
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

impl Tracked {
    fn tell(&mut self, changes: Vec<Change<PeerKey>>, bus: &EventBus) {
        for change in changes {
            match change {
                Change::Ejected { key, cause, length, failures, enforced: true } => {
                    *self.ejections.entry(key.replica.clone()).or_default() += 1;
                    bus.publish(EventKind::EndpointEjected {
                        replica: key.replica,
                        cause: match cause {
                            EjectionCause::SuccessRate | EjectionCause::FailureRate => Cause::FailureRate,
                            EjectionCause::Latency => Cause::Latency,
                            _ => Cause::ConsecutiveFailures,
                        },
                        failures,
                        for_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
                    });
                }
                Change::Returned { key } => bus.publish(EventKind::EndpointReturned { replica: key.replica }),
                // There is no event yet for what was only detected, nor for panic.
                _ => {}
            }
        }
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
