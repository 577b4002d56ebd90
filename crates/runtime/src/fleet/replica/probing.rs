//! What the results of its probes mean for a replica.

use mainstay_core::{Cause, EventKind};
use mainstay_detect::{Change, Kind, Sample, Verdict};

use super::{Phase, Replica};
use crate::fleet::{Command, Cx};

impl Replica {
    /// Takes a result of a probe.
    pub(crate) fn probed(
        &mut self,
        cx: &mut Cx<'_>,
        incarnation: u64,
        kind: Kind,
        sample: Sample,
        error: Option<String>,
    ) {
        if self.phase != Phase::Running {
            return;
        }
        let replica = self.id.clone();
        let was_ready = self.in_rotation();
        let Some(run) = self.current(incarnation) else { return };
        if !run.probes.runs(kind) {
            return;
        }
        let had_passed = run.probes.get(kind).is_some_and(|p| p.verdict() == Verdict::Success);
        let change = run.probes.observe(kind, sample);
        let told = &mut run.told[kind as usize];
        *told &= sample != Sample::Success;
        // Told once in a row; while it comes up, failures are what one expects.
        if sample == Sample::Failure && had_passed && run.seen_ready && !*told {
            *told = true;
            let error = error.clone().unwrap_or_default();
            cx.emit(EventKind::ProbeFailing { replica, probe: kind.name().to_owned(), error });
        }
        run.errors[kind as usize] = if sample == Sample::Success { None } else { error };
        match change {
            Some(Change::Started) => {
                let kinds = Kind::ALL.into_iter().filter(|kind| run.probes.runs(*kind)).collect();
                let instance = run.instance.clone();
                let age = Some(cx.now.at.duration_since(run.began));
                cx.out.push(Command::Probe { instance, spec: self.spec.clone(), kinds, age });
            }
            Some(Change::Dead(kind)) => {
                let why = if kind == Kind::Startup { Cause::StartupProbe } else { Cause::LiveProbe };
                self.wants = self.wants.or(Some(why));
            }
            Some(Change::Alive) => self.wants = self.wants.filter(|why| *why != Cause::LiveProbe),
            Some(Change::Ready | Change::NotReady) | None => {}
        }
        self.tell_turn(cx, was_ready, Cause::ReadyProbe);
    }

    /// Says so when it has gained or lost its traffic.
    pub(super) fn tell_turn(&mut self, cx: &mut Cx<'_>, was_ready: bool, cause: Cause) {
        let is_ready = self.in_rotation();
        if is_ready == was_ready {
            return;
        }
        let replica = self.id.clone();
        if is_ready {
            // A replacement that works is what the budget waits for.
            self.taken = None;
        }
        let Some(run) = self.run.as_mut() else {
            return cx.emit(EventKind::ReplicaNotReady { replica, cause });
        };
        let after_ms = cx.now.at.duration_since(run.turned).as_millis() as u64;
        run.turned = cx.now.at;
        run.seen_ready |= is_ready;
        self.since = cx.now.wall;
        cx.emit(match is_ready {
            true => EventKind::ReplicaReady { replica, after_ms },
            false => EventKind::ReplicaNotReady { replica, cause },
        });
    }
}
