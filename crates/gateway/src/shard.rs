//! What one worker knows: routes, upstreams and faults, compiled from what was published, and its own pools, buffers,
//! counters and dice. It belongs to one thread and is never locked.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use mainstay_core::{EdgeEffect, EndpointState, Endpoints, ReplicaId, ServiceName};
use mainstay_policy::Moment;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::buffer::Buffers;
use crate::core::Core;
use crate::counters::WorkerCounters;
use crate::net::Net;
use crate::router::Router;
use crate::snapshot::{EdgeFault, ListenerId, Snapshot, UpstreamPolicy};
use crate::upstream::{Peer, Upstream};

type Up<N> = Rc<Upstream<<N as Net>::Stream>>;

pub(crate) struct Shard<N: Net> {
    pub(crate) net: N,
    pub(crate) core: Arc<Core>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) buffers: Buffers,
    pub(crate) rng: RefCell<fastrand::Rng>,
    pub(crate) pick_room: RefCell<Vec<usize>>,
    pub(crate) draining: Cell<bool>,
    origin: Instant,
    published: RefCell<Published>,
    compiled: RefCell<Rc<Compiled<N>>>,
    callees: BTreeSet<ServiceName>,
}

struct Published {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    endpoints: watch::Receiver<Endpoints>,
    faults: watch::Receiver<Arc<Vec<EdgeFault>>>,
}

pub(crate) struct Compiled<N: Net> {
    pub(crate) router: Router,
    pub(crate) upstreams: BTreeMap<ServiceName, Up<N>>,
    faults: Arc<Vec<EdgeFault>>,
}

impl<N: Net> Shard<N> {
    pub(crate) fn new(core: Arc<Core>, index: usize, net: N, listeners: &[(ListenerId, N::Listener)]) -> Rc<Self> {
        let published = Published {
            snapshot: core.snapshot.subscribe(),
            endpoints: core.endpoints.clone(),
            faults: core.faults.subscribe(),
        };
        let callees = listeners
            .iter()
            .filter_map(|(id, _)| match id {
                ListenerId::Edge { callee, .. } => Some(callee.clone()),
                ListenerId::Ingress => None,
            })
            .collect();
        let empty = Compiled { router: Router::default(), upstreams: BTreeMap::new(), faults: Arc::default() };
        let shard = Self {
            net,
            counters: core.counters[index].clone(),
            buffers: Buffers::default(),
            rng: RefCell::new(fastrand::Rng::with_seed(core.options.seed.wrapping_add(index as u64))),
            pick_room: RefCell::default(),
            draining: Cell::new(false),
            origin: core.origin(),
            published: RefCell::new(published),
            compiled: RefCell::new(Rc::new(empty)),
            callees,
            core,
        };
        shard.compile();
        Rc::new(shard)
    }

    pub(crate) fn moment(&self, now: Instant) -> Moment {
        now.saturating_duration_since(self.origin).into()
    }

    /// What holds now. Costs three loads unless something was published.
    pub(crate) fn compiled(&self) -> Rc<Compiled<N>> {
        let changed = {
            let p = self.published.borrow();
            // An error says that the publisher is gone; what it said last goes on to hold.
            p.endpoints.has_changed().unwrap_or(false)
                || p.snapshot.has_changed().unwrap_or(false)
                || p.faults.has_changed().unwrap_or(false)
        };
        if changed {
            self.compile();
        }
        self.compiled.borrow().clone()
    }

    /// Waits until something is published.
    pub(crate) async fn published(&self) {
        let (mut snapshot, mut endpoints, mut faults) = {
            let p = self.published.borrow();
            (p.snapshot.clone(), p.endpoints.clone(), p.faults.clone())
        };
        tokio::select! {
            biased;
            Ok(()) = endpoints.changed() => {}
            Ok(()) = snapshot.changed() => {}
            Ok(()) = faults.changed() => {}
            else => std::future::pending().await,
        }
    }

    fn compile(&self) {
        let (snapshot, endpoints, faults) = {
            let mut p = self.published.borrow_mut();
            let snapshot = p.snapshot.borrow_and_update().clone();
            let endpoints = p.endpoints.borrow_and_update().clone();
            let faults = p.faults.borrow_and_update().clone();
            (snapshot, endpoints, faults)
        };
        let router = Router::new(&snapshot.routes, &self.counters);
        let names: BTreeSet<&ServiceName> =
            snapshot.upstreams.keys().chain(endpoints.keys()).chain(router.services()).chain(&self.callees).collect();
        let old = self.compiled.borrow().clone();
        let now = self.moment(Instant::now());
        let upstreams: BTreeMap<_, _> = names
            .into_iter()
            .map(|name| {
                let policy = snapshot.upstreams.get(name).cloned().unwrap_or_default();
                (name.clone(), self.compile_upstream(name, policy, &endpoints, &old, now))
            })
            .collect();
        for (name, upstream) in &old.upstreams {
            let kept = upstreams.get(name).map_or(&[][..], |u| &u.peers);
            for peer in upstream.peers.iter().filter(|p| !kept.iter().any(|k| Rc::ptr_eq(k, p))) {
                peer.retire();
            }
        }
        *self.compiled.borrow_mut() = Rc::new(Compiled { router, upstreams, faults });
    }

    fn compile_upstream(
        &self,
        name: &ServiceName,
        policy: UpstreamPolicy,
        endpoints: &Endpoints,
        old: &Compiled<N>,
        now: Moment,
    ) -> Up<N> {
        let known = old.upstreams.get(name).map_or(&[][..], |u| &u.peers);
        let median = Upstream::median_rtt(known, now);
        let ready = endpoints.get(name).into_iter().flat_map(|set| &set.endpoints);
        let peers: Vec<_> = ready
            .filter(|e| e.state == EndpointState::Ready)
            .map(|e| match known.iter().find(|p| p.is(e)) {
                Some(peer) => peer.clone(),
                None => Rc::new(Peer::new(e, now, median, self.counters.replica(&e.replica))),
            })
            .collect();
        let health = self.core.health(name);
        health.set_members(now, &policy, peers.iter().map(|p| p.key.clone()).collect(), &self.core.bus);
        health.set_budget(&policy.budget);
        let counters = self.counters.service(name);
        Rc::new(Upstream { name: name.clone(), policy, peers, health, counters })
    }

    /// The fault that hits this attempt, if one does. The dice fall only where there is a fault to hit.
    pub(crate) fn fault(
        &self,
        compiled: &Compiled<N>,
        service: &ServiceName,
        replica: &ReplicaId,
    ) -> Option<EdgeEffect> {
        let candidates = compiled.faults.iter().filter(|f| f.service == *service);
        for fault in candidates {
            if fault.replica.as_ref().is_none_or(|r| r == replica)
                && fault.until > Instant::now()
                && fault.share.hits(self.rng.borrow_mut().u16(0..10_000))
            {
                self.counters.faults_injected.add(1);
                return Some(fault.effect.clone());
            }
        }
        None
    }

    /// What is due from time to time: old connections are closed, the budgets are read, what was counted is judged.
    pub(crate) fn keep_house(&self) {
        let now = Instant::now();
        let compiled = self.compiled();
        for upstream in compiled.upstreams.values() {
            upstream.health.read_budget();
            for peer in &upstream.peers {
                peer.close_old(now);
            }
            if upstream.policy.ejection.enabled {
                let tallies = upstream.peers.iter().map(|peer| (&peer.key, &peer.tally));
                upstream.health.absorb(self.moment(now), tallies, &mut self.rng.borrow_mut(), &self.core.bus);
            }
        }
    }
}
