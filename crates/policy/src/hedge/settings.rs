//! When a second copy is sent, and how many there may be.

use std::time::Duration;

use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{Mode, Share};

/// Settings of a [`Hedge`](super::Hedge).
///
/// Off by default, for it costs the service something. A section that is written in a file acts unless it says
/// otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct HedgeSettings {
    /// Whether it acts.
    #[cfg_attr(feature = "serde", serde(default))]
    pub mode: Mode,
    /// How long the first copy has the field to itself. `None`: as long as `percentile` of the calls take.
    #[cfg_attr(
        feature = "serde",
        serde(with = "crate::unit::text::duration_option", skip_serializing_if = "Option::is_none")
    )]
    pub after: Option<Duration>,
    /// The share of the calls that is faster than those which are worth a second copy.
    pub percentile: Share,
    /// What it remembers.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub window: Duration,
    /// Calls in the window below which their percentile means nothing.
    pub min_samples: u32,
    /// The least that it waits, however fast the service.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub min_delay: Duration,
    /// Second copies, as a share of the calls in the window.
    pub budget: Share,
}

impl Default for HedgeSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            after: None,
            percentile: Share::of_percent(95),
            window: Duration::from_secs(30),
            min_samples: 100,
            min_delay: DELAY_MIN,
            budget: Share::of_percent(1),
        }
    }
}

/// Timers are no finer.
const DELAY_MIN: Duration = Duration::from_millis(1);

impl HedgeSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let delays = DELAY_MIN..=DURATION_MAX;
        let mut check = Check::new("hedge");
        check
            .that(
                self.after.is_none_or(|after| delays.contains(&after)),
                "after",
                "from 1ms, for timers are no finer, to 1000d; leave it out to wait as long as 95% of the calls take",
            )
            .that(
                self.percentile > Share::NONE && self.percentile < Share::ALL,
                "percentile",
                "above 0%, where every call would be slow, and below 100%, where none would",
            )
            .that(
                (Duration::from_millis(10)..=DURATION_MAX).contains(&self.window),
                "window",
                "from 10ms (ten slots of a millisecond) to 1000d",
            )
            .that(self.min_samples > 0, "min_samples", "at least 1; there is no percentile of nothing")
            .that(delays.contains(&self.min_delay), "min_delay", "from 1ms, for timers are no finer, to 1000d")
            .that(
                self.budget > Share::NONE,
                "budget",
                "above 0%; with 0% no second copy would ever be sent: turn it off instead",
            );
        check.done()
    }
}
