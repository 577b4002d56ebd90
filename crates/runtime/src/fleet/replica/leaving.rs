//! How a replica is taken away: out of rotation, drained, stopped. A planned stop loses no request.

use std::time::Duration;

use mainstay_core::{Cause, EventKind};
use tokio::time::Instant;

use super::{Phase, Replica};
use crate::driver::{DriverError, Signal, Stopped};
use crate::fleet::{Command, Cx};

/// What hangs will hardly act on TERM: it gets this long.
const HUNG_GRACE: Duration = Duration::from_secs(1);
/// After it is taken out of rotation, before "nothing in flight" is believed: every worker has seen the new endpoints.
const DRAIN_SETTLE: Duration = Duration::from_millis(100);
/// How often it is asked what is in flight.
const DRAIN_ASK_PERIOD: Duration = Duration::from_millis(50);

impl Replica {
    /// Takes it away, in an orderly way where it can act: drain, TERM, KILL.
    pub(crate) fn take_away(&mut self, cx: &mut Cx<'_>, why: Cause) {
        self.wants = None;
        if self.phase != Phase::Running {
            return;
        }
        let was_ready = self.in_rotation();
        let hung = matches!(why, Cause::LiveProbe | Cause::StartupProbe);
        let Some(run) = self.run.as_mut() else { return };
        let frozen = std::mem::take(&mut run.frozen);
        let instance = run.instance.clone();
        self.again = (!cx.stopping).then_some(hung && !frozen);
        // What never came up is no capacity that could be missed.
        if !cx.stopping && why != Cause::StartupProbe {
            self.taken = Some((why, cx.now.at));
        }
        cx.out.push(Command::Unprobe(self.id.clone()));
        if hung {
            self.enter(cx, Phase::Stopping { why, drained: false });
            self.tell_turn(cx, was_ready, why);
            cx.emit(EventKind::ReplicaStopping { replica: self.id.clone(), cause: why });
            cx.out.push(Command::Stop { instance, grace: HUNG_GRACE });
        } else {
            if frozen {
                cx.out.push(Command::Signal(instance, Signal::Thaw));
            }
            let now = cx.now.at;
            let until = now + self.spec.stop.drain_max.min(self.spec.stop.grace);
            self.enter(cx, Phase::Draining { since: now, until, ask: now + DRAIN_SETTLE, why });
            cx.emit(EventKind::ReplicaStopping { replica: self.id.clone(), cause: why });
        }
    }

    /// What is due at this time.
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::BackOff { until } if cx.now.at >= *until || cx.held || cx.stopping => self.start(cx),
            Phase::Draining { until, .. } if cx.now.at >= *until => self.drained(cx),
            Phase::Draining { ask, .. } if cx.now.at >= *ask => {
                *ask = cx.now.at + DRAIN_ASK_PERIOD;
                cx.out.extend(self.run.as_ref().map(|run| Command::AskInFlight(run.instance.clone())));
            }
            Phase::Waiting | Phase::Held if cx.stopping => self.enter(cx, Phase::Stopped),
            _ => {}
        }
    }

    /// When [`Replica::tick`] has something to do.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::BackOff { until } => Some(until),
            Phase::Draining { until, ask, .. } => Some(until.min(ask)),
            _ => None,
        }
    }

    /// The answer to the question what is in flight.
    pub(crate) fn in_flight(&mut self, cx: &mut Cx<'_>, incarnation: u64, count: u64) {
        let draining = matches!(self.phase, Phase::Draining { .. });
        if draining && count == 0 && self.current(incarnation).is_some() {
            self.drained(cx);
        }
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        let (Phase::Draining { since, why, .. }, Some(run)) = (self.phase, &self.run) else { return };
        let grace = self.spec.stop.grace.saturating_sub(cx.now.at.duration_since(since));
        cx.out.push(Command::Stop { instance: run.instance.clone(), grace });
        self.enter(cx, Phase::Stopping { why, drained: true });
    }

    /// The answer to a stop.
    pub(crate) fn stop_ended(&mut self, cx: &mut Cx<'_>, incarnation: u64, result: Result<Stopped, DriverError>) {
        let Phase::Stopping { why, .. } = self.phase else { return };
        if self.current(incarnation).is_none() {
            return;
        }
        match result {
            Ok(stopped) => self.stopped(cx, why, stopped.forced),
            Err(error) => {
                self.message = Some(error.to_string());
                self.end_run(cx);
                self.give_up(cx, 0);
            }
        }
    }

    pub(super) fn stopped(&mut self, cx: &mut Cx<'_>, why: Cause, forced: bool) {
        cx.emit(EventKind::ReplicaStopped { replica: self.id.clone(), forced });
        self.end_run(cx);
        match self.again.take() {
            Some(counted) if !cx.stopping => {
                self.message = Some(format!("stopped: {why}"));
                match counted {
                    true => self.restart_counted(cx, why, Duration::ZERO),
                    false => self.restart_uncounted(cx, why),
                }
            }
            _ => self.enter(cx, Phase::Stopped),
        }
    }
}
