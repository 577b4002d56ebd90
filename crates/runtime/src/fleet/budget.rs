//! When a replica that runs may be taken away: the disruption budget, and the rule of the common cause.
//!
//! Everything of ours that takes capacity away (a restart after a failed live probe, the replacement of an old release, a
//! requested restart) asks here, so that at most a quarter of a service, but at least one replica, is away by our own
//! doing. What was taken counts until it takes traffic again.
//!
//! When most replicas of a service fail their live probes *together*, the likely cause is something that they share: a
//! dependency, a change, the machine, or we who look at them. Restarting all of them cures none of that and turns slow
//! into down. So one is restarted, as a trial. If it stays well, the restart helps and the others follow one by one; if
//! it does not, the next trial comes after a pause that doubles. Those that wait keep their traffic, and one that
//! recovers meanwhile is left alone.

use std::time::Duration;

use tokio::time::Instant;

/// A trial that did not help is followed by another after this long at first.
const TRIAL_PAUSE: Duration = Duration::from_secs(10);
/// … and after this long at most.
const TRIAL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How many replicas of so many may be away by our own doing: a quarter, rounded down, at least one.
pub(crate) fn unavailable_max(replicas: usize) -> usize {
    (replicas / 4).max(1)
}

/// Whether so many of so many failing live probes point to a common cause.
pub(crate) fn is_common(failing: usize, of: usize) -> bool {
    of >= 2 && failing * 2 > of
}

/// The trials of one service while its replicas fail together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trials {
    made: u32,
    not_before: Option<Instant>,
}

impl Trials {
    /// Whether one may be restarted now. `helped`: the last one that was has stayed well since.
    pub(crate) fn may_try(&self, now: Instant, helped: bool) -> bool {
        helped || self.not_before.is_none_or(|at| now >= at)
    }

    /// One is restarted.
    pub(crate) fn tried(&mut self, now: Instant) {
        let pause = TRIAL_PAUSE.saturating_mul(1 << self.made.min(8)).min(TRIAL_PAUSE_MAX);
        self.made += 1;
        self.not_before = Some(now + pause);
    }

    /// They do not fail together any more.
    pub(crate) fn over(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_but_at_least_one() {
        for (replicas, max) in [(1, 1), (2, 1), (3, 1), (7, 1), (8, 2), (100, 25)] {
            assert_eq!(unavailable_max(replicas), max, "{replicas}");
        }
    }

    #[test]
    fn more_than_half_of_at_least_two_is_common() {
        for (failing, of, common) in
            [(1, 1, false), (1, 2, false), (2, 2, true), (2, 3, true), (2, 4, false), (3, 4, true), (0, 3, false)]
        {
            assert_eq!(is_common(failing, of), common, "{failing} of {of}");
        }
    }

    #[test]
    fn trials_that_do_not_help_come_ever_later() {
        let start = Instant::now();
        let mut trials = Trials::default();
        let mut at = start;
        for pause in [10, 20, 40, 60, 60] {
            assert!(trials.may_try(at, false));
            trials.tried(at);
            assert!(!trials.may_try(at + Duration::from_secs(pause) - Duration::from_millis(1), false));
            assert!(trials.may_try(at, true), "what helps goes on at once");
            at += Duration::from_secs(pause);
        }
        trials.over();
        assert!(trials.may_try(start, false));
    }
}
