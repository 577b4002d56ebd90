//! The counters of one worker. Only that worker writes them, so counting is a load and a store and never a locked
//! instruction; whoever reads them sees each at some recent moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::{Reason, ReplicaId, ServiceName};

use crate::snapshot::ListenerId;
use crate::stats::{Attempts, Histogram, LATENCY_BUCKETS, LATENCY_BUCKETS_US, Outcomes, ReplicaStats, Stats};

const REASONS: usize = Reason::ALL.len();

/// A number that one thread writes.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [Count; LATENCY_BUCKETS],
    sum_us: Count,
}

impl Latency {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_US.iter().position(|b| us <= *b).unwrap_or(LATENCY_BUCKETS_US.len());
        self.buckets[bucket].add(1);
        self.sum_us.add(us);
    }

    fn add_to(&self, sum: &mut Histogram) {
        for (total, count) in sum.buckets.iter_mut().zip(&self.buckets) {
            *total += count.get();
        }
        sum.sum_us += self.sum_us.get();
    }
}

#[derive(Debug)]
struct ByReason([Count; REASONS]);

impl Default for ByReason {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

impl ByReason {
    fn add(&self, reason: Reason) {
        self.0[reason as usize].add(1);
    }

    fn add_to(&self, sum: &mut BTreeMap<Reason, u64>) {
        for reason in Reason::ALL {
            let count = self.0[*reason as usize].get();
            if count > 0 {
                *sum.entry(*reason).or_default() += count;
            }
        }
    }
}

/// How requests ended.
#[derive(Debug, Default)]
pub(crate) struct OutcomeCounters {
    by_class: [Count; 5],
    own: ByReason,
    pub(crate) cancelled: Count,
    latency: Latency,
}

impl OutcomeCounters {
    pub(crate) fn record(&self, status: u16, own: Option<Reason>, took: Duration) {
        self.by_class[usize::from(status / 100).clamp(1, 5) - 1].add(1);
        if let Some(reason) = own {
            self.own.add(reason);
        }
        self.latency.record(took);
    }

    fn add_to(&self, sum: &mut Outcomes) {
        for (total, count) in sum.by_class.iter_mut().zip(&self.by_class) {
            *total += count.get();
        }
        self.own.add_to(&mut sum.own);
        sum.cancelled += self.cancelled.get();
        self.latency.add_to(&mut sum.latency);
    }
}

/// What happened to the calls to one service.
#[derive(Debug, Default)]
pub(crate) struct ServiceCounters {
    pub(crate) outcomes: OutcomeCounters,
    pub(crate) in_flight: Count,
    pub(crate) retries_unsent: Count,
    pub(crate) retries_sent: Count,
    pub(crate) retries_withheld: Count,
}

/// What happened to the calls to one replica.
#[derive(Debug, Default)]
pub(crate) struct ReplicaCounters {
    ok: Count,
    status_5xx: Count,
    failed: ByReason,
    pub(crate) in_flight: Count,
    pub(crate) connects: Count,
    pub(crate) latency: Latency,
}

impl ReplicaCounters {
    pub(crate) fn answered(&self, status: u16) {
        if status < 500 { self.ok.add(1) } else { self.status_5xx.add(1) }
    }

    pub(crate) fn failed(&self, reason: Reason) {
        self.failed.add(reason);
    }

    fn add_to(&self, sum: &mut ReplicaStats) {
        let Attempts { ok, status_5xx, failed } = &mut sum.attempts;
        *ok += self.ok.get();
        *status_5xx += self.status_5xx.get();
        self.failed.add_to(failed);
        sum.in_flight += self.in_flight.get();
        sum.connects += self.connects.get();
        self.latency.add_to(&mut sum.latency);
    }
}

/// All counters of one worker. The maps are locked when something is met for the first time and when they are read.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    pub(crate) unrouted: OutcomeCounters,
    pub(crate) connections: Count,
    pub(crate) connections_total: Count,
    pub(crate) connections_refused: Count,
    pub(crate) panics: Count,
    pub(crate) faults_injected: Count,
    routes: Named<String, OutcomeCounters>,
    edges: Named<ListenerId, OutcomeCounters>,
    services: Named<ServiceName, ServiceCounters>,
    replicas: Named<ReplicaId, ReplicaCounters>,
}

type Named<K, V> = Mutex<BTreeMap<K, Arc<V>>>;

fn named<K: Ord + Clone, V: Default>(map: &Named<K, V>, key: &K) -> Arc<V> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.entry(key.clone()).or_default().clone()
}

fn each<K, V>(map: &Named<K, V>, mut f: impl FnMut(&K, &V)) {
    for (key, value) in map.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        f(key, value);
    }
}

impl WorkerCounters {
    pub(crate) fn route(&self, pattern: &String) -> Arc<OutcomeCounters> {
        named(&self.routes, pattern)
    }

    pub(crate) fn edge(&self, id: &ListenerId) -> Arc<OutcomeCounters> {
        named(&self.edges, id)
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Arc<ServiceCounters> {
        named(&self.services, name)
    }

    pub(crate) fn replica(&self, id: &ReplicaId) -> Arc<ReplicaCounters> {
        named(&self.replicas, id)
    }

    pub(crate) fn in_flight(&self, id: &ReplicaId) -> u64 {
        let map = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(id).map_or(0, |r| r.in_flight.get())
    }

    pub(crate) fn add_to(&self, sum: &mut Stats) {
        self.unrouted.add_to(&mut sum.unrouted);
        sum.connections += self.connections.get();
        sum.connections_total += self.connections_total.get();
        sum.connections_refused += self.connections_refused.get();
        sum.panics += self.panics.get();
        sum.faults_injected += self.faults_injected.get();
        each(&self.routes, |pattern, route| route.add_to(sum.routes.entry(pattern.clone()).or_default()));
        each(&self.edges, |id, edge| edge.add_to(sum.edges.entry(id.clone()).or_default()));
        each(&self.replicas, |id, replica| replica.add_to(sum.replicas.entry(id.clone()).or_default()));
        each(&self.services, |name, service| {
            let total = sum.services.entry(name.clone()).or_default();
            service.outcomes.add_to(&mut total.outcomes);
            total.in_flight += service.in_flight.get();
            total.retries_unsent += service.retries_unsent.get();
            total.retries_sent += service.retries_sent.get();
            total.retries_withheld += service.retries_withheld.get();
        });
    }
}
