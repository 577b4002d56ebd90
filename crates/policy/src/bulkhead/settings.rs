//! How many, and how long to wait.

use std::time::Duration;

use crate::Mode;
use crate::settings::{Check, DURATION_MAX, SettingsError};

/// Calls in flight, and calls that wait, beyond which a number is a mistake.
const CALLS_MAX: u32 = 1_000_000;

/// Settings of a [`Bulkhead`](super::Bulkhead).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct BulkheadSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// Calls at once.
    pub in_flight: u32,
    /// Calls that wait for their turn; 0 turns away at once.
    pub queue: u32,
    /// How long they wait at most.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub wait: Duration,
    /// How long somebody must have been waiting before the newest goes first.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub lifo_after: Duration,
}

impl Default for BulkheadSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            in_flight: 1024,
            queue: 256,
            wait: Duration::from_secs(1),
            lifo_after: Duration::from_millis(100),
        }
    }
}

impl BulkheadSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        Check::new("bulkhead")
            .that(
                (1..=CALLS_MAX).contains(&self.in_flight),
                "in_flight",
                "from 1 to 1000000; with 0 no call would ever pass",
            )
            .that(self.queue <= CALLS_MAX, "queue", "at most 1000000; 0 turns away at once")
            .that(
                (Duration::from_millis(1)..=DURATION_MAX).contains(&self.wait),
                "wait",
                "from 1ms to 1000d; not to wait at all, set `queue` to 0",
            )
            .that(self.lifo_after <= DURATION_MAX, "lifo_after", "at most 1000d; 0 lets the newest go first always")
            .done()
    }
}
