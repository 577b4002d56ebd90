//! How often a replica may be restarted: pauses that grow, and an end.
//!
//! A process that crashes at once must not be restarted in a tight loop (it would eat the machine that its neighbours
//! need), and one that crashes for ever must not be restarted for ever (a person has to look). So pauses go 0, 1, 2,
//! 4 … seconds up to a bound and start anew after a time of health; and more than `limit` restarts `within` a window
//! give it up, as OTP's supervisors do (`intensity` and `period` of their flags).
//! The first pause is zero: a lone crash costs nothing but the start itself.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::spec::Restart;

/// What to do after an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Start it again after a pause.
    Restart { attempt: u32, pause: Duration },
    /// Leave it down.
    GiveUp { restarts: u32 },
}

/// The restarts of one replica so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarts {
    /// Within the window; at most `limit`.
    recent: VecDeque<Instant>,
    /// Since the last time of health.
    in_row: u32,
}

impl Restarts {
    /// After an exit at `now` of a process that had been ready for `healthy`.
    pub(crate) fn decide(&mut self, now: Instant, healthy: Duration, policy: &Restart) -> Decision {
        if healthy >= policy.reset_after {
            *self = Self::default();
        }
        self.recent.retain(|at| now.duration_since(*at) < policy.within);
        if self.recent.len() >= policy.limit as usize {
            return Decision::GiveUp { restarts: self.recent.len() as u32 };
        }
        self.recent.push_back(now);
        let pause = pause(self.in_row).min(policy.backoff_max);
        self.in_row = self.in_row.saturating_add(1);
        Decision::Restart { attempt: self.in_row, pause }
    }

    /// A person has looked: all is forgotten.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// 0, 1, 2, 4, 8 … seconds.
fn pause(in_row: u32) -> Duration {
    match in_row {
        0 => Duration::ZERO,
        n => Duration::from_secs(1u64 << (n - 1).min(32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exits at these seconds, each after a process that was healthy for so long; the pauses, or `None` when given up.
    #[track_caller]
    fn check(policy: Restart, exits: &[(u64, u64)], expected: &[Option<u64>]) {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        let seen: Vec<Option<u64>> = exits
            .iter()
            .map(|(at, healthy)| {
                match restarts.decide(start + Duration::from_secs(*at), Duration::from_secs(*healthy), &policy) {
                    Decision::Restart { pause, .. } => Some(pause.as_secs()),
                    Decision::GiveUp { restarts } => {
                        assert_eq!(restarts, policy.limit);
                        None
                    }
                }
            })
            .collect();
        assert_eq!(seen, expected, "{exits:?}");
    }

    #[test]
    fn pauses_grow_and_end() {
        let default = Restart::default();
        let patient = Restart { limit: 100, ..default };
        check(
            default,
            &[(0, 0), (0, 0), (1, 0), (3, 0), (7, 0), (15, 0)],
            &[Some(0), Some(1), Some(2), Some(4), Some(8), None],
        );
        let slow: Vec<(u64, u64)> = (0..9).map(|i| (i * 100, 0)).collect();
        check(patient, &slow, &[0, 1, 2, 4, 8, 16, 32, 60, 60].map(Some));
        check(Restart { limit: 0, ..default }, &[(0, 0)], &[None]);
    }

    #[test]
    fn restarts_far_apart_are_not_counted_together_and_health_forgives() {
        let default = Restart::default();
        check(
            default,
            &[(0, 0), (30, 0), (61, 0), (91, 0), (122, 0), (150, 0), (180, 0)],
            &[Some(0), Some(1), Some(2), Some(4), Some(8), Some(16), Some(32)],
        );
        check(
            default,
            &[(0, 0), (5, 0), (700, 599), (1400, 600), (1401, 0)],
            &[Some(0), Some(1), Some(2), Some(0), Some(1)],
        );
    }
}
