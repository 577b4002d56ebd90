//! The settings of a whole stack, as a policy of the configuration file has them.

use std::time::Duration;

use crate::settings::{Check, SettingsError};
use crate::{
    Backoff, BreakerSettings, BulkheadSettings, HedgeSettings, LimitSettings, Mode, RateLimitSettings, RetrySettings,
    TimeoutSettings,
};

/// Settings of a [`Policy`](super::Policy). With the feature `serde` they are read as a policy of the configuration
/// file is written: what is left out keeps its default, and a section may be `off`.
///
/// ```
/// # #[cfg(feature = "serde")] {
/// use mainstay_policy::PolicySettings;
/// let settings: PolicySettings = serde_json::from_str(
///     r#"{ "timeout": "3s", "per_try": "1s", "retry": { "attempts": 3, "budget": "10%" }, "breaker": "off" }"#,
/// )?;
/// settings.check()?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "wire::Wire", into = "wire::Wire")
)]
pub struct PolicySettings {
    /// Of a call in all, and of one try. In a file: `timeout`, `per_try`.
    pub timeout: TimeoutSettings,
    /// When a call is repeated.
    pub retry: RetrySettings,
    /// When a service is left alone.
    pub breaker: BreakerSettings,
    /// How many calls run and wait at once.
    pub bulkhead: BulkheadSettings,
    /// How many the service can bear, found out by itself.
    pub adaptive: LimitSettings,
    /// How many calls in a time.
    pub rate_limit: RateLimitSettings,
    /// When a second copy is sent.
    pub hedge: HedgeSettings,
}

impl PolicySettings {
    /// Everything that protects and nothing that a service must be fit for: what a service gets of which nothing is
    /// known.
    pub fn standard() -> Self {
        Self::default()
    }

    /// For services where a late answer is worthless and load must stay small: 3 s in all, 1 s a try, longer pauses
    /// between tries, a breaker that trips at 5 failures in a row, 64 calls at once.
    pub fn careful() -> Self {
        Self {
            timeout: TimeoutSettings {
                total: Duration::from_secs(3),
                per_try: Duration::from_secs(1),
                ..TimeoutSettings::default()
            },
            retry: RetrySettings {
                attempts: 3,
                backoff: Backoff { base: Duration::from_millis(50), max: Duration::from_secs(1) },
                ..RetrySettings::default()
            },
            breaker: BreakerSettings { consecutive: 5, ..BreakerSettings::default() },
            bulkhead: BulkheadSettings { in_flight: 64, queue: 32, ..BulkheadSettings::default() },
            ..Self::default()
        }
    }

    /// For reads that people wait for: 500 ms in all, 200 ms a try, and a second copy of what takes longer than nearly
    /// all others.
    pub fn reading() -> Self {
        Self {
            timeout: TimeoutSettings {
                total: Duration::from_millis(500),
                per_try: Duration::from_millis(200),
                ..TimeoutSettings::default()
            },
            hedge: HedgeSettings { mode: Mode::Enforce, ..HedgeSettings::default() },
            ..Self::default()
        }
    }

    /// Refuses what cannot work: all of it at once, each with its field and the reason.
    pub fn check(&self) -> Result<(), SettingsError> {
        Check::new("policy")
            .and(self.timeout.check())
            .and(self.retry.check())
            .and(self.breaker.check())
            .and(self.bulkhead.check())
            .and(self.adaptive.check())
            .and(self.rate_limit.check())
            .and(self.hedge.check())
            .done()
    }
}

#[cfg(feature = "serde")]
mod wire {
    use std::fmt;
    use std::marker::PhantomData;

    use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
    use serde::{Serialize, Serializer};

    use super::*;

    /// As a policy is written.
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub(super) struct Wire {
        #[serde(with = "crate::unit::text::duration")]
        timeout: Duration,
        #[serde(with = "crate::unit::text::duration")]
        per_try: Duration,
        #[serde(with = "section")]
        retry: RetrySettings,
        #[serde(with = "section")]
        breaker: BreakerSettings,
        #[serde(with = "section")]
        bulkhead: BulkheadSettings,
        #[serde(with = "section")]
        adaptive: LimitSettings,
        #[serde(with = "section")]
        rate_limit: RateLimitSettings,
        #[serde(with = "section")]
        hedge: HedgeSettings,
    }

    impl Default for Wire {
        fn default() -> Self {
            PolicySettings::default().into()
        }
    }

    impl From<Wire> for PolicySettings {
        fn from(wire: Wire) -> Self {
            let Wire { timeout, per_try, retry, breaker, bulkhead, adaptive, rate_limit, hedge } = wire;
            let timeout = TimeoutSettings { total: timeout, per_try, ..TimeoutSettings::default() };
            Self { timeout, retry, breaker, bulkhead, adaptive, rate_limit, hedge }
        }
    }

    impl From<PolicySettings> for Wire {
        fn from(settings: PolicySettings) -> Self {
            let PolicySettings { timeout, retry, breaker, bulkhead, adaptive, rate_limit, hedge } = settings;
            Self {
                timeout: timeout.total,
                per_try: timeout.per_try,
                retry,
                breaker,
                bulkhead,
                adaptive,
                rate_limit,
                hedge,
            }
        }
    }

    /// A section that can be switched off.
    trait Section: Default {
        fn mode(&mut self) -> &mut Mode;
    }

    macro_rules! sections {
        ($($settings:ty),+) => {
            $(impl Section for $settings {
                fn mode(&mut self) -> &mut Mode {
                    &mut self.mode
                }
            })+
        };
    }

    sections!(RetrySettings, BreakerSettings, BulkheadSettings, LimitSettings, RateLimitSettings, HedgeSettings);

    /// Either its keys or `off`.
    mod section {
        use super::*;

        pub(super) fn serialize<T: Serialize, S: Serializer>(section: &T, to: S) -> Result<S::Ok, S::Error> {
            section.serialize(to)
        }

        pub(super) fn deserialize<'de, D, T>(from: D) -> Result<T, D::Error>
        where
            D: Deserializer<'de>,
            T: Section + Deserialize<'de>,
        {
            from.deserialize_any(SectionVisitor(PhantomData))
        }

        struct SectionVisitor<T>(PhantomData<T>);

        impl<'de, T: Section + Deserialize<'de>> Visitor<'de> for SectionVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the keys of the section, or `off`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                if text != "off" {
                    return Err(E::invalid_value(de::Unexpected::Str(text), &self));
                }
                let mut off = T::default();
                *off.mode() = Mode::Off;
                Ok(off)
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<T, E> {
                // Some readers of YAML take a bare `off` for a truth value.
                if on { Err(E::invalid_value(de::Unexpected::Bool(on), &self)) } else { self.visit_str("off") }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
    }
}
