//! One service: its replicas, and which of them may be taken away now.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Cause, ReplicaId, WallMs};
use tokio::time::Instant;

use super::budget::{self, Trials};
use super::replica::Replica;
use super::{Command, Cx, Now};
use crate::spec::ServiceSpec;

pub(super) struct Service {
    pub(super) spec: Arc<ServiceSpec>,
    pub(super) replicas: Vec<Replica>,
    /// Its needs were ready once, so it starts and restarts without asking again.
    pub(super) released: bool,
    /// How many faults keep it down.
    pub(super) holds: usize,
    /// Until when the cause is thought to be common.
    common_until: Option<Instant>,
    pub(super) common_cause: bool,
    trials: Trials,
    /// The replica that was last restarted while the cause was common.
    trial: Option<u16>,
}

impl Service {
    pub(super) fn new(spec: ServiceSpec, wall: WallMs) -> Self {
        let spec = Arc::new(spec);
        let replica = |index| Replica::new(ReplicaId::new(spec.name.clone(), index), spec.clone(), wall);
        let replicas = (1..=spec.replicas).map(replica).collect();
        let (trials, trial) = (Trials::default(), None);
        Self { spec, replicas, released: false, holds: 0, common_until: None, common_cause: false, trials, trial }
    }

    /// Takes away what wants to be restarted, as far as the budget and the rule of the common cause allow.
    pub(super) fn spend_budget(&mut self, now: Now, out: &mut Vec<Command>) {
        let running = self.replicas.iter().filter(|r| r.run.is_some()).count();
        let suspects = self.replicas.iter().filter(|r| r.live_suspect()).count();
        if budget::is_common(suspects, running) {
            // For as long as it takes to see who recovers by itself once the cause is gone.
            self.common_until = Some(now.at + self.live_verdict_after());
        }
        self.common_cause = self.common_until.is_some_and(|until| now.at < until);
        if !self.common_cause {
            self.trials.over();
            self.trial = None;
        }
        let held = self.holds > 0;
        for at in 0..self.replicas.len() {
            let Some(why) = self.replicas[at].wants else { continue };
            if !self.may_take(now.at, why) {
                continue;
            }
            if why == Cause::LiveProbe && self.common_cause {
                self.trials.tried(now.at);
                self.trial = Some(self.replicas[at].id.index);
            }
            self.replicas[at].take_away(&mut Cx { now, out, held, stopping: false }, why);
        }
    }

    fn may_take(&self, now: Instant, why: Cause) -> bool {
        // What never came up is no capacity.
        if why == Cause::StartupProbe {
            return true;
        }
        let taken = self.replicas.iter().filter(|r| r.is_taken(now)).count();
        match why == Cause::LiveProbe && self.common_cause {
            true => taken == 0 && self.trials.may_try(now, self.trial_helped(now)),
            false => taken < budget::unavailable_max(self.replicas.len()),
        }
    }

    /// Whether the last trial has been well for longer than its live probe would need to fail.
    fn trial_helped(&self, now: Instant) -> bool {
        let trial = self.replicas.iter().find(|r| Some(r.id.index) == self.trial);
        trial.is_some_and(|replica| replica.well_for(now, self.live_verdict_after()))
    }

    /// The time in which a live probe comes to a verdict.
    fn live_verdict_after(&self) -> Duration {
        let live = self.spec.probes.live.as_ref().map(|probe| probe.settings).unwrap_or_default();
        live.initial_delay + live.period * (live.failure_threshold + 1) + live.timeout
    }
}
