//! How many may be answered otherwise at once.

use crate::Mode;
use crate::settings::{Check, SettingsError};

/// Settings of a [`Fallback`](super::Fallback).
///
/// Off by default, for whether another answer is better than none only its callers know. A section that is written in
/// a file acts unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct FallbackSettings {
    /// Whether it acts.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mode: Mode,
    /// Calls that are answered otherwise at once.
    pub in_flight: u32,
}

impl FallbackSettings {
    /// A fallback that acts.
    pub fn enforced() -> Self {
        Self { mode: Mode::Enforce, ..Self::default() }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let reason = "at least 1; with 0 nothing would ever be answered otherwise: set `mode: off`";
        Check::new("fallback").that(self.in_flight > 0, "in_flight", reason).done()
    }
}

impl Default for FallbackSettings {
    fn default() -> Self {
        Self { mode: Mode::Off, in_flight: 10 }
    }
}
