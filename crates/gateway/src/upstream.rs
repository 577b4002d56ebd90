//! One service as one worker sees it: its ready endpoints, the connections kept to them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use mainstay_core::{Endpoint, ServiceName};
use mainstay_policy::{Admission, Moment, PeakEwma, Probe, Tally, pick_two};
use tokio::io::AsyncRead;
use tokio::time::Instant;

use crate::buffer::Buf;
use crate::counters::{ReplicaCounters, ServiceCounters};
use crate::health::{Health, PeerKey};
use crate::snapshot::UpstreamPolicy;

/// Idle connections that a worker keeps to one endpoint.
const IDLE_PER_PEER_MAX: usize = 256;
/// How long an idle connection is kept. Common servers close theirs after 60 s or more; a few after 5 s.
const IDLE_KEPT_MAX: Duration = Duration::from_secs(30);
/// Load averages of peers that are looked at to find what a new one is likely to cost.
const MEDIAN_OF_MAX: usize = 64;

/// One endpoint.
pub(crate) struct Peer<S> {
    pub(crate) key: PeerKey,
    pub(crate) load: Cell<PeakEwma>,
    pub(crate) in_flight: Cell<u32>,
    pub(crate) counters: Arc<ReplicaCounters>,
    /// What this worker saw while all was well, for the service's health to take over.
    pub(crate) tally: RefCell<Tally>,
    idle: RefCell<Vec<Idle<S>>>,
    current: Cell<bool>,
}

struct Idle<S> {
    stream: S,
    since: Instant,
}

impl<S: AsyncRead + Unpin> Peer<S> {
    pub(crate) fn new(
        endpoint: &Endpoint,
        now: Moment,
        median: Option<Duration>,
        counters: Arc<ReplicaCounters>,
    ) -> Self {
        let key = PeerKey { replica: endpoint.replica.clone(), incarnation: endpoint.incarnation, addr: endpoint.addr };
        Self {
            key,
            load: Cell::new(PeakEwma::new(now, median)),
            in_flight: Cell::new(0),
            counters,
            tally: RefCell::default(),
            idle: RefCell::default(),
            current: Cell::new(true),
        }
    }

    pub(crate) fn is(&self, endpoint: &Endpoint) -> bool {
        self.key.addr == endpoint.addr
            && self.key.incarnation == endpoint.incarnation
            && self.key.replica == endpoint.replica
    }

    /// The connection that was used last and is still open, as far as can be told without asking the kernel: the
    /// runtime has heard of it when the other side closed.
    pub(crate) fn check_out(&self, cx: &mut Context<'_>, scratch: &mut Buf) -> Option<S> {
        loop {
            let mut idle = self.idle.borrow_mut().pop()?;
            // Readable means closed, or an answer that nobody asked for. Either way it is not to be used.
            if scratch.poll_read(&mut idle.stream, cx).is_pending() {
                return Some(idle.stream);
            }
            let rubbish = scratch.len();
            scratch.consume(rubbish);
        }
    }

    pub(crate) fn check_in(&self, stream: S, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if self.current.get() && idle.len() < IDLE_PER_PEER_MAX {
            idle.push(Idle { stream, since: now });
        }
    }

    /// The process behind them has probably gone.
    pub(crate) fn forget_idle(&self) {
        self.idle.borrow_mut().clear();
    }

    pub(crate) fn retire(&self) {
        self.current.set(false);
        self.forget_idle();
    }

    pub(crate) fn close_old(&self, now: Instant) {
        self.idle.borrow_mut().retain(|i| now.saturating_duration_since(i.since) < IDLE_KEPT_MAX);
    }
}

/// One service.
pub(crate) struct Upstream<S> {
    pub(crate) name: ServiceName,
    pub(crate) policy: UpstreamPolicy,
    /// The ready ones, by replica.
    pub(crate) peers: Vec<Rc<Peer<S>>>,
    pub(crate) health: Arc<Health>,
    pub(crate) counters: Arc<ServiceCounters>,
}

impl<S: AsyncRead + Unpin> Upstream<S> {
    /// The better of two, preferring those that were not tried. `safe` requests are the first choice for probes.
    pub(crate) fn pick(
        &self,
        now: Moment,
        tried: &[Rc<Peer<S>>],
        room: &mut Vec<usize>,
        rng: &mut fastrand::Rng,
    ) -> Option<(Rc<Peer<S>>, Option<Probe>)> {
        if self.peers.len() <= 1 {
            return self.peers.first().map(|p| (p.clone(), None));
        }
        room.clear();
        let untried = |i: &usize| !tried.iter().any(|t| Rc::ptr_eq(t, &self.peers[*i]));
        if !self.policy.ejection.enabled || self.health.is_calm() {
            room.extend((0..self.peers.len()).filter(untried));
        } else {
            let mut tracked = self.health.lock();
            for i in (0..self.peers.len()).filter(untried) {
                let key = &self.peers[i].key;
                let admission = tracked.outlier.pool(now).admission(key);
                if admission == Admission::ProbeDue
                    && let Some(probe) = tracked.outlier.start_probe(now, key)
                {
                    return Some((self.peers[i].clone(), Some(probe)));
                }
                if admission.accepts(rng) {
                    room.push(i);
                }
            }
            if room.is_empty() {
                // Somebody who was tried and is not out is better than somebody who is out.
                let pool = tracked.outlier.pool(now);
                let full =
                    |i: &usize| !matches!(pool.admission(&self.peers[*i].key), Admission::Out | Admission::ProbeDue);
                room.extend((0..self.peers.len()).filter(full));
            }
        }
        if room.is_empty() {
            room.extend(0..self.peers.len());
        }
        let chosen = match room[..] {
            [only] => only,
            _ => {
                let (a, b) = pick_two(room.len(), rng);
                let cost = |i: usize| self.peers[i].load.get().load(now, self.peers[i].in_flight.get());
                if cost(room[b]) < cost(room[a]) { room[b] } else { room[a] }
            }
        };
        Some((self.peers[chosen].clone(), None))
    }

    /// What a newcomer is likely to take: the median of those that are there.
    pub(crate) fn median_rtt(peers: &[Rc<Peer<S>>], now: Moment) -> Option<Duration> {
        let mut all: Vec<Duration> = peers.iter().take(MEDIAN_OF_MAX).map(|p| p.load.get().rtt(now)).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }
}
