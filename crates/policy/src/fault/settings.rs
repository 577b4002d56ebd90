//! What goes wrong, how often, and until when.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Mode, Share};

/// What should last longer is armed again.
const TTL_MAX: Duration = Duration::from_secs(86_400);
/// Requests in the hands of one fault. Held requests cost memory, and a fault is not meant to be an outage.
const AT_MOST_MAX: u32 = 100;
/// The tail of a Pareto distribution is that of U^(-1/shape); beyond these there is none, or nothing else.
const SHAPES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// Settings of a [`Fault`](super::Fault).
///
/// By default there is none: neither a delay nor a kind.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct FaultSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// Holds requests back, before `kind` if there is one.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub delay: Option<Delay>,
    /// What happens to requests.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub kind: Option<FaultKind>,
    /// The share of the requests that is hit.
    pub share: Share,
    /// Only this one of the requests since it was armed, counted from 1.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub nth: Option<u32>,
    /// Decides which requests are hit; drawn when it is armed if it is not given.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub seed: Option<u64>,
    /// How long it lasts at most.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub ttl: Duration,
    /// Requests in its hands at once; others pass.
    pub at_most: u32,
}

/// How long requests are held back.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Delay {
    /// Always the same.
    Fixed(#[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))] Duration),
    /// About the same; never below nothing.
    Normal {
        /// In the middle.
        #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
        mean: Duration,
        /// Two thirds are not further than this from the mean.
        #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
        deviation: Duration,
    },
    /// Mostly short and sometimes very long, as real latencies are.
    Pareto {
        /// The shortest.
        #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
        scale: Duration,
        /// The lower, the longer the tail: at 1 a tenth takes over ten times the shortest, at 2 a hundredth does.
        shape: f64,
        /// The longest.
        #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
        cap: Duration,
    },
}

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum FaultKind {
    /// It fails, and may have been seen.
    Abort,
    /// It is answered with this status, and has not been seen.
    Answer(u16),
    /// It fails, and was never sent.
    Refuse,
    /// It is not answered while the fault lasts.
    Hang,
    /// The service acts, and its answer is lost.
    DropResponse,
    /// The service gets it twice.
    Duplicate,
}

impl FaultKind {
    /// As in events and settings.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Abort => "abort",
            Self::Answer(_) => "answer",
            Self::Refuse => "refuse",
            Self::Hang => "hang",
            Self::DropResponse => "drop_response",
            Self::Duplicate => "duplicate",
        }
    }
}

impl FaultSettings {
    /// Whether there is anything in it.
    pub const fn any(&self) -> bool {
        self.delay.is_some() || self.kind.is_some()
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let mut check = Check::new("fault");
        let ms = Duration::from_millis(1);
        check
            .that(self.share > Share::NONE, "share", "above 0%; at 0% it hits nothing")
            .that(self.nth != Some(0), "nth", "at least 1; requests are counted from 1")
            .that(self.nth.is_none() || self.share == Share::ALL, "share", "not together with `nth`, which is one")
            .that((ms..=TTL_MAX).contains(&self.ttl), "ttl", "from 1ms to 1d; what should last longer is armed again")
            .that((1..=AT_MOST_MAX).contains(&self.at_most), "at_most", "from 1 to 100");
        let within = |delay: Duration| (Duration::from_nanos(1)..=DURATION_MAX).contains(&delay);
        match self.delay {
            None => {}
            Some(Delay::Fixed(delay)) => {
                check.that(within(delay), "delay.fixed", "above 0, and at most 1000d");
            }
            Some(Delay::Normal { mean, deviation }) => {
                check.that(within(mean), "delay.mean", "above 0, and at most 1000d").that(
                    deviation <= DURATION_MAX,
                    "delay.deviation",
                    "at most 1000d",
                );
            }
            Some(Delay::Pareto { scale, shape, cap }) => {
                check
                    .that(within(scale), "delay.scale", "above 0, and at most 1000d")
                    .that(SHAPES.contains(&shape), "delay.shape", "from 0.01 to 1000")
                    .that((scale..=DURATION_MAX).contains(&cap), "delay.cap", "from `scale` to 1000d");
            }
        }
        check.done()
    }
}

impl Default for FaultSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            delay: None,
            kind: None,
            share: Share::ALL,
            nth: None,
            seed: None,
            ttl: Duration::from_secs(600),
            at_most: AT_MOST_MAX,
        }
    }
}
