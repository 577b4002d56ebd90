//! How many, in which time, and for how many keys.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::time::nanos;
use crate::{Mode, Rate};

/// Settings of a [`RateLimit`](super::RateLimit) and a [`KeyedRateLimit`](super::KeyedRateLimit).
///
/// Off by default, for no number fits everybody. A section that is written in a file acts unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct RateLimitSettings {
    /// Whether it acts.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mode: Mode,
    /// How many requests it admits in the long run.
    pub rate: Rate,
    /// How many it admits at once when it has rested.
    pub burst: u32,
    /// How many keys it remembers, where there are keys.
    pub keys_max: u32,
}

impl RateLimitSettings {
    /// A limit that acts.
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { mode: Mode::Enforce, rate, burst, ..Self::default() }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut check = Check::new("rate_limit");
        let Rate { count, per } = self.rate;
        let countable = count > 0 && !per.is_zero() && per <= DURATION_MAX && self.per_second() <= u64::from(u32::MAX);
        check
            .that(
                countable,
                "rate",
                "from 1 in 1000d to 4294967295/s; to let nothing through, force the breaker open instead",
            )
            .that(self.burst > 0, "burst", "at least 1; with 0 nothing would ever be admitted")
            .that(
                !countable || self.burst == 0 || self.full_after() <= u128::from(nanos(DURATION_MAX)),
                "burst",
                "at most what the rate gives in 1000d; a larger one would never be full again",
            )
            .that(self.keys_max > 0, "keys_max", "at least 1");
        check.done()
    }

    /// Rounded up.
    fn per_second(&self) -> u64 {
        let nanos_per_second = Duration::from_secs(1).as_nanos();
        let rate = (u128::from(self.rate.count) * nanos_per_second).div_ceil(self.rate.per.as_nanos());
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Nanoseconds from an empty bucket to a full one.
    fn full_after(&self) -> u128 {
        self.rate.per.as_nanos() * u128::from(self.burst) / u128::from(self.rate.count)
    }
}

impl Default for RateLimitSettings {
    fn default() -> Self {
        Self { mode: Mode::Off, rate: Rate::per_second(500), burst: 100, keys_max: 100_000 }
    }
}
