//! How often to send again, after which wait, and how much of it there may be.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Backoff, BudgetSettings, Mode};

/// Settings of a [`Retry`](super::Retry).
///
/// In a file the budget's figures stand beside the others:
/// `{attempts: 2, backoff: 25ms..250ms, retry_after_max: 5m, budget: 20%, floor: 3/s, concurrent_min: 3}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(from = "Written", into = "Written"))]
pub struct RetrySettings {
    /// Whether it acts.
    pub mode: Mode,
    /// Attempts after the first.
    pub attempts: u8,
    /// How long to wait before each.
    pub backoff: Backoff,
    /// Up to where a service is believed that says when to come back.
    pub retry_after_max: Duration,
    /// How many retries there may be of all requests.
    pub budget: BudgetSettings,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            attempts: 2,
            backoff: Backoff::default(),
            retry_after_max: Duration::from_secs(300),
            budget: BudgetSettings::default(),
        }
    }
}

impl RetrySettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        Check::new("retry")
            .that(self.attempts > 0, "attempts", "at least 1; to send nothing again, set `mode: off`")
            .that(
                self.backoff.base <= self.backoff.max && self.backoff.max <= DURATION_MAX,
                "backoff",
                "the first wait, then the longest, which is not shorter and at most 1000d: 25ms..250ms",
            )
            .that(self.retry_after_max <= DURATION_MAX, "retry_after_max", "at most 1000d")
            .and(self.budget.check())
            .that(
                !self.budget.is_empty(),
                "budget",
                "above 0%, or a floor above 0/s with concurrent_min above 0; without either nothing is ever sent again",
            )
            .done()
    }
}

/// As it is written in a file.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    mode: Mode,
    attempts: u8,
    backoff: Backoff,
    #[serde(with = "crate::unit::text::duration")]
    retry_after_max: Duration,
    budget: crate::Share,
    floor: crate::Rate,
    concurrent_min: u32,
}

#[cfg(feature = "serde")]
impl Default for Written {
    fn default() -> Self {
        RetrySettings::default().into()
    }
}

#[cfg(feature = "serde")]
impl From<RetrySettings> for Written {
    fn from(settings: RetrySettings) -> Self {
        let RetrySettings { mode, attempts, backoff, retry_after_max, budget } = settings;
        let BudgetSettings { share, floor, concurrent_min } = budget;
        Self { mode, attempts, backoff, retry_after_max, budget: share, floor, concurrent_min }
    }
}

#[cfg(feature = "serde")]
impl From<Written> for RetrySettings {
    fn from(written: Written) -> Self {
        let Written { mode, attempts, backoff, retry_after_max, budget: share, floor, concurrent_min } = written;
        Self { mode, attempts, backoff, retry_after_max, budget: BudgetSettings { share, floor, concurrent_min } }
    }
}
