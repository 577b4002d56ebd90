//! How much may be retried.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Rate, Share};

/// Settings of a [`RetryBudget`](super::RetryBudget).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetSettings {
    /// Share of the first attempts that may be repeated.
    pub share: Share,
    /// Retries that are allowed however few the requests.
    pub floor: Rate,
    /// Retries at once that are allowed however few the active requests.
    pub concurrent_min: u32,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self { share: Share::of_percent(20), floor: Rate::per_second(3), concurrent_min: 3 }
    }
}

impl BudgetSettings {
    /// No limit at all: for proofs that a limit matters.
    pub const UNLIMITED: Self = Self { share: Share::ALL, floor: Rate::per_second(u32::MAX), concurrent_min: u32::MAX };

    /// Refuses what cannot work. A budget that allows nothing works; [`Retry`](crate::Retry) refuses it.
    pub fn check(&self) -> Result<(), SettingsError> {
        Check::new("retry")
            .that(
                self.floor.per > Duration::ZERO && self.floor.per <= DURATION_MAX,
                "floor",
                "so many in a time above 0 and at most 1000d, such as 3/s",
            )
            .done()
    }

    /// Whether it never allows anything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.share.points() == 0 && (self.floor.count == 0 || self.concurrent_min == 0)
    }
}
