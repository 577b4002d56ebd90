//! How long a call may take, and how long one try of it.

use std::time::Duration;

use crate::Mode;
use crate::settings::{Check, DURATION_MAX, SettingsError};

/// Settings of a [`Timeout`](super::Timeout).
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct TimeoutSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// What a call may take with all its tries, the pauses between them and its time in queues.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub total: Duration,
    /// What one try may take. The last one may take all that remains.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub per_try: Duration,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self { mode: Mode::Enforce, total: Duration::from_secs(15), per_try: Duration::from_secs(5) }
    }
}

impl TimeoutSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut check = Check::new("timeout");
        let sane = Duration::from_nanos(1)..=DURATION_MAX;
        let both = sane.contains(&self.total) && sane.contains(&self.per_try);
        check
            .that(sane.contains(&self.total), "total", "above 0, for nobody answers in no time, and at most 1000d")
            .that(sane.contains(&self.per_try), "per_try", "above 0, for nobody answers in no time, and at most 1000d")
            .that(
                self.per_try < self.total || !both,
                "per_try",
                "below `total`; a first try that may take all the time leaves none for a second",
            );
        check.done()
    }
}
