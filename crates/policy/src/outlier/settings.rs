//! When to leave an endpoint alone, for how long, how many at most, and what to do when too few are left.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Mode, Share};

/// Settings of an [`Outlier`](super::Outlier).
///
/// Each rule has a mode of its own, and the mode of the whole holds it back: a rule acts only where both act.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct OutlierSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// Failures in a row that eject.
    pub failures: u32,
    /// Whether failures in a row act.
    pub failures_mode: Mode,
    /// The first ejection; the n-th lasts n times as long.
    #[cfg_attr(feature = "serde", serde(rename = "for", with = "crate::unit::text::duration"))]
    pub out_for: Duration,
    /// The longest ejection.
    #[cfg_attr(feature = "serde", serde(rename = "for_max", with = "crate::unit::text::duration"))]
    pub out_max: Duration,
    /// Most of the endpoints of a zone that may be out; rounded down, and none where a zone has one endpoint.
    pub max: Share,
    /// How often rates and times are judged, and what they are counted over.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub interval: Duration,
    /// Calls of one endpoint in an interval below which its rates and times say nothing.
    pub min_requests: u32,
    /// Where there are three endpoints or more: who succeeds less often than its peers.
    pub success_rate: SuccessRateRule,
    /// Where there are two endpoints: who fails too often. Two have no average.
    pub failure_rate: FailureRateRule,
    /// Who is slower than its peers.
    pub latency: LatencyRule,
    /// How long a returning endpoint takes to get its full share.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub slow_start: Duration,
    /// The share that it begins with.
    pub slow_start_from: Share,
    /// How long the outcome of a probe may take. Above the timeout of one try.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub probe_lease: Duration,
    /// When too few are left to be choosy.
    pub panic: PanicSettings,
}

/// Ejects who succeeds less often than `below` *and* less often than its peers' mean − `deviations` · σ.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct SuccessRateRule {
    /// Whether it acts.
    pub mode: Mode,
    /// Nobody who succeeds this often is ejected, however much better the others are.
    pub below: Share,
    /// How far below its peers, in standard deviations.
    pub deviations: f64,
}

/// Ejects one of two endpoints that fails this often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct FailureRateRule {
    /// Whether it acts.
    pub mode: Mode,
    /// The share of failures that ejects.
    pub failures: Share,
}

/// Ejects who is slow for so many intervals: the 90th percentile above `factor` times the median of the peers'.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct LatencyRule {
    /// Whether it acts.
    pub mode: Mode,
    /// How many times slower than its peers.
    pub factor: f64,
    /// Nobody who is as quick as this is slow.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub over: Duration,
    /// Intervals in a row.
    pub intervals: u32,
}

/// When ejections are ignored, because too few endpoints are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct PanicSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// Panic when less than this share of the pool is usable. Zero never panics.
    pub below: Share,
    /// What is done then.
    pub on_panic: OnPanic,
}

/// What is done in a panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnPanic {
    /// All endpoints are asked, as if none had been ejected: many that may fail bear more than few that surely drown.
    #[default]
    All,
    /// None is asked, but for probes: the few that are left are not to be drowned.
    Fail,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            failures: 5,
            failures_mode: Mode::Enforce,
            out_for: Duration::from_secs(10),
            out_max: Duration::from_secs(300),
            max: Share::of_percent(50),
            interval: Duration::from_secs(10),
            min_requests: 20,
            success_rate: SuccessRateRule::default(),
            failure_rate: FailureRateRule::default(),
            latency: LatencyRule::default(),
            slow_start: Duration::from_secs(10),
            slow_start_from: Share::of_percent(10),
            probe_lease: Duration::from_secs(6),
            panic: PanicSettings::default(),
        }
    }
}

impl Default for SuccessRateRule {
    fn default() -> Self {
        Self { mode: Mode::Enforce, below: Share::of_percent(85), deviations: 1.9 }
    }
}

impl Default for FailureRateRule {
    fn default() -> Self {
        Self { mode: Mode::Enforce, failures: Share::of_percent(50) }
    }
}

impl Default for LatencyRule {
    fn default() -> Self {
        Self { mode: Mode::Shadow, factor: 3.0, over: Duration::from_millis(50), intervals: 3 }
    }
}

impl Default for PanicSettings {
    fn default() -> Self {
        Self { mode: Mode::Enforce, below: Share::of_percent(50), on_panic: OnPanic::All }
    }
}

impl OutlierSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ms = Duration::from_millis(1);
        let span = ms..=DURATION_MAX;
        Check::new("eject")
            .that(self.failures > 0, "failures", "at least 1; with 0 every call would eject")
            .that(span.contains(&self.out_for), "for", "from 1ms to 1000d; an ejection of no time protects nobody")
            .that((self.out_for..=DURATION_MAX).contains(&self.out_max), "for_max", "from `for` to 1000d")
            .that(span.contains(&self.interval), "interval", "from 1ms to 1000d")
            .that(self.min_requests > 0, "min_requests", "at least 1; with 0 a rate of nothing would eject")
            .that(
                (0.0..=10.0).contains(&self.success_rate.deviations),
                "success_rate.deviations",
                "from 0 to 10; 1.9 is usual",
            )
            .that(
                self.failure_rate.failures > Share::NONE,
                "failure_rate.failures",
                "above 0%; at 0% every call would eject",
            )
            .that(
                (1.0..=1000.0).contains(&self.latency.factor),
                "latency.factor",
                "from 1 to 1000; below 1 who is quicker than its peers would be slow",
            )
            .that(self.latency.over <= DURATION_MAX, "latency.over", "at most 1000d")
            .that(self.latency.intervals > 0, "latency.intervals", "at least 1")
            .that(self.slow_start <= DURATION_MAX, "slow_start", "at most 1000d")
            .that(
                self.slow_start_from > Share::NONE,
                "slow_start_from",
                "above 0%; an endpoint that is never asked shows nothing",
            )
            .that(
                span.contains(&self.probe_lease),
                "probe_lease",
                "from 1ms to 1000d; a lease of no time fails every probe",
            )
            .done()
    }
}

/// A rule acts only where the whole acts, and is off where either is.
pub(super) const fn together(whole: Mode, rule: Mode) -> Mode {
    match (whole, rule) {
        (Mode::Off, _) | (_, Mode::Off) => Mode::Off,
        (Mode::Enforce, Mode::Enforce) => Mode::Enforce,
        _ => Mode::Shadow,
    }
}
