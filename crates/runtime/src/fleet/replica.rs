//! The machine of one replica: from waiting to stopped, and round again.
//!
//! ```text
//! waiting → starting → running ──(exit)──→ back-off → starting …
//!                        │                    └→ failed
//!                        └(taken away)→ draining → stopping → starting … | stopped
//! ```
//!
//! Every answer from outside carries the incarnation that it is about; one of an older process is ignored.

mod drills;
mod leaving;
mod probing;

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Cause, EndpointState, EventKind, ReplicaId, WallMs};
use mainstay_detect::{Kind, ProbeSet};
use tokio::time::Instant;

use super::restart::{Decision, Restarts};
use super::{Command, Cx};
use crate::driver::{DriverError, ExitStatus, Instance, Launch, Running};
use crate::spec::ServiceSpec;
use crate::status::LastExit;

/// A restarted replica that still is not ready after this long is broken rather than away, and does not keep others from
/// being restarted any more. (One of a changed spec does: a release that does not get ready must not spread.)
const TAKEN_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// For its needs.
    Waiting,
    Starting,
    Running,
    Draining {
        since: Instant,
        until: Instant,
        ask: Instant,
        why: Cause,
    },
    Stopping {
        why: Cause,
        drained: bool,
    },
    BackOff {
        until: Instant,
    },
    Held,
    Failed,
    Stopped,
}

/// A process, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) instance: Instance,
    pub(crate) probes: ProbeSet,
    pub(crate) adopted: bool,
    /// By a lease.
    pub(crate) frozen: bool,
    /// A drill kills it: its exit is nobody's fault.
    drilled: bool,
    /// It has taken traffic.
    seen_ready: bool,
    began: Instant,
    /// Since when it has taken traffic, or else has not.
    turned: Instant,
    pub(crate) errors: [Option<String>; 3],
    /// That a row of failures has begun, by kind.
    told: [bool; 3],
}

#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) spec: Arc<ServiceSpec>,
    pub(crate) phase: Phase,
    pub(crate) since: WallMs,
    pub(crate) incarnation: u64,
    pub(crate) run: Option<Run>,
    pub(crate) restarts: u32,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) message: Option<String>,
    /// It is to be stopped and started, as soon as the budget allows.
    pub(crate) wants: Option<Cause>,
    /// It is away by our own doing.
    taken: Option<(Cause, Instant)>,
    history: Restarts,
    /// The stop that is under way is followed by a start, and whether that counts as a restart.
    again: Option<bool>,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, spec: Arc<ServiceSpec>, wall: WallMs) -> Self {
        Self {
            id,
            spec,
            phase: Phase::Waiting,
            since: wall,
            incarnation: 0,
            run: None,
            restarts: 0,
            last_exit: None,
            message: None,
            wants: None,
            taken: None,
            history: Restarts::default(),
            again: None,
        }
    }

    /// Where its traffic stands, if it has a process.
    pub(crate) fn endpoint(&self) -> Option<EndpointState> {
        let run = self.run.as_ref()?;
        Some(match self.phase {
            Phase::Running if run.probes.ready() => EndpointState::Ready,
            Phase::Draining { .. } | Phase::Stopping { drained: true, .. } => EndpointState::Draining,
            _ => EndpointState::NotReady,
        })
    }

    /// Whether it counts as away by our own doing.
    pub(crate) fn is_taken(&self, now: Instant) -> bool {
        let leaving = matches!(self.phase, Phase::Draining { .. } | Phase::Stopping { .. });
        self.taken.is_some_and(|(why, since)| leaving || why == Cause::Changed || now.duration_since(since) < TAKEN_MAX)
    }

    pub(crate) fn in_rotation(&self) -> bool {
        self.endpoint() == Some(EndpointState::Ready)
    }

    /// Whether its live probe fails, or begins to.
    pub(crate) fn live_suspect(&self) -> bool {
        self.run.as_ref().is_some_and(|run| {
            !run.probes.alive() || run.probes.get(Kind::Live).is_some_and(|probe| probe.failures_in_row() > 0)
        })
    }

    /// Whether it has taken traffic for so long, and its live probe has nothing against it.
    pub(crate) fn well_for(&self, now: Instant, long: Duration) -> bool {
        self.in_rotation()
            && !self.live_suspect()
            && self.run.as_ref().is_some_and(|run| now.duration_since(run.turned) >= long)
    }

    /// Whether it has neither process nor plans.
    pub(crate) fn is_down_for_good(&self) -> bool {
        self.run.is_none() && matches!(self.phase, Phase::Stopped | Phase::Failed)
    }

    fn enter(&mut self, cx: &Cx<'_>, phase: Phase) {
        self.phase = phase;
        self.since = cx.now.wall;
    }

    /// Takes over a process from an earlier Mainstay.
    pub(crate) fn adopt(&mut self, cx: &mut Cx<'_>, running: Running) {
        let changed = running.spec_hash != self.spec.hash();
        self.incarnation = running.instance.incarnation;
        cx.emit(EventKind::ReplicaAdopted { replica: self.id.clone(), pid: running.instance.pid });
        self.ran(cx, running.instance, true);
        if changed {
            self.wants = Some(Cause::Changed);
        }
    }

    /// Starts it, unless it may not be.
    pub(crate) fn start(&mut self, cx: &mut Cx<'_>) {
        self.again = None;
        if cx.stopping {
            return self.enter(cx, Phase::Stopped);
        }
        if cx.held {
            return self.enter(cx, Phase::Held);
        }
        self.incarnation += 1;
        self.enter(cx, Phase::Starting);
        let launch = Launch { replica: self.id.clone(), incarnation: self.incarnation, spec: self.spec.clone() };
        cx.out.push(Command::Start(launch));
    }

    /// The answer to a start.
    pub(crate) fn started(&mut self, cx: &mut Cx<'_>, incarnation: u64, result: Result<Instance, DriverError>) {
        if incarnation != self.incarnation || self.phase != Phase::Starting {
            return;
        }
        match result {
            Ok(instance) => {
                cx.emit(EventKind::ReplicaStarting { replica: self.id.clone(), pid: instance.pid });
                self.message = None;
                self.ran(cx, instance, false);
                if cx.held {
                    self.kill(cx);
                }
            }
            Err(DriverError::Permanent(why)) => {
                self.note_exit(cx, why.clone(), Vec::new());
                self.message = Some(why);
                self.give_up(cx, 0);
            }
            Err(DriverError::Transient(why)) => {
                self.note_exit(cx, why.clone(), Vec::new());
                self.message = Some(why);
                self.restart_counted(cx, Cause::Exit, Duration::ZERO);
            }
        }
    }

    fn ran(&mut self, cx: &mut Cx<'_>, instance: Instance, adopted: bool) {
        let settings = |kind| self.spec.probes.all().into_iter().find(|(k, _)| *k == kind).map(|(_, p)| p.settings);
        let probes = ProbeSet::new(settings(Kind::Startup), settings(Kind::Ready), settings(Kind::Live));
        let due: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| probes.runs(*kind)).collect();
        cx.out.push(Command::Watch(instance.clone()));
        cx.out.push(Command::Probe {
            instance: instance.clone(),
            spec: self.spec.clone(),
            kinds: due,
            age: (!adopted).then_some(Duration::ZERO),
        });
        self.run = Some(Run {
            instance,
            probes,
            adopted,
            frozen: false,
            drilled: false,
            seen_ready: false,
            began: cx.now.at,
            turned: cx.now.at,
            errors: [None, None, None],
            told: [false; 3],
        });
        self.enter(cx, Phase::Running);
    }

    /// The run of this incarnation, if it is the present one.
    fn current(&mut self, incarnation: u64) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.instance.incarnation == incarnation)
    }

    /// Its process has ended.
    pub(crate) fn exited(&mut self, cx: &mut Cx<'_>, incarnation: u64, status: ExitStatus, log_tail: Vec<String>) {
        let was_ready = self.in_rotation();
        let Some(run) = self.current(incarnation) else { return };
        let (pid, drilled, turned) = (run.instance.pid, run.drilled, run.turned);
        self.note_exit(cx, status.to_string(), log_tail);
        match self.phase {
            // The answer to the stop says the rest.
            Phase::Stopping { .. } => {}
            Phase::Draining { why, .. } => self.stopped(cx, why, false),
            _ => {
                cx.emit(EventKind::ReplicaExited { replica: self.id.clone(), pid, status: status.to_string() });
                let healthy = if was_ready { cx.now.at.duration_since(turned) } else { Duration::ZERO };
                self.end_run(cx);
                if was_ready {
                    cx.emit(EventKind::ReplicaNotReady { replica: self.id.clone(), cause: Cause::Exit });
                }
                self.message = Some(format!("ended: {status}"));
                match cx.held || cx.stopping || drilled {
                    true => self.restart_uncounted(cx, Cause::Exit),
                    false => self.restart_counted(cx, Cause::Exit, healthy),
                }
            }
        }
    }

    fn note_exit(&mut self, cx: &Cx<'_>, status: String, log_tail: Vec<String>) {
        self.last_exit = Some(LastExit { at: cx.now.wall, status, log_tail });
    }

    fn end_run(&mut self, cx: &mut Cx<'_>) {
        self.wants = None;
        if self.run.take().is_some() {
            cx.out.push(Command::Unprobe(self.id.clone()));
        }
    }

    /// A start that is nobody's fault: at once, and not counted.
    fn restart_uncounted(&mut self, cx: &mut Cx<'_>, cause: Cause) {
        if !cx.held && !cx.stopping {
            self.restarts += 1;
            let (replica, attempt) = (self.id.clone(), self.restarts);
            cx.emit(EventKind::ReplicaRestarting { replica, cause, attempt, backoff_ms: 0 });
        }
        self.start(cx);
    }

    fn restart_counted(&mut self, cx: &mut Cx<'_>, cause: Cause, healthy: Duration) {
        if cx.held || cx.stopping {
            return self.start(cx);
        }
        match self.history.decide(cx.now.at, healthy, &self.spec.restart) {
            Decision::Restart { attempt, pause } => {
                self.restarts += 1;
                let backoff_ms = pause.as_millis() as u64;
                cx.emit(EventKind::ReplicaRestarting { replica: self.id.clone(), cause, attempt, backoff_ms });
                if pause.is_zero() {
                    self.start(cx);
                } else {
                    self.enter(cx, Phase::BackOff { until: cx.now.at + pause });
                }
            }
            Decision::GiveUp { restarts } => {
                if self.message.is_none() {
                    self.message = Some(format!("restarted for its {cause}"));
                }
                self.give_up(cx, restarts);
            }
        }
    }

    fn give_up(&mut self, cx: &mut Cx<'_>, restarts: u32) {
        let within_ms = self.spec.restart.within.as_millis() as u64;
        let why = self.message.clone().unwrap_or_default();
        cx.emit(EventKind::ReplicaFailed { replica: self.id.clone(), restarts, within_ms, why });
        if restarts > 0 {
            let within = self.spec.restart.within.as_secs();
            self.message =
                self.message.take().map(|why| format!("given up after {restarts} restarts within {within} s: {why}"));
        }
        // A release that does not even start keeps its place in the budget, so that it is not rolled out further.
        self.taken = self.taken.filter(|(why, _)| *why == Cause::Changed);
        self.enter(cx, Phase::Failed);
    }
}
