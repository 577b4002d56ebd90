//! Every decision of the supervisor: a pure machine over all services, (state, input) → (state, commands).
//!
//! Each replica has a machine of its own (`replica`); what ties them is here: the order of `needs`, the disruption budget
//! and the rule of the common cause, and the stop of everything. The shell feeds it with what happened and carries out
//! its commands; time is an argument.

mod budget;
mod order;
mod replica;
mod restart;
mod service;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Cause, EventKind, ReplicaId, ServiceName, WallMs};
use mainstay_detect::{Kind, Sample};
use tokio::time::Instant;

use crate::driver::{DriverError, ExitStatus, Instance, Launch, Running, Signal, Stopped};
use crate::error::{FaultError, SpecError};
use crate::spec::ServiceSpec;
use replica::{Phase, Replica};
use service::Service;

/// How soon a replica that waits for the budget is looked at again.
const BUDGET_PERIOD: Duration = Duration::from_millis(500);

/// One moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    pub(crate) wall: WallMs,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// What runs from before; the first input.
    Begin(Vec<Running>),
    Started {
        id: ReplicaId,
        incarnation: u64,
        result: Result<Instance, DriverError>,
    },
    Exited {
        id: ReplicaId,
        incarnation: u64,
        status: ExitStatus,
        log_tail: Vec<String>,
    },
    Probed {
        id: ReplicaId,
        incarnation: u64,
        kind: Kind,
        sample: Sample,
        error: Option<String>,
    },
    InFlight {
        id: ReplicaId,
        incarnation: u64,
        count: u64,
    },
    StopEnded {
        id: ReplicaId,
        incarnation: u64,
        result: Result<Stopped, DriverError>,
    },
    SurplusEnded {
        id: ReplicaId,
        result: Result<Stopped, DriverError>,
    },
    /// Time has passed.
    Tick,
    /// Somebody wants it started anew.
    Restart(ReplicaId),
    Kill(ReplicaId),
    Freeze(ReplicaId),
    Thaw(ReplicaId),
    /// Kill all replicas and keep them down …
    Hold(ServiceName),
    /// … until this.
    Release(ServiceName),
    /// Stop everything, dependents first.
    Shutdown,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Start(Launch),
    /// Say when it ends.
    Watch(Instance),
    Stop {
        instance: Instance,
        grace: Duration,
    },
    /// Stop what has no place here any more.
    StopSurplus {
        instance: Instance,
        grace: Duration,
    },
    /// It has ended.
    SurplusGone,
    Signal(Instance, Signal),
    /// Run these probes, instead of those that run. `age` of the process; none: it was adopted.
    Probe {
        instance: Instance,
        spec: Arc<ServiceSpec>,
        kinds: Vec<Kind>,
        age: Option<Duration>,
    },
    /// Stop all its probes.
    Unprobe(ReplicaId),
    AskInFlight(Instance),
    Emit(EventKind),
}

/// What a replica's machine sees of the rest.
pub(crate) struct Cx<'a> {
    pub(crate) now: Now,
    pub(crate) out: &'a mut Vec<Command>,
    /// A drill keeps the service down.
    pub(crate) held: bool,
    /// Everything is being stopped.
    pub(crate) stopping: bool,
}

impl Cx<'_> {
    pub(crate) fn emit(&mut self, kind: EventKind) {
        self.out.push(Command::Emit(kind));
    }
}

/// All services.
pub(crate) struct Fleet {
    services: BTreeMap<ServiceName, Service>,
    stopping: bool,
}

impl Fleet {
    /// Nothing runs yet.
    pub(crate) fn new(specs: Vec<ServiceSpec>, wall: WallMs) -> Result<Self, SpecError> {
        for spec in &specs {
            spec.validate()?;
        }
        order::check(&specs)?;
        let services = specs.into_iter().map(|spec| (spec.name.clone(), Service::new(spec, wall)));
        Ok(Self { services: services.collect(), stopping: false })
    }

    /// Takes one input; answers what is to be done, in this order.
    pub(crate) fn step(&mut self, now: Now, input: Input) -> Vec<Command> {
        let mut out = Vec::new();
        match input {
            Input::Begin(running) => self.begin(now, &mut out, running),
            Input::Started { id, incarnation, result } => {
                self.with(now, &mut out, &id, |r, cx| r.started(cx, incarnation, result));
            }
            Input::Exited { id, incarnation, status, log_tail } => {
                self.with(now, &mut out, &id, |r, cx| r.exited(cx, incarnation, status, log_tail));
            }
            Input::Probed { id, incarnation, kind, sample, error } => {
                self.with(now, &mut out, &id, |r, cx| r.probed(cx, incarnation, kind, sample, error));
            }
            Input::InFlight { id, incarnation, count } => {
                self.with(now, &mut out, &id, |r, cx| r.in_flight(cx, incarnation, count));
            }
            Input::StopEnded { id, incarnation, result } => {
                self.with(now, &mut out, &id, |r, cx| r.stop_ended(cx, incarnation, result));
            }
            Input::SurplusEnded { id, result } => {
                let forced = result.is_ok_and(|stopped| stopped.forced);
                out.push(Command::Emit(EventKind::ReplicaStopped { replica: id, forced }));
                out.push(Command::SurplusGone);
            }
            Input::Restart(id) => self.with(now, &mut out, &id, Replica::requested),
            Input::Kill(id) => self.with(now, &mut out, &id, Replica::kill),
            Input::Freeze(id) => self.with(now, &mut out, &id, |r, cx| r.freeze(cx, true)),
            Input::Thaw(id) => self.with(now, &mut out, &id, |r, cx| r.freeze(cx, false)),
            Input::Hold(service) => self.hold(now, &mut out, &service),
            Input::Release(service) => self.release(now, &mut out, &service),
            Input::Shutdown => self.stopping = true,
            Input::Tick => {}
        }
        self.advance(now, &mut out);
        out
    }

    /// When a [`Input::Tick`] is due.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        let replicas = || self.services.values().flat_map(|s| &s.replicas);
        let waiting = replicas().any(|r| r.wants.is_some()).then(|| now + BUDGET_PERIOD);
        replicas().filter_map(Replica::due).chain(waiting).min()
    }

    /// Whether a shutdown is complete.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopping && self.services.values().flat_map(|s| &s.replicas).all(Replica::is_down_for_good)
    }

    /// Whether there is such a replica; the error names those there are.
    pub(crate) fn check_replica(&self, id: &ReplicaId) -> Result<(), FaultError> {
        if self.find(id).is_some() {
            return Ok(());
        }
        let all: Vec<String> = self.services.values().flat_map(|s| &s.replicas).map(|r| r.id.to_string()).collect();
        Err(FaultError::UnknownReplica { replica: id.clone(), known: all.join(", ") })
    }

    /// Whether there is such a service; the error names those there are.
    pub(crate) fn check_service(&self, name: &ServiceName) -> Result<(), FaultError> {
        if self.services.contains_key(name) {
            return Ok(());
        }
        let all: Vec<&str> = self.services.keys().map(ServiceName::as_str).collect();
        Err(FaultError::UnknownService { service: name.clone(), known: all.join(", ") })
    }

    /// Its process, if it has one that can be hurt.
    pub(crate) fn instance(&self, id: &ReplicaId) -> Result<Instance, FaultError> {
        self.check_replica(id)?;
        let run = self.find(id).and_then(|r| r.run.as_ref());
        run.map(|run| run.instance.clone()).ok_or_else(|| FaultError::NotRunning { replica: id.clone() })
    }

    fn find(&self, id: &ReplicaId) -> Option<&Replica> {
        self.services.get(&id.service)?.replicas.iter().find(|r| r.id == *id)
    }

    fn with(&mut self, now: Now, out: &mut Vec<Command>, id: &ReplicaId, act: impl FnOnce(&mut Replica, &mut Cx<'_>)) {
        let stopping = self.stopping;
        let Some(service) = self.services.get_mut(&id.service) else { return };
        let held = service.holds > 0;
        if let Some(replica) = service.replicas.iter_mut().find(|r| r.id == *id) {
            act(replica, &mut Cx { now, out, held, stopping });
        }
    }

    fn begin(&mut self, now: Now, out: &mut Vec<Command>, running: Vec<Running>) {
        for found in running {
            let id = found.instance.replica.clone();
            let free = self.find(&id).is_some_and(|r| r.run.is_none());
            if free {
                self.with(now, out, &id, |replica, cx| replica.adopt(cx, found));
                if let Some(service) = self.services.get_mut(&id.service) {
                    service.released = true;
                }
            } else {
                let grace = self.services.get(&id.service).map_or_else(Default::default, |s| s.spec.stop).grace;
                out.push(Command::Emit(EventKind::ReplicaStopping { replica: id, cause: Cause::Changed }));
                out.push(Command::StopSurplus { instance: found.instance, grace });
            }
        }
    }

    fn hold(&mut self, now: Now, out: &mut Vec<Command>, name: &ServiceName) {
        let stopping = self.stopping;
        let Some(service) = self.services.get_mut(name) else { return };
        service.holds += 1;
        for replica in &mut service.replicas {
            replica.hold(&mut Cx { now, out, held: true, stopping });
        }
    }

    fn release(&mut self, now: Now, out: &mut Vec<Command>, name: &ServiceName) {
        let stopping = self.stopping;
        let Some(service) = self.services.get_mut(name) else { return };
        service.holds = service.holds.saturating_sub(1);
        if service.holds > 0 {
            return;
        }
        let released = service.released;
        for replica in service.replicas.iter_mut().filter(|r| r.phase == Phase::Held) {
            match released {
                true => replica.start(&mut Cx { now, out, held: false, stopping }),
                false => replica.phase = Phase::Waiting,
            }
        }
    }

    /// What follows from the state as a whole, after every input.
    fn advance(&mut self, now: Now, out: &mut Vec<Command>) {
        if self.stopping {
            self.stop_in_order(now, out);
        } else {
            self.release_in_order(now, out);
            for service in self.services.values_mut() {
                service.spend_budget(now, out);
            }
        }
        let stopping = self.stopping;
        for service in self.services.values_mut() {
            let held = service.holds > 0;
            for replica in &mut service.replicas {
                replica.tick(&mut Cx { now, out, held, stopping });
            }
        }
    }

    /// Starts what waits and whose needs are ready.
    fn release_in_order(&mut self, now: Now, out: &mut Vec<Command>) {
        let free: Vec<ServiceName> = self
            .services
            .values()
            .filter(|s| s.released || self.unmet(s).is_empty())
            .map(|s| s.spec.name.clone())
            .collect();
        for name in free {
            let Some(service) = self.services.get_mut(&name) else { continue };
            service.released = true;
            let held = service.holds > 0;
            for replica in service.replicas.iter_mut().filter(|r| r.phase == Phase::Waiting) {
                replica.start(&mut Cx { now, out, held, stopping: false });
            }
        }
    }

    /// The needs of a service that have no ready replica.
    fn unmet(&self, service: &Service) -> Vec<ServiceName> {
        let has_ready =
            |name: &ServiceName| self.services.get(name).is_some_and(|s| s.replicas.iter().any(Replica::in_rotation));
        service.spec.needs.iter().filter(|need| !has_ready(need)).cloned().collect()
    }

    /// Stops every service on which none depends that still runs.
    fn stop_in_order(&mut self, now: Now, out: &mut Vec<Command>) {
        // What has no process need not wait for its turn, and nothing waits for it.
        for service in self.services.values_mut() {
            let held = service.holds > 0;
            service.replicas.iter_mut().for_each(|r| r.tick(&mut Cx { now, out, held, stopping: true }));
        }
        let is_down = |s: &Service| s.replicas.iter().all(Replica::is_down_for_good);
        let needed: BTreeSet<ServiceName> =
            self.services.values().filter(|s| !is_down(s)).flat_map(|s| s.spec.needs.clone()).collect();
        for service in self.services.values_mut().filter(|s| !needed.contains(&s.spec.name)) {
            let held = service.holds > 0;
            for replica in &mut service.replicas {
                replica.take_away(&mut Cx { now, out, held, stopping: true }, Cause::Requested);
            }
        }
    }
}

#[cfg(test)]
mod tests;
