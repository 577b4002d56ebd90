//! What drills and people do to a replica.

use mainstay_core::Cause;

use super::{Phase, Replica};
use crate::driver::Signal;
use crate::fleet::{Command, Cx};

impl Replica {
    /// A drill kills it.
    pub(crate) fn kill(&mut self, cx: &mut Cx<'_>) {
        if let Some(run) = self.run.as_mut() {
            run.drilled = true;
            cx.out.push(Command::Signal(run.instance.clone(), Signal::Kill));
        }
    }

    /// A drill freezes it, or lets it go on.
    pub(crate) fn freeze(&mut self, cx: &mut Cx<'_>, frozen: bool) {
        if let Some(run) = self.run.as_mut() {
            run.frozen = frozen;
            let signal = if frozen { Signal::Freeze } else { Signal::Thaw };
            cx.out.push(Command::Signal(run.instance.clone(), signal));
        }
    }

    /// A drill holds the service down.
    pub(crate) fn hold(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Running | Phase::Draining { .. } => self.kill(cx),
            Phase::Waiting | Phase::BackOff { .. } => self.enter(cx, Phase::Held),
            _ => {}
        }
    }

    /// Somebody wants it started anew.
    pub(crate) fn requested(&mut self, cx: &mut Cx<'_>) {
        match self.phase {
            Phase::Failed | Phase::BackOff { .. } | Phase::Stopped => {
                self.history.forget();
                self.taken = None;
                self.message = None;
                self.restart_uncounted(cx, Cause::Requested);
            }
            Phase::Running => self.wants = Some(Cause::Requested),
            _ => {}
        }
    }
}
