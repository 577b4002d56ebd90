//! How the limit is found, and between what.

use std::time::Duration;

use crate::Mode;
use crate::settings::{Check, DURATION_MAX, SettingsError};

/// Calls at once beyond which a number is a mistake.
const CALLS_MAX: u32 = 1_000_000;
/// Calls that wait. Whoever ends a call looks at all of them, so there must not be many.
const QUEUE_MAX: u32 = 1000;
/// The least that a limit falls to, where the machine has fewer cores.
const MIN_CALLS: usize = 4;

/// How a [`Limit`](super::Limit) finds itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Algorithm {
    /// By the ratio of what latency has long been and what it is now.
    #[default]
    Gradient2,
    /// One more while all is well, a tenth less when it is not.
    Aimd,
    /// By how many calls seem to queue in the service.
    Vegas,
}

/// Settings of a [`Limit`](super::Limit).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct LimitSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// How the limit is found.
    pub algorithm: Algorithm,
    /// Before anything is known.
    pub start: u32,
    /// The least; 4 or the number of cores, but not above `start`, where none is said.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub min: Option<u32>,
    /// The most.
    pub max: u32,
    /// Calls that wait for their turn; the square root of the limit where none is said.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub queue: Option<u32>,
    /// How long they wait at most.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub wait: Duration,
    /// The latency (p90) above which the service is not well, and what is measured does not become the rule.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::unit::text::duration_option", skip_serializing_if = "Option::is_none")
    )]
    pub max_healthy: Option<Duration>,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Shadow,
            algorithm: Algorithm::Gradient2,
            start: 20,
            min: None,
            max: 1000,
            queue: None,
            wait: Duration::from_secs(1),
            max_healthy: None,
        }
    }
}

impl LimitSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ms = Duration::from_millis(1);
        Check::new("adaptive")
            .that((1..=CALLS_MAX).contains(&self.start), "start", "from 1 to 1000000; with 0 nothing is ever learnt")
            .that(
                self.min.is_none_or(|min| (1..=self.start.max(1)).contains(&min)),
                "min",
                "from 1 to `start`; with 0 no call would ever pass",
            )
            .that((self.start..=CALLS_MAX).contains(&self.max), "max", "from `start` to 1000000")
            .that(
                self.queue.is_none_or(|queue| (1..=QUEUE_MAX).contains(&queue)),
                "queue",
                "from 1 to 1000; where nobody waits, nobody can go first",
            )
            .that((ms..=DURATION_MAX).contains(&self.wait), "wait", "from 1ms to 1000d")
            .that(
                self.max_healthy.is_none_or(|max| (Duration::from_micros(1)..=DURATION_MAX).contains(&max)),
                "max_healthy",
                "from 1us to 1000d; below that no service is ever well",
            )
            .done()
    }

    /// The least that the limit falls to.
    pub(super) fn floor(&self) -> u32 {
        let machine = || std::thread::available_parallelism().map_or(MIN_CALLS, usize::from).max(MIN_CALLS);
        self.min.unwrap_or_else(|| u32::try_from(machine()).unwrap_or(u32::MAX)).min(self.start)
    }
}
