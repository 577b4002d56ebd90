//! One endpoint: who it is, and what is known of it.

use std::sync::Arc;
use std::time::Duration;

use super::{EjectionCause, Failure, OutlierSettings, Probe, Tally};
use crate::Moment;
use crate::time::nanos;

/// How far the time of an ejection varies, in percent to both sides.
const JITTER_PERCENT: u64 = 20;

/// One endpoint, as the list of endpoints says it is. Any key becomes one: without a zone, and passing its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<K> {
    /// Its name.
    pub key: K,
    /// Where it stands. Those without a zone are a zone of their own.
    pub zone: Option<Arc<str>>,
    /// Whether it passes its active checks. Who does not stays out, unless nobody does and there is panic.
    pub passes: bool,
}

impl<K> Member<K> {
    /// Without a zone, and passing its checks.
    pub const fn new(key: K) -> Self {
        Self { key, zone: None, passes: true }
    }

    /// In this zone.
    #[must_use]
    pub fn in_zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Whether it passes its active checks.
    #[must_use]
    pub fn passing(mut self, passes: bool) -> Self {
        self.passes = passes;
        self
    }
}

impl<K> From<K> for Member<K> {
    fn from(key: K) -> Self {
        Self::new(key)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    In,
    Out { until: Moment },
    Probing { until: Moment },
    Returning { since: Moment },
}

/// What is known of a member.
#[derive(Debug, Clone)]
pub(super) struct Tracked<K> {
    pub(super) member: Member<K>,
    pub(super) state: State,
    pub(super) tally: Tally,
    /// Intervals in a row in which it was slow.
    pub(super) slow_row: u32,
    status_row: u32,
    local_row: u32,
    ejections: u32,
    healthy_since: Moment,
    probe: u64,
    /// What was detected without effect is not told again before.
    pub(super) told_until: Moment,
}

impl<K> Tracked<K> {
    /// Trusted: its ready probe has passed, and nothing else is known.
    pub(super) const fn new(now: Moment, member: Member<K>) -> Self {
        Self {
            member,
            state: State::In,
            tally: Tally::new(),
            slow_row: 0,
            status_row: 0,
            local_row: 0,
            ejections: 0,
            healthy_since: now,
            probe: 0,
            told_until: Moment::ZERO,
        }
    }

    pub(super) fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. } | State::Probing { .. })
    }

    /// Neither out, nor with anything to forget that a good outcome must be told for.
    pub(super) fn is_calm(&self) -> bool {
        self.state == State::In && self.row() == 0
    }

    /// When it may be probed, while it is out.
    pub(super) fn out_until(&self) -> Option<Moment> {
        match self.state {
            State::Out { until } | State::Probing { until } => Some(until),
            State::In | State::Returning { .. } => None,
        }
    }

    pub(super) fn begin_probe(&mut self, until: Moment, probe: u64) {
        self.state = State::Probing { until };
        self.probe = probe;
    }

    pub(super) fn is_probed_by(&self, probe: Probe) -> bool {
        matches!(self.state, State::Probing { .. }) && self.probe == probe.id
    }

    /// Failures in a row, of the longer of the two rows.
    pub(super) fn row(&self) -> u32 {
        self.status_row.max(self.local_row)
    }

    pub(super) fn forget_rows(&mut self) {
        (self.status_row, self.local_row) = (0, 0);
    }

    pub(super) fn count(&mut self, failure: Failure, took: Duration) {
        self.tally.count(failure, took);
        match failure {
            Failure::None => self.forget_rows(),
            // It lives.
            Failure::Busy => self.local_row = 0,
            Failure::Status => {
                self.status_row = self.status_row.saturating_add(1);
                self.local_row = 0;
            }
            Failure::Local => self.local_row = self.local_row.saturating_add(1),
        }
    }

    /// Back, slowly.
    pub(super) fn take_back(&mut self, now: Moment) {
        self.state = State::Returning { since: now };
        self.forget();
        self.healthy_since = now;
    }

    /// Full share again, where the slow start is over.
    pub(super) fn settle(&mut self, now: Moment, settings: &OutlierSettings) {
        if let State::Returning { since } = self.state
            && returning_share(settings, now, since) == 1000
        {
            self.state = State::In;
        }
    }

    /// Out, and for how long.
    pub(super) fn eject(
        &mut self,
        now: Moment,
        settings: &OutlierSettings,
        cause: EjectionCause,
        rng: &mut fastrand::Rng,
    ) -> Duration {
        if cause != EjectionCause::Probe {
            self.ejections = self.remembered(now, settings);
        }
        self.ejections = self.ejections.saturating_add(1);
        let length = jittered(out_length(settings, self.ejections), settings.out_max, rng);
        self.state = State::Out { until: now + length };
        self.forget();
        length
    }

    /// How long it would be out, were it ejected now.
    pub(super) fn length_if_ejected(&self, now: Moment, settings: &OutlierSettings) -> Duration {
        out_length(settings, self.remembered(now, settings).saturating_add(1))
    }

    /// Ejections, less one for each healthy interval since.
    fn remembered(&self, now: Moment, settings: &OutlierSettings) -> u32 {
        let healthy = now.since(self.healthy_since).as_nanos() / settings.interval.as_nanos().max(1);
        self.ejections.saturating_sub(u32::try_from(healthy).unwrap_or(u32::MAX))
    }

    fn forget(&mut self) {
        self.forget_rows();
        self.tally.clear();
        self.slow_row = 0;
        self.told_until = Moment::ZERO;
    }
}

/// Thousandths, growing over the slow start.
pub(super) fn returning_share(settings: &OutlierSettings, now: Moment, since: Moment) -> u32 {
    let passed = now.since(since);
    if passed >= settings.slow_start {
        return 1000;
    }
    let from = u128::from(settings.slow_start_from.points() / 10).max(1);
    let grown = (1000 - from) * passed.as_nanos() / settings.slow_start.as_nanos().max(1);
    // Below 1000, so the cast keeps the value.
    (from + grown) as u32
}

fn out_length(settings: &OutlierSettings, ejections: u32) -> Duration {
    settings.out_for.saturating_mul(ejections).min(settings.out_max)
}

/// Not above `max`: evenly over what is left of the spread, or most of the longest would be equally long.
fn jittered(length: Duration, max: Duration, rng: &mut fastrand::Rng) -> Duration {
    let (length, max) = (nanos(length), nanos(max));
    let spread = length / 100 * JITTER_PERCENT;
    let (low, high) = (length - spread, length.saturating_add(spread).min(max));
    Duration::from_nanos(rng.u64(low.min(high)..=high))
}
