//! What the workers counted, merged when somebody asks. A worker writes only its own counters, so that counting
//! costs a plain store; the price is that a reading is the sum of moments that are a little apart.

use std::collections::BTreeMap;

use mainstay_core::{Reason, ReplicaId, ServiceName};

use crate::snapshot::ListenerId;

/// Upper bounds of the latency buckets, in microseconds; one more bucket takes what is slower.
pub const LATENCY_BUCKETS_US: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    15_000_000,
];

/// Buckets of [`Histogram::buckets`].
pub const LATENCY_BUCKETS: usize = LATENCY_BUCKETS_US.len() + 1;

/// Durations by bucket, not cumulated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// `buckets[i]` counts what took at most `LATENCY_BUCKETS_US[i]`; the last one the rest.
    pub buckets: [u64; LATENCY_BUCKETS],
    /// All of it together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How requests ended, as the client saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By the first digit of the status, from 1 to 5: `by_class[1]` is 2xx.
    pub by_class: [u64; 5],
    /// Answers that Mainstay made itself, by their reason; they are in `by_class` too.
    pub own: BTreeMap<Reason, u64>,
    /// The client went away before the answer.
    pub cancelled: u64,
    /// From the head of the request to the end of the answer.
    pub latency: Histogram,
}

impl Outcomes {
    /// Requests that ended with an answer.
    pub fn total(&self) -> u64 {
        self.by_class.iter().sum()
    }
}

/// How single attempts ended, before any retry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Answered with a status below 500.
    pub ok: u64,
    /// Answered with a status of 500 and above.
    pub status_5xx: u64,
    /// Ended without an answer, by reason.
    pub failed: BTreeMap<Reason, u64>,
}

impl Attempts {
    /// All attempts that ended.
    pub fn total(&self) -> u64 {
        self.ok + self.status_5xx + self.failed.values().sum::<u64>()
    }
}

/// What happened to the calls to one service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServiceStats {
    /// Requests, whichever door they came by.
    pub outcomes: Outcomes,
    /// Requests on their way now.
    pub in_flight: u64,
    /// Retries of requests that were never sent (class A).
    pub retries_unsent: u64,
    /// Retries of requests that may have been acted upon (class B).
    pub retries_sent: u64,
    /// Retries that the budget withheld.
    pub retries_withheld: u64,
    /// Retries that the budget allows now, in thousandths.
    pub budget_milli: u64,
}

/// What happened to the calls to one replica.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplicaStats {
    /// Attempts.
    pub attempts: Attempts,
    /// Attempts on their way now.
    pub in_flight: u64,
    /// The gateway sends it no traffic.
    pub ejected: bool,
    /// How often it was ejected.
    pub ejections: u64,
    /// New connections made to it.
    pub connects: u64,
    /// From sending the request to the head of the answer.
    pub latency: Histogram,
}

/// Everything that was counted since the start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// By the pattern of the ingress route.
    pub routes: BTreeMap<String, Outcomes>,
    /// By edge: the calls of one service to another.
    pub edges: BTreeMap<ListenerId, Outcomes>,
    /// By service.
    pub services: BTreeMap<ServiceName, ServiceStats>,
    /// By replica.
    pub replicas: BTreeMap<ReplicaId, ReplicaStats>,
    /// Requests that reached no route or service: malformed, over a limit, no route.
    pub unrouted: Outcomes,
    /// Client connections open now.
    pub connections: u64,
    /// Client connections accepted.
    pub connections_total: u64,
    /// Client connections refused because of the limit.
    pub connections_refused: u64,
    /// Requests in which Mainstay met a bug of its own.
    pub panics: u64,
    /// Attempts that a drill spoilt.
    pub faults_injected: u64,
}
