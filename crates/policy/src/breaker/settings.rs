//! When to trip, for how long, and how to come back.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Mode, Share};

/// Settings of a [`Breaker`](super::Breaker).
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct BreakerSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// What it remembers.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub window: Duration,
    /// Calls in the window below which no share of them trips it.
    pub min_requests: u32,
    /// The share of failures that trips it.
    pub error_rate: Share,
    /// Failures in a row that trip it however few the calls.
    pub consecutive: u32,
    /// What counts as slow, and how much of it trips.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub slow: Option<SlowCalls>,
    /// How long it stays open the first time.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub open_for: Duration,
    /// How long it stays open at most.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub open_max: Duration,
    /// Probes at once, and successes that close it.
    pub probes: u32,
    /// How long a probe may take. Above the timeout of one try.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub probe_lease: Duration,
    /// How long it takes from the first share of the calls to all of them.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub ramp: Duration,
}

/// What is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct SlowCalls {
    /// A call that takes longer than this is slow.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub over: Duration,
    /// The share of slow calls that trips the breaker.
    #[cfg_attr(feature = "serde", serde(default = "slow_share"))]
    pub share: Share,
}

const fn slow_share() -> Share {
    Share::of_percent(80)
}

impl SlowCalls {
    /// 80 % of calls over `over`.
    pub const fn over(over: Duration) -> Self {
        Self { over, share: slow_share() }
    }
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            window: Duration::from_secs(10),
            min_requests: 20,
            error_rate: Share::of_percent(50),
            consecutive: 10,
            slow: None,
            open_for: Duration::from_secs(5),
            open_max: Duration::from_secs(60),
            probes: 3,
            probe_lease: Duration::from_secs(6),
            ramp: Duration::from_secs(10),
        }
    }
}

/// Probes at once that make sense at all; each keeps a lease.
const PROBES_MAX: u32 = 100;

impl BreakerSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut check = Check::new("breaker");
        let ms = Duration::from_millis(1);
        check
            .that(
                (10 * ms..=DURATION_MAX).contains(&self.window),
                "window",
                "from 10ms (ten slots of a millisecond) to 1000d",
            )
            .that(self.min_requests > 0, "min_requests", "at least 1; with 0 a share of nothing would trip it")
            .that(self.error_rate > Share::NONE, "error_rate", "above 0%; at 0% every call would trip it")
            .that(self.consecutive > 0, "consecutive", "at least 1; with 0 every call would trip it")
            .that(
                (ms..=DURATION_MAX).contains(&self.open_for),
                "open_for",
                "from 1ms to 1000d; a breaker that opens for no time protects nobody",
            )
            .that((self.open_for..=DURATION_MAX).contains(&self.open_max), "open_max", "from `open_for` to 1000d")
            .that((1..=PROBES_MAX).contains(&self.probes), "probes", "from 1 to 100; without probes it never closes")
            .that(
                (ms..=DURATION_MAX).contains(&self.probe_lease),
                "probe_lease",
                "from 1ms to 1000d; a lease of no time fails every probe",
            )
            .that(self.ramp <= DURATION_MAX, "ramp", "at most 1000d");
        if let Some(slow) = self.slow {
            check.that(slow.over > Duration::ZERO, "slow.over", "above 0; with 0 every call is slow").that(
                slow.share > Share::NONE,
                "slow.share",
                "above 0%; at 0% every call would trip it",
            );
        }
        check.done()
    }
}
