//! Parts of a whole, and how settings are written in a file.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A part of a whole, 0 % to 100 %, in basis points, so that 60 % never becomes 100 % on its way through a float
/// (tower#857).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u16);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(10_000);

    /// `percent` of the whole. `None` above 100.
    pub const fn percent(percent: u16) -> Option<Self> {
        if percent > 100 { None } else { Some(Self(percent * 100)) }
    }

    /// `points` hundredths of a percent. `None` above 10,000.
    pub const fn basis_points(points: u16) -> Option<Self> {
        if points > 10_000 { None } else { Some(Self(points)) }
    }

    /// Hundredths of a percent.
    pub const fn points(self) -> u16 {
        self.0
    }

    /// Whether `part` of `whole` is at least this share.
    pub(crate) const fn reached_by(self, part: u64, whole: u64) -> bool {
        part as u128 * 10_000 >= whole as u128 * self.0 as u128
    }

    /// A share that is known to be one.
    pub(crate) const fn of_percent(percent: u16) -> Self {
        assert!(percent <= 100);
        Self(percent * 100)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 100.0)
    }
}

/// Not a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAShare;

impl fmt::Display for NotAShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share is written in percent, such as 20% or 0.5%, and is at most 100%")
    }
}

impl std::error::Error for NotAShare {}

impl FromStr for Share {
    type Err = NotAShare;
    fn from_str(text: &str) -> Result<Self, NotAShare> {
        let percent: f64 = text.trim().strip_suffix('%').and_then(|n| n.trim_end().parse().ok()).ok_or(NotAShare)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(NotAShare);
        }
        // In range, so the cast keeps the value.
        Ok(Self((percent * 100.0).round() as u16))
    }
}

/// So many in a time: `500/s`, `10/m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

impl Rate {
    /// `count` in a second.
    pub const fn per_second(count: u32) -> Self {
        Self { count, per: Duration::from_secs(1) }
    }
}

const RATE_UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RATE_UNITS.iter().find(|(_, secs)| self.per == Duration::from_secs(*secs)) {
            Some((unit, _)) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{}/{:?}", self.count, self.per),
        }
    }
}

/// Not a rate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotARate;

impl fmt::Display for NotARate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate is a whole number and its time, such as 500/s, 10/m or 1000/h")
    }
}

impl std::error::Error for NotARate {}

impl FromStr for Rate {
    type Err = NotARate;
    fn from_str(text: &str) -> Result<Self, NotARate> {
        let (count, unit) = text.trim().split_once('/').ok_or(NotARate)?;
        let (_, secs) = RATE_UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or(NotARate)?;
        Ok(Self { count: count.trim().parse().map_err(|_| NotARate)?, per: Duration::from_secs(*secs) })
    }
}

/// How settings are written: `5s`, `20%`, `500/s`.
#[cfg(feature = "serde")]
pub(crate) mod text {
    use super::{Rate, Share};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    impl serde::Serialize for Share {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Share {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            std::borrow::Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
        }
    }

    impl serde::Serialize for Rate {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for Rate {
        fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            std::borrow::Cow::<'de, str>::deserialize(from)?.parse().map_err(D::Error::custom)
        }
    }

    /// `#[serde(with = "crate::unit::text::duration")]`
    pub(crate) mod duration {
        use super::{Deserialize, Deserializer, Serializer};
        use serde::de::Error as _;
        use std::time::Duration;

        pub(crate) fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
            to.collect_str(&humantime::format_duration(*duration))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
            let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
            humantime::parse_duration(&text)
                .map_err(|_| D::Error::custom(format_args!("'{text}' is not a duration: write 250ms, 5s or 10m")))
        }
    }

    /// `#[serde(with = "crate::unit::text::duration_option", default)]`
    pub(crate) mod duration_option {
        use super::{Deserialize, Deserializer, Serializer};
        use serde::Serialize;
        use std::time::Duration;

        #[derive(Serialize, Deserialize)]
        struct Wrapped(#[serde(with = "super::duration")] Duration);

        pub(crate) fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
            duration.map(Wrapped).serialize(to)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
            Ok(Option::<Wrapped>::deserialize(from)?.map(|wrapped| wrapped.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_percent_stay_sixty_percent() {
        let share: Share = "60%".parse().unwrap();
        assert_eq!((share.points(), share.to_string().as_str()), (6000, "60%"));
        assert!(share.reached_by(6, 10) && !share.reached_by(5, 9));
        assert_eq!(Share::basis_points(5).map(|s| s.to_string()).as_deref(), Some("0.05%"));
    }

    #[test]
    fn rates_are_read_and_written() {
        for text in ["500/s", "10/m", "1/h", "7/d"] {
            assert_eq!(text.parse::<Rate>().map(|r| r.to_string()).as_deref(), Ok(text));
        }
        for text in ["", "5", "/s", "-1/s", "1.5/s", "5/year", "99999999999/s"] {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "20", "101%", "-1%", "NaN%", "inf%", "1e9%"] {
            assert_eq!(text.parse::<Share>(), Err(NotAShare), "{text}");
        }
        assert!(Share::percent(101).is_none() && Share::basis_points(10_001).is_none());
    }
}
