//! What is done to the machines and the network, drawn from the seed: crashes, frozen machines, partitions of one and of both
//! directions, links that hold their messages back, slow links, lossy links.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Endpoint, EndpointSet, EndpointState, Endpoints, ReplicaId, ServiceName};
use turmoil::Sim;

use crate::host::MAINSTAY;
use crate::shop::PORT;
use crate::world::World;

/// Faults of one run.
const FAULTS: std::ops::RangeInclusive<usize> = 8..=30;
/// How slow a slow link gets.
const SLOW: Duration = Duration::from_millis(900);

#[derive(Debug, Clone)]
enum Fault {
    /// The host is gone and comes back; whether the supervisor notices and takes it out of rotation is open.
    Crash {
        host: String,
        noticed: bool,
    },
    /// The host takes what comes and does nothing with it until it goes on.
    Freeze(String),
    Partition(String, String),
    OneWay(String, String),
    Hold(String, String),
    Slow(String, String),
    /// A share of the messages is lost, which breaks the connections that they belong to.
    Lossy(String, String, f64),
}

/// Begins or ends a fault.
struct Due {
    at: Duration,
    fault: Fault,
    begins: bool,
}

/// The hosts, and what is wrong with them.
pub(crate) struct Faults {
    world: Rc<World>,
    due: Vec<Due>,
    replicas: Vec<String>,
    shoppers: Vec<String>,
    /// Crashes that hold a host down.
    down: BTreeMap<String, u32>,
    noticed: BTreeMap<String, bool>,
    incarnations: BTreeMap<String, u64>,
    latency_max: Duration,
}

impl Faults {
    /// Draws the faults, all of which begin within `span`.
    pub(crate) fn draw(
        world: Rc<World>,
        replicas: Vec<String>,
        shoppers: Vec<String>,
        span: Duration,
        latency_max: Duration,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let mut due = Vec::new();
        for _ in 0..rng.usize(FAULTS) {
            let at = Duration::from_millis(rng.u64(0..span.as_millis() as u64));
            let length = Duration::from_millis(rng.u64(50..6000));
            let far = replicas[rng.usize(0..replicas.len())].clone();
            let near = MAINSTAY.to_owned();
            let other = if rng.u8(0..4) == 0 { shoppers[rng.usize(0..shoppers.len())].clone() } else { far.clone() };
            let fault = match rng.u8(0..12) {
                0..3 => Fault::Crash { host: near, noticed: false },
                3..5 => Fault::Crash { host: far, noticed: rng.bool() },
                5..7 => Fault::Freeze(far),
                7 => Fault::Partition(near, other),
                8 if rng.bool() => Fault::OneWay(near, other),
                8 => Fault::OneWay(other, near),
                9 => Fault::Hold(near, other),
                10 => Fault::Slow(near, other),
                _ => Fault::Lossy(near, other, f64::from(rng.u8(1..20)) / 100.0),
            };
            // One replica is gone while the other one sleeps, and sleeps longer: what it was asked to do it does after
            // the undo.
            if let Fault::Freeze(frozen) = &fault
                && let Some(twin) =
                    replicas.iter().find(|r| *r != frozen && r[..r.len() - 1] == frozen[..frozen.len() - 1])
                && rng.bool()
            {
                let fault = Fault::Crash { host: twin.clone(), noticed: rng.bool() };
                due.push(Due { at, fault: fault.clone(), begins: true });
                due.push(Due { at: at + length * 2 / 3, fault, begins: false });
            }
            due.push(Due { at, fault: fault.clone(), begins: true });
            due.push(Due { at: at + length, fault, begins: false });
        }
        due.sort_by_key(|due| due.at);
        let mut faults = Self {
            world,
            due,
            replicas,
            shoppers,
            down: BTreeMap::new(),
            noticed: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            latency_max,
        };
        faults.due.reverse();
        faults
    }

    /// Does what is due.
    pub(crate) fn apply(&mut self, sim: &mut Sim<'_>) {
        while self.due.last().is_some_and(|due| due.at <= sim.elapsed()) {
            let Some(Due { fault, begins, .. }) = self.due.pop() else { return };
            let word = if begins { "begins" } else { "ends" };
            self.world.note_at(sim.elapsed(), "fault", format_args!("{fault:?} {word}"));
            if begins { self.begin(sim, fault) } else { self.end(sim, fault) }
        }
    }

    fn begin(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        match fault {
            Fault::Crash { host, noticed } => {
                let down = self.down.entry(host.clone()).or_default();
                *down += 1;
                if *down == 1 {
                    sim.crash(host.as_str());
                }
                if noticed {
                    self.noticed.insert(host, true);
                    self.publish(sim);
                }
            }
            Fault::Freeze(host) => {
                self.world.frozen.borrow_mut().insert(host);
            }
            Fault::Partition(a, b) => sim.partition(a.as_str(), b.as_str()),
            Fault::OneWay(from, to) => sim.partition_oneway(from.as_str(), to.as_str()),
            Fault::Hold(a, b) => sim.hold(a.as_str(), b.as_str()),
            Fault::Slow(a, b) => sim.set_link_max_message_latency(a.as_str(), b.as_str(), SLOW),
            Fault::Lossy(a, b, share) => sim.set_link_fail_rate(a.as_str(), b.as_str(), share),
        }
    }

    fn end(&mut self, sim: &mut Sim<'_>, fault: Fault) {
        match fault {
            Fault::Crash { host, .. } => {
                let Some(down) = self.down.get_mut(&host) else { return };
                *down -= 1;
                if *down == 0 {
                    sim.bounce(host.as_str());
                    *self.incarnations.entry(host.clone()).or_default() += 1;
                    self.noticed.remove(&host);
                    self.publish(sim);
                }
            }
            Fault::Freeze(host) => {
                self.world.frozen.borrow_mut().remove(&host);
            }
            // A release is a repair that also lets go what was held.
            Fault::Partition(a, b) | Fault::OneWay(a, b) | Fault::Hold(a, b) => sim.release(a.as_str(), b.as_str()),
            Fault::Slow(a, b) => sim.set_link_max_message_latency(a.as_str(), b.as_str(), self.latency_max),
            Fault::Lossy(a, b, _) => sim.set_link_fail_rate(a.as_str(), b.as_str(), 0.0),
        }
    }

    /// Takes everything away, whatever it was.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        self.due.clear();
        self.world.frozen.borrow_mut().clear();
        for (host, down) in std::mem::take(&mut self.down) {
            if down > 0 {
                self.down.insert(host.clone(), 1);
                self.end(sim, Fault::Crash { host, noticed: false });
            }
        }
        for other in self.replicas.iter().chain(&self.shoppers) {
            sim.release(MAINSTAY, other.as_str());
            sim.set_link_max_message_latency(MAINSTAY, other.as_str(), self.latency_max);
            sim.set_link_fail_rate(MAINSTAY, other.as_str(), 0.0);
        }
        self.world.note_at(sim.elapsed(), "fault", "all are over");
    }

    /// What the supervisor would publish.
    pub(crate) fn publish(&self, sim: &Sim<'_>) {
        let mut sets: BTreeMap<ServiceName, EndpointSet> = BTreeMap::new();
        for name in &self.replicas {
            let replica: ReplicaId = name.parse().unwrap();
            let out = self.noticed.contains_key(name);
            let endpoint = Endpoint {
                addr: (sim.lookup(name.as_str()), PORT).into(),
                state: if out { EndpointState::NotReady } else { EndpointState::Ready },
                incarnation: self.incarnations.get(name).copied().unwrap_or_default(),
                replica: replica.clone(),
            };
            sets.entry(replica.service).or_default().endpoints.push(endpoint);
        }
        let endpoints: Endpoints = Arc::new(sets.into_iter().map(|(name, set)| (name, Arc::new(set))).collect());
        self.world.endpoints.send_replace(endpoints);
    }
}
