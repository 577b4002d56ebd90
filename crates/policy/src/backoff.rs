//! Full jitter: how long to wait before a retry.
//!
//! The wait is uniform between nothing and a ceiling that doubles with each retry. Without jitter all clients that
//! failed together come back together; with jitter around a fixed middle they still come in waves. Drawing from the
//! whole interval spreads them best (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).

use std::time::Duration;

/// Exponential back-off with full jitter: U(0, min(max, base · 2ⁿ)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub base: Duration,
    /// Ceiling of every wait.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base: Duration::from_millis(25), max: Duration::from_millis(250) }
    }
}

impl Backoff {
    /// The longest that the wait before retry `n` (from 0) can be.
    pub fn ceiling(&self, n: u32) -> Duration {
        // 2³¹ is the last power that fits; any base above zero is over any sensible maximum long before.
        self.base.saturating_mul(1 << n.min(31)).min(self.max)
    }

    /// The wait before retry `n`, counted from 0.
    pub fn delay(&self, n: u32, rng: &mut fastrand::Rng) -> Duration {
        let ceiling = u64::try_from(self.ceiling(n).as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.u64(0..=ceiling))
    }
}

/// As it is written in a file: `25ms..250ms`.
#[cfg(feature = "serde")]
mod text {
    use super::Backoff;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    impl Serialize for Backoff {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            let (base, max) = (humantime::format_duration(self.base), humantime::format_duration(self.max));
            to.collect_str(&format_args!("{base}..{max}"))
        }
    }

    impl<'de> Deserialize<'de> for Backoff {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
            let duration = |text: &str| humantime::parse_duration(text.trim()).ok();
            text.split_once("..")
                .and_then(|(base, max)| Some(Self { base: duration(base)?, max: duration(max)? }))
                .ok_or_else(|| D::Error::custom(format_args!("'{text}' is no back-off: write 25ms..250ms")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_above_the_ceiling(base in 0u64..1 << 40, max in 0u64..1 << 40, n in 0u32..100, seed: u64) {
            let backoff = Backoff { base: Duration::from_nanos(base), max: Duration::from_nanos(max) };
            let model = (u128::from(base) << n.min(40)).min(u128::from(max));
            prop_assert!(backoff.delay(n, &mut fastrand::Rng::with_seed(seed)).as_nanos() <= model);
        }
    }

    #[test]
    fn the_whole_interval_is_used() {
        let mut rng = fastrand::Rng::with_seed(1);
        let waits: Vec<_> = (0..1000).map(|_| Backoff::default().delay(1, &mut rng).as_millis()).collect();
        assert!(waits.iter().any(|w| *w < 5) && waits.iter().any(|w| *w > 45) && waits.iter().all(|w| *w <= 50));
    }
}
