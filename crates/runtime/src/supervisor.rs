//! The shell around the fleet machine: one task that feeds it, and carries its commands out.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use mainstay_core::{Clock, Endpoints, EventBus, EventKind, FaultKind, LeaseId, ReplicaId, Shutdown};
use mainstay_detect::Kind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use crate::driver::{Driver, Instance, Running, Signal};
use crate::error::{FaultError, SpecError, SupervisorError};
use crate::fault::{Lease, Leases};
use crate::fleet::{Command, Fleet, Input, Now};
use crate::handle::{Handle, REQUESTS_MAX, Request};
use crate::prober::Job;
use crate::spec::ServiceSpec;
use crate::status::{LOG_TAIL_LINES_MAX, ServiceStatus};

/// Things that happened and wait for the machine.
const INPUTS_MAX: usize = 1024;

/// Knows how many requests a replica has in flight: the gateway. Asked while a replica drains.
pub trait InFlight: Send + Sync + 'static {
    /// Requests that were sent to it and are not answered yet.
    fn in_flight(&self, replica: &ReplicaId) -> u64;
}

/// For a supervisor without a gateway: nothing is ever in flight.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingInFlight;

impl InFlight for NothingInFlight {
    fn in_flight(&self, _: &ReplicaId) -> u64 {
        0
    }
}

/// How the supervisor works.
#[derive(Debug, Clone)]
pub struct Options {
    /// `.mainstay`: leases lie in its `run/leases`.
    pub state_dir: PathBuf,
    /// For the jitter of first probes.
    pub seed: u64,
}

/// Keeps services running. Made by [`Supervisor::new`], does its work in [`Supervisor::run`].
pub struct Supervisor {
    options: Options,
    fleet: Fleet,
    driver: Arc<dyn Driver>,
    in_flight: Arc<dyn InFlight>,
    bus: EventBus,
    clock: Arc<dyn Clock>,
    requests: mpsc::Receiver<Request>,
    endpoints: watch::Sender<Endpoints>,
    status: watch::Sender<Arc<Vec<ServiceStatus>>>,
}

impl Supervisor {
    /// Checks the specs. Touches nothing before [`Supervisor::run`].
    pub fn new(
        options: Options,
        specs: Vec<ServiceSpec>,
        driver: Arc<dyn Driver>,
        in_flight: Arc<dyn InFlight>,
        bus: EventBus,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Handle), SpecError> {
        let fleet = Fleet::new(specs, clock.wall_ms())?;
        let (requests_sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (endpoints, endpoints_seen) = watch::channel(fleet.endpoints());
        let (status, status_seen) = watch::channel(Arc::new(fleet.status()));
        let handle = Handle {
            requests: requests_sender,
            endpoints: endpoints_seen,
            status: status_seen,
            driver: driver.clone(),
        };
        Ok((Self { options, fleet, driver, in_flight, bus, clock, requests, endpoints, status }, handle))
    }

    /// Adopts what runs, starts what does not, and keeps it so until `shutdown`; then stops everything, dependents first.
    /// Dropped instead, it leaves every replica running, for the next supervisor to adopt.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), SupervisorError> {
        let leases = Leases::open(self.options.state_dir.join("run/leases"))
            .map_err(|e| SupervisorError::State(format!("run/leases: {e}")))?;
        let running = self.driver.list().await?;
        let (inputs_sender, inputs) = mpsc::channel(INPUTS_MAX);
        let mut shell = Shell {
            rng: fastrand::Rng::with_seed(self.options.seed),
            owner: crate::process::owner(&self.options.state_dir).into(),
            supervisor: self,
            leases,
            inputs: inputs_sender,
            tasks: JoinSet::new(),
            probes: BTreeMap::new(),
            surplus: 0,
        };
        shell.thaw_left_over(&running)?;
        shell.apply(Input::Begin(running));
        shell.work(inputs, shutdown).await;
        Ok(())
    }
}

/// A supervisor at work.
struct Shell {
    supervisor: Supervisor,
    leases: Leases,
    inputs: mpsc::Sender<Input>,
    /// Everything that waits for something; aborted when this is dropped.
    tasks: JoinSet<()>,
    probes: BTreeMap<ReplicaId, Vec<AbortHandle>>,
    /// Processes without a place here that are still being stopped.
    surplus: usize,
    rng: fastrand::Rng,
    owner: Arc<str>,
}

impl Shell {
    fn now(&self) -> Now {
        Now { at: Instant::now(), wall: self.supervisor.clock.wall_ms() }
    }

    async fn work(&mut self, mut inputs: mpsc::Receiver<Input>, shutdown: Shutdown) {
        let mut stopping = false;
        while !(self.supervisor.fleet.is_stopped() && self.surplus == 0) {
            let due = [self.supervisor.fleet.due(Instant::now()), self.leases.due()].into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(input) = inputs.recv() => self.apply(input),
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    self.apply(Input::Shutdown);
                }
                Some(request) = self.supervisor.requests.recv() => self.answer(request, stopping),
                Some(ended) = self.tasks.join_next() => self.task_ended(ended),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.expire();
                    self.apply(Input::Tick);
                }
            }
        }
        for lease in self.leases.list() {
            self.end_lease(&lease.id, false);
        }
    }

    /// A panic in a task is a bug in ours, and ends us: replicas outlive it and are adopted by the next.
    fn task_ended(&mut self, ended: Result<(), tokio::task::JoinError>) {
        match ended {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }

    /// Feeds the machine, publishes what follows, then acts.
    fn apply(&mut self, input: Input) {
        let mut queue = VecDeque::from([input]);
        while let Some(input) = queue.pop_front() {
            let now = self.now();
            let commands = self.supervisor.fleet.step(now, input);
            // First of all nobody is sent to what cannot serve.
            self.publish_endpoints();
            for command in commands {
                queue.extend(self.carry_out(command));
            }
            // Last, so that who sees a state finds the events that led to it.
            self.publish_status();
        }
    }

    fn publish_endpoints(&self) {
        let endpoints = self.supervisor.fleet.endpoints();
        self.supervisor.endpoints.send_if_modified(|shown| {
            let changed = *shown != endpoints;
            *shown = endpoints;
            changed
        });
    }

    fn publish_status(&self) {
        let status = self.supervisor.fleet.status();
        self.supervisor.status.send_if_modified(|shown| {
            let changed = **shown != status;
            if changed {
                *shown = Arc::new(status);
            }
            changed
        });
    }

    /// Does it, or has it done by a task that answers with an input.
    fn carry_out(&mut self, command: Command) -> Option<Input> {
        let (driver, inputs) = (self.supervisor.driver.clone(), self.inputs.clone());
        match command {
            Command::Emit(kind) => self.supervisor.bus.publish(kind),
            Command::AskInFlight(instance) => {
                let count = self.supervisor.in_flight.in_flight(&instance.replica);
                return Some(Input::InFlight { id: instance.replica, incarnation: instance.incarnation, count });
            }
            Command::Signal(instance, signal) => {
                if let Err(error) = driver.signal(&instance, signal) {
                    tracing::warn!(replica = %instance.replica, %error, "cannot signal");
                }
            }
            Command::Unprobe(id) => self.unprobe(&id),
            Command::Probe { instance, spec, kinds, age } => self.probe(&instance, &spec, &kinds, age),
            Command::Start(launch) => {
                let (id, incarnation) = (launch.replica.clone(), launch.incarnation);
                self.tasks.spawn(async move {
                    let result = driver.start(launch).await;
                    // An error: the supervisor is gone, and with it whoever would care.
                    let _ = inputs.send(Input::Started { id, incarnation, result }).await;
                });
            }
            Command::Watch(instance) => {
                self.tasks.spawn(async move {
                    let status = driver.watch(&instance).await;
                    let Instance { replica: id, incarnation, .. } = instance;
                    let log_tail = driver.log_tail(&id, LOG_TAIL_LINES_MAX);
                    let _ = inputs.send(Input::Exited { id, incarnation, status, log_tail }).await;
                });
            }
            Command::Stop { instance, grace } => {
                self.tasks.spawn(async move {
                    let result = driver.stop(&instance, grace).await;
                    let Instance { replica: id, incarnation, .. } = instance;
                    let _ = inputs.send(Input::StopEnded { id, incarnation, result }).await;
                });
            }
            Command::StopSurplus { instance, grace } => {
                self.surplus += 1;
                self.tasks.spawn(async move {
                    let result = driver.stop(&instance, grace).await;
                    let _ = inputs.send(Input::SurplusEnded { id: instance.replica, result }).await;
                });
            }
            Command::SurplusGone => self.surplus -= 1,
        }
        None
    }

    fn unprobe(&mut self, id: &ReplicaId) {
        self.probes.remove(id).unwrap_or_default().iter().for_each(AbortHandle::abort);
    }

    fn probe(
        &mut self,
        instance: &Instance,
        spec: &Arc<ServiceSpec>,
        kinds: &[Kind],
        age: Option<std::time::Duration>,
    ) {
        let id = &instance.replica;
        self.unprobe(id);
        for (kind, probe) in spec.probes.all().into_iter().filter(|(kind, _)| kinds.contains(kind)) {
            let (spec, instance, owner) = (spec.clone(), instance.clone(), self.owner.clone());
            let job = Job { kind, probe, spec, instance, age, draw: self.rng.f64(), owner };
            let task = self.tasks.spawn(job.run(self.inputs.clone()));
            self.probes.entry(id.clone()).or_default().push(task);
        }
    }

    fn answer(&mut self, request: Request, stopping: bool) {
        fn reply<T>(to: oneshot::Sender<T>, answer: T) {
            // An error: whoever asked does not wait any more.
            let _ = to.send(answer);
        }
        match request {
            Request::Inject(fault, id, to) => {
                let result = if stopping { Err(FaultError::Stopping) } else { self.inject(fault, id) };
                reply(to, result);
            }
            Request::Renew(id, to) => {
                let result = self.leases.renew(self.now(), &id);
                reply(to, result);
            }
            Request::Clear(id, to) => {
                let was_there = self.end_lease(&id, false);
                reply(to, was_there);
            }
            Request::Leases(to) => reply(to, self.leases.list()),
            Request::Restart(id, to) => {
                let result = match stopping {
                    true => Err(FaultError::Stopping),
                    false => self.supervisor.fleet.check_replica(&id),
                };
                if result.is_ok() {
                    self.apply(Input::Restart(id));
                }
                reply(to, result);
            }
        }
    }

    fn inject(&mut self, fault: mainstay_core::Fault, id: LeaseId) -> Result<(), FaultError> {
        let kind = fault.kind.clone();
        let input = match &kind {
            FaultKind::Kill { replica } => {
                self.supervisor.fleet.instance(replica)?;
                Input::Kill(replica.clone())
            }
            FaultKind::Freeze { replica } => {
                self.supervisor.fleet.instance(replica)?;
                Input::Freeze(replica.clone())
            }
            FaultKind::Down { service } => {
                self.supervisor.fleet.check_service(service)?;
                Input::Hold(service.clone())
            }
            FaultKind::Edge { .. } => return Err(FaultError::Edge),
        };
        self.leases.insert(self.now(), id.clone(), fault)?;
        self.supervisor.bus.publish(EventKind::FaultInjected {
            lease: id.0,
            fault: kind.to_string(),
            service: kind.service().clone(),
            replica: kind.replica().cloned(),
        });
        self.apply(input);
        Ok(())
    }

    fn expire(&mut self) {
        for id in self.leases.expired(Instant::now()) {
            self.end_lease(&id, true);
        }
    }

    /// Undoes a fault; false if there is no such lease.
    fn end_lease(&mut self, id: &LeaseId, expired: bool) -> bool {
        let Some(Lease { fault, .. }) = self.leases.remove(id) else { return false };
        match &fault.kind {
            // Another lease may want it frozen still.
            FaultKind::Freeze { replica } if !self.leases.others_like(&fault.kind) => {
                self.apply(Input::Thaw(replica.clone()));
            }
            FaultKind::Down { service } => self.apply(Input::Release(service.clone())),
            FaultKind::Kill { .. } | FaultKind::Freeze { .. } | FaultKind::Edge { .. } => {}
        }
        // A kill is over the moment it is done: nobody need renew it.
        let expired = expired && !matches!(fault.kind, FaultKind::Kill { .. });
        self.publish_cleared(id, &fault.kind, expired);
        true
    }

    fn publish_cleared(&self, id: &LeaseId, kind: &FaultKind, expired: bool) {
        self.supervisor.bus.publish(EventKind::FaultCleared {
            lease: id.0.clone(),
            fault: kind.to_string(),
            service: kind.service().clone(),
            replica: kind.replica().cloned(),
            expired,
        });
    }

    /// Ends the faults that a killed Mainstay left behind. Where a lease cannot be read, everything is told to go on:
    /// that does nothing to what is not frozen.
    fn thaw_left_over(&self, running: &[Running]) -> Result<(), SupervisorError> {
        let (leases, unreadable) =
            self.leases.reconcile().map_err(|e| SupervisorError::State(format!("run/leases: {e}")))?;
        let frozen = |id: &ReplicaId| {
            leases.iter().any(|l| matches!(&l.fault.kind, FaultKind::Freeze { replica } if replica == id))
        };
        for running in running.iter().filter(|r| unreadable || frozen(&r.instance.replica)) {
            if let Err(error) = self.supervisor.driver.signal(&running.instance, Signal::Thaw) {
                tracing::warn!(replica = %running.instance.replica, %error, "cannot thaw");
            }
        }
        for lease in &leases {
            self.publish_cleared(&lease.id, &lease.fault.kind, true);
        }
        Ok(())
    }
}
