//! A type per unit, each written the way a person writes it: `5s`, `20%`, `50/s`, `64KiB`.
//!
//! A bare `10` where a duration belongs is an error: ten what? Shares are kept in basis points, so that
//! `60%` never becomes 100 % on its way through a float.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::serde_as_text;

/// Why a quantity was refused, and how it is written right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {what}: {fix}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    fix: &'static str,
}

fn refuse<T>(text: &str, what: &'static str, fix: &'static str) -> Result<T, UnitError> {
    Err(UnitError { text: text.chars().take(64).collect(), what, fix })
}

/// Splits `text` into its number and its unit.
fn number_and_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..at].parse().ok()?;
    number.is_finite().then(|| (number, text[at..].trim()))
}

/// A duration: `250ms`, `5s`, `10m`, `2h`, `7d`. At most 1000 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FIX: &str = "write a number and its unit, such as 250ms, 5s, 10m, 2h or 7d";
        let Some((number, unit)) = number_and_unit(text) else { return refuse(text, "duration", FIX) };
        let ms = match unit {
            "us" | "µs" => 0.001,
            "ms" => 1.0,
            "s" => 1e3,
            "m" => 60e3,
            "h" => 3_600e3,
            "d" => 86_400e3,
            _ => return refuse(text, "duration", FIX),
        };
        let micros = number * ms * 1e3;
        if micros > 1000.0 * 86_400e9 / 1e3 * 1e3 {
            return refuse(text, "duration", "at most 1000d");
        }
        Ok(Self(Duration::from_micros(micros.round() as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.as_micros();
        let units: [(u128, &str); 5] =
            [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms")];
        if us == 0 {
            return f.write_str("0s");
        }
        for (size, name) in units {
            if us.is_multiple_of(size) {
                return write!(f, "{}{name}", us / size);
            }
        }
        write!(f, "{us}us")
    }
}

/// A part of a whole, 0 % to 100 %, in basis points: `20%`, `0.05%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// Nothing.
    pub const ZERO: Share = Share(0);
    /// All of it.
    pub const ALL: Share = Share(10_000);

    /// `percent` must be 0 to 100.
    pub const fn percent(percent: u16) -> Self {
        assert!(percent <= 100, "a share is at most 100 %");
        Self(percent * 100)
    }

    /// In ten-thousandths; over 10 000 is refused.
    pub const fn basis_points(points: u16) -> Option<Self> {
        if points <= 10_000 { Some(Self(points)) } else { None }
    }

    /// In ten-thousandths, 0 to 10 000.
    pub const fn points(self) -> u16 {
        self.0
    }

    /// 0.0 to 1.0.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// Whether a uniform draw from 0..10_000 falls within the share.
    pub const fn hits(self, draw: u16) -> bool {
        draw < self.0
    }
}

impl FromStr for Share {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FIX: &str = "write a percentage from 0% to 100%, such as 20% or 0.5%";
        match number_and_unit(text) {
            Some((n, "%")) if (0.0..=100.0).contains(&n) => Ok(Self((n * 100.0).round() as u16)),
            _ => refuse(text, "share", FIX),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match rest {
            0 => write!(f, "{whole}%"),
            r if r % 10 == 0 => write!(f, "{whole}.{}%", r / 10),
            r => write!(f, "{whole}.{r:02}%"),
        }
    }
}

/// Events per second: `50/s`, `0.5/s`, `600/m`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Rate(f64);

impl Rate {
    /// Highest rate that can be written.
    pub const PER_SECOND_MAX: f64 = 1e6;

    /// Per second; none for zero, negative, not a number or over [`Rate::PER_SECOND_MAX`].
    pub fn new(per_second: f64) -> Option<Self> {
        (per_second > 0.0 && per_second <= Self::PER_SECOND_MAX).then_some(Self(per_second))
    }

    /// Per second.
    pub fn per_second(self) -> f64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FIX: &str = "write a number per second or minute above zero, such as 50/s or 600/m";
        let per_second = match number_and_unit(text) {
            Some((n, "/s")) => n,
            Some((n, "/m")) => n / 60.0,
            _ => return refuse(text, "rate", FIX),
        };
        Self::new(per_second).map_or_else(|| refuse(text, "rate", FIX), Ok)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

/// A size: `512B`, `64KiB`, `1MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        const FIX: &str = "write a number and its unit, such as 512B, 64KiB, 1MiB or 2GiB";
        let Some((number, unit)) = number_and_unit(text) else { return refuse(text, "size", FIX) };
        let scale = match unit {
            "B" => 1.0,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return refuse(text, "size", FIX),
        };
        Ok(Self((number * scale).round() as u64))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (size, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= size && self.0.is_multiple_of(size) {
                return write!(f, "{}{name}", self.0 / size);
            }
        }
        write!(f, "{}B", self.0)
    }
}

serde_as_text!(Span, Share, Rate, Bytes);

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: FromStr<Err = UnitError> + fmt::Display>(written: &str, shown: &str) {
        match written.parse::<T>() {
            Ok(value) => assert_eq!(value.to_string(), shown, "{written}"),
            Err(e) => panic!("{written}: {e}"),
        }
    }

    #[test]
    fn quantities_read_back() {
        check::<Span>("250ms", "250ms");
        check::<Span>("0.25s", "250ms");
        check::<Span>("90s", "90s");
        check::<Span>("120s", "2m");
        check::<Span>("7d", "7d");
        check::<Span>("0s", "0s");
        check::<Share>("20%", "20%");
        check::<Share>("0.5%", "0.5%");
        check::<Share>("0.05%", "0.05%");
        check::<Rate>("600/m", "10/s");
        check::<Bytes>("65536B", "64KiB");
        check::<Bytes>("3MiB", "3MiB");
    }

    #[test]
    fn a_number_without_its_unit_is_refused() {
        for bad in ["10", "", "s", "-1s", "1 year", "1e9d", "NaNs", "99999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        for bad in ["20", "101%", "-1%", "%", "0.2"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
        for bad in ["50", "0/s", "-1/s", "1/h", "2000000/s"] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        for bad in ["64", "64KB", "1.5"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }
}
