//! The endpoints of one service, and what their calls make of them.

use std::time::Duration;

use super::member::{State, Tracked};
use super::pool::{Standing, position};
use super::rules::{Calls, Figure, low_success, slow};
use super::settings::together;
use super::{Change, EjectionCause, Member, OutlierSettings, Pool, Tally};
use crate::time::nanos;
use crate::{Mode, Moment, SettingsError};

/// How a call ended, as far as the health of the endpoint goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not fail: an answer below 500 that is not 429.
    None,
    /// Answered 429: it lives, and has enough.
    Busy,
    /// Answered 500 and above.
    Status,
    /// No connection, or no answer.
    Local,
}

impl Failure {
    pub(super) const fn is_failure(self) -> bool {
        matches!(self, Self::Status | Self::Local)
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How well.
    pub failure: Failure,
    /// After how long.
    pub took: Duration,
    /// The probe that it was, where it was one.
    pub probe: Option<Probe>,
}

impl Outcome {
    /// Of a call that was no probe.
    pub const fn new(failure: Failure, took: Duration) -> Self {
        Self { failure, took, probe: None }
    }

    /// The same, of a probe.
    #[must_use]
    pub const fn of_probe(mut self, probe: Option<Probe>) -> Self {
        self.probe = probe;
        self
    }
}

/// The one request that finds out whether an endpoint is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub(super) id: u64,
}

/// The endpoints of one service, as their calls showed them.
///
/// ```
/// use std::time::Duration;
/// use mainstay_policy::{Admission, Failure, Moment, Outcome, Outlier, OutlierSettings};
///
/// let mut outlier = Outlier::new(OutlierSettings::default())?;
/// let mut rng = fastrand::Rng::with_seed(1);
/// let now = Moment::ZERO;
/// outlier.set_members(now, ["10.0.0.1", "10.0.0.2"]);
/// for _ in 0..5 {
///     outlier.observe(now, &"10.0.0.1", Outcome::new(Failure::Local, Duration::ZERO), &mut rng);
/// }
/// assert_eq!(outlier.pool(now).admission(&"10.0.0.1"), Admission::Out);
/// assert_eq!(outlier.pool(now).usable(), 1);
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Outlier<K> {
    settings: OutlierSettings,
    // Sorted by key, so that nothing depends on the order of arrival.
    members: Vec<Tracked<K>>,
    probes: u64,
    interval_since: Moment,
    standing: Standing,
}

impl<K: Ord + Clone> Outlier<K> {
    /// Knows nobody yet.
    pub fn new(settings: OutlierSettings) -> Result<Self, SettingsError> {
        settings.check()?;
        let (interval_since, standing) = (Moment::ZERO, Standing::default());
        Ok(Self { settings, members: Vec::new(), probes: 0, interval_since, standing })
    }

    /// Other settings from now on. Where ejection no longer acts, who is out returns.
    pub fn set_settings(&mut self, now: Moment, settings: OutlierSettings) -> Result<Vec<Change<K>>, SettingsError> {
        settings.check()?;
        self.settings = settings;
        let mut changes = Vec::new();
        if !settings.mode.enforced() {
            for tracked in self.members.iter_mut().filter(|tracked| tracked.is_out()) {
                tracked.take_back(now);
                changes.push(Change::Returned { key: tracked.member.key.clone() });
            }
        }
        self.refresh(now, &mut changes);
        Ok(changes)
    }

    /// Who there is. Those who stay keep what is known of them, those who leave are forgotten, those who come are
    /// trusted. Where too many of a zone would then be out, those whose time is nearest return early.
    pub fn set_members(
        &mut self,
        now: Moment,
        members: impl IntoIterator<Item = impl Into<Member<K>>>,
    ) -> Vec<Change<K>> {
        let mut listed: Vec<Member<K>> = members.into_iter().map(Into::into).collect();
        listed.sort_by(|a, b| a.key.cmp(&b.key));
        listed.dedup_by(|later, first| later.key == first.key);
        let mut old = std::mem::take(&mut self.members).into_iter().peekable();
        for member in listed {
            while old.next_if(|tracked| tracked.member.key < member.key).is_some() {}
            self.members.push(match old.next_if(|tracked| tracked.member.key == member.key) {
                Some(mut known) => {
                    known.member = member;
                    known
                }
                None => Tracked::new(now, member),
            });
        }
        let mut changes = Vec::new();
        self.refresh(now, &mut changes);
        changes
    }

    /// An active check of `key` has said something new.
    pub fn set_passing(&mut self, now: Moment, key: &K, passes: bool) -> Vec<Change<K>> {
        let mut changes = Vec::new();
        if let Some(at) = position(&self.members, key)
            && self.members[at].member.passes != passes
        {
            self.members[at].member.passes = passes;
            self.refresh(now, &mut changes);
        }
        changes
    }

    /// Who may be asked now.
    pub fn pool(&self, now: Moment) -> Pool<'_, K> {
        Pool { members: &self.members, settings: &self.settings, now, standing: self.standing }
    }

    /// Claims the probe of `key`; only one caller gets it. Say how it ended by [`Outlier::observe`], or
    /// [`Outlier::give_back`] it; if neither is done its lease runs out, and another may probe.
    pub fn start_probe(&mut self, now: Moment, key: &K) -> Option<Probe> {
        let at = position(&self.members, key)?;
        let tracked = &mut self.members[at];
        tracked.out_until().filter(|until| *until <= now)?;
        self.probes += 1;
        tracked.begin_probe(now + self.settings.probe_lease, self.probes);
        Some(Probe { id: self.probes })
    }

    /// The probe had no outcome (the client went away): another may be made at once.
    pub fn give_back(&mut self, now: Moment, key: &K, probe: Probe) {
        if let Some(at) = position(&self.members, key)
            && self.members[at].is_probed_by(probe)
        {
            self.members[at].state = State::Out { until: now };
        }
    }

    /// A call to `key` has ended. Judges the interval first, where it is over.
    pub fn observe(&mut self, now: Moment, key: &K, outcome: Outcome, rng: &mut fastrand::Rng) -> Vec<Change<K>> {
        let mut changes = self.tick(now, rng);
        if self.settings.mode == Mode::Off {
            return changes;
        }
        let Some(at) = position(&self.members, key) else { return changes };
        let tracked = &mut self.members[at];
        match outcome.probe {
            Some(probe) if tracked.is_probed_by(probe) => self.probed(now, at, outcome.failure, rng, &mut changes),
            // It began before the ejection or belongs to an older probe: what it tells is old.
            _ if tracked.is_out() => {}
            _ => {
                tracked.settle(now, &self.settings);
                tracked.count(outcome.failure, outcome.took);
                let row = tracked.row();
                if outcome.failure.is_failure() && row >= self.settings.failures {
                    self.detect(now, at, EjectionCause::Consecutive, row, rng, &mut changes);
                }
            }
        }
        changes
    }

    /// Takes over what was counted elsewhere of calls to `key`, and leaves nothing there. What was counted of an
    /// endpoint that is out by now is dropped. Rows of failures cannot be seen in it: report those by
    /// [`Outlier::observe`].
    pub fn absorb(&mut self, now: Moment, key: &K, tally: &mut Tally, rng: &mut fastrand::Rng) -> Vec<Change<K>> {
        let changes = self.tick(now, rng);
        match position(&self.members, key) {
            Some(at) if !self.members[at].is_out() => self.members[at].tally.take_from(tally),
            _ => tally.clear(),
        }
        changes
    }

    /// Judges the interval, where it is over; else it costs a comparison. [`Outlier::observe`] does the same, so it
    /// need only be called where there may be no calls.
    #[inline]
    pub fn tick(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Vec<Change<K>> {
        if now < self.interval_since + self.settings.interval { Vec::new() } else { self.judge(now, rng) }
    }

    /// Nobody is out or returning, and no row of failures has begun: until a failure comes, all may be asked, and
    /// good outcomes may be counted elsewhere.
    pub fn is_calm(&self) -> bool {
        self.standing.usable == self.members.len() && self.members.iter().all(Tracked::is_calm)
    }

    /// Whether too few are usable; in shadow mode, too.
    pub const fn is_panic(&self) -> bool {
        self.standing.panic
    }

    /// Who is out.
    pub fn ejected(&self) -> impl Iterator<Item = &K> {
        self.members.iter().filter(|tracked| tracked.is_out()).map(|tracked| &tracked.member.key)
    }

    fn probed(
        &mut self,
        now: Moment,
        at: usize,
        failure: Failure,
        rng: &mut fastrand::Rng,
        changes: &mut Vec<Change<K>>,
    ) {
        let tracked = &mut self.members[at];
        let key = tracked.member.key.clone();
        if failure == Failure::None {
            tracked.take_back(now);
            changes.push(Change::Returned { key });
        } else {
            let cause = EjectionCause::Probe;
            let length = tracked.eject(now, &self.settings, cause, rng);
            changes.push(Change::Ejected { key, cause, length, failures: 1, enforced: true });
        }
        self.refresh(now, changes);
    }

    #[cold]
    fn judge(&mut self, now: Moment, rng: &mut fastrand::Rng) -> Vec<Change<K>> {
        let interval = nanos(self.settings.interval).max(1);
        let intervals = now.since(self.interval_since).as_nanos() / u128::from(interval);
        let over = u64::try_from(intervals).unwrap_or(u64::MAX).saturating_mul(interval);
        self.interval_since += Duration::from_nanos(over);
        let mut changes = Vec::new();
        let (low, slow) = (self.low(), self.slow());
        for tracked in &mut self.members {
            tracked.settle(now, &self.settings);
            tracked.tally.clear();
        }
        let (cause, low) = low;
        for Figure { index, value } in low {
            self.detect(now, index, cause, value.failed, rng, &mut changes);
        }
        for Figure { index, .. } in slow {
            if self.members[index].slow_row >= self.settings.latency.intervals {
                self.detect(now, index, EjectionCause::Latency, 0, rng, &mut changes);
            }
        }
        if intervals > 1 {
            // In the intervals since there was no call at all: no row.
            self.members.iter_mut().for_each(|tracked| tracked.slow_row = 0);
        }
        changes
    }

    /// Those in rotation, by their place.
    fn judged(&self) -> impl Iterator<Item = (usize, &Tracked<K>)> {
        self.members.iter().enumerate().filter(|(_, tracked)| tracked.member.passes && !tracked.is_out())
    }

    fn low(&self) -> (EjectionCause, Vec<Figure<Calls>>) {
        let least = self.settings.min_requests;
        let enough = self.judged().filter(|(_, tracked)| tracked.tally.all() >= least);
        let figures: Vec<_> = enough
            .map(|(index, tracked)| {
                let value = Calls { all: tracked.tally.all(), failed: tracked.tally.failed() };
                Figure { index, value }
            })
            .collect();
        if self.standing.passing != 2 {
            return (EjectionCause::SuccessRate, low_success(&self.settings.success_rate, &figures));
        }
        let share = self.settings.failure_rate.failures;
        let mut low = figures;
        low.retain(|f| share.reached_by(f.value.failed.into(), f.value.all.into()));
        low.sort_by(|a, b| a.value.success().total_cmp(&b.value.success()));
        (EjectionCause::FailureRate, low)
    }

    /// Who was slow in this interval, with their rows brought up to date.
    fn slow(&mut self) -> Vec<Figure<u64>> {
        let least = self.settings.min_requests;
        let enough = self.judged().filter_map(|(index, tracked)| Some((index, tracked.tally.p90(least)?)));
        let figures: Vec<_> = enough.map(|(index, value)| Figure { index, value }).collect();
        let slow = slow(&self.settings.latency, &figures);
        for (index, tracked) in self.members.iter_mut().enumerate() {
            let is_slow = slow.iter().any(|figure| figure.index == index);
            tracked.slow_row = if is_slow { tracked.slow_row.saturating_add(1) } else { 0 };
        }
        slow
    }

    /// A rule has found a member to stand out: ejects it, or tells that it would.
    fn detect(
        &mut self,
        now: Moment,
        at: usize,
        cause: EjectionCause,
        failures: u32,
        rng: &mut fastrand::Rng,
        changes: &mut Vec<Change<K>>,
    ) {
        let settings = &self.settings;
        let rule = match cause {
            EjectionCause::Consecutive | EjectionCause::Probe => settings.failures_mode,
            EjectionCause::SuccessRate => settings.success_rate.mode,
            EjectionCause::FailureRate => settings.failure_rate.mode,
            EjectionCause::Latency => settings.latency.mode,
        };
        let mode = together(settings.mode, rule);
        if mode == Mode::Off || self.members[at].is_out() {
            return;
        }
        let enforced = mode.enforced() && self.room(&self.members[at].member) > 0;
        let tracked = &mut self.members[at];
        let length = if enforced {
            tracked.eject(now, settings, cause, rng)
        } else {
            if now < tracked.told_until {
                return;
            }
            let length = tracked.length_if_ejected(now, settings);
            tracked.told_until = now + length;
            length
        };
        let key = tracked.member.key.clone();
        changes.push(Change::Ejected { key, cause, length, failures, enforced });
        if enforced {
            self.refresh(now, changes);
        }
    }

    /// How many more of this member's zone may go out; negative where too many are.
    fn room(&self, of: &Member<K>) -> isize {
        let zone = self.members.iter().filter(|t| t.member.passes && t.member.zone == of.zone);
        let (all, out) = zone.fold((0, 0), |(all, out), t| (all + 1, out + usize::from(t.is_out())));
        // Where there is one there is nobody to take over.
        let max = if all < 2 { 0 } else { all * usize::from(self.settings.max.points()) / 10_000 };
        max as isize - out as isize
    }

    /// After any change of who is there and who is out: keeps the cap, and sees how the pool stands.
    fn refresh(&mut self, now: Moment, changes: &mut Vec<Change<K>>) {
        while let Some(at) = self.one_too_many() {
            self.members[at].take_back(now);
            changes.push(Change::Returned { key: self.members[at].member.key.clone() });
        }
        let passing = self.members.iter().filter(|t| t.member.passes).count();
        let usable = self.members.iter().filter(|t| t.member.passes && !t.is_out()).count();
        let (of, rule) = (self.members.len(), self.settings.panic);
        let panic = rule.mode != Mode::Off && of > 0 && !rule.below.reached_by(usable as u64, of as u64);
        if panic != self.standing.panic {
            changes.push(Change::Panic { on: panic, usable, of, enforced: rule.mode.enforced() });
        }
        self.standing = Standing { passing, usable, panic };
    }

    /// Who is to return early, because more of its zone are out than may be: whose time is nearest.
    fn one_too_many(&self) -> Option<usize> {
        let out = self.members.iter().enumerate().filter(|(_, t)| t.member.passes && t.is_out());
        out.filter(|(_, t)| self.room(&t.member) < 0).min_by_key(|(_, t)| t.out_until()).map(|(at, _)| at)
    }
}
