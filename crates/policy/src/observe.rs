//! Telling somebody what the policies decide.
//!
//! Only decisions are told: a call that passes costs nothing here. Each comes with whether it was *enforced*: in
//! shadow mode a policy decides and tells, and does not act, so that its effect can be seen before it has any.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Reason;

/// Hears what policies decide.
///
/// Called on the path of the request, so it must be quick and must not block.
pub trait Observer: Send + Sync + 'static {
    /// `policy` of the instance `name` has decided.
    fn event(&self, name: &str, policy: PolicyKind, event: &Event);
}

macro_rules! policies {
    ($($variant:ident $label:literal;)+) => {
        /// Which policy.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum PolicyKind { $(#[doc = concat!("`", $label, "`")] $variant),+ }

        impl PolicyKind {
            /// As in metrics and settings.
            pub const fn label(self) -> &'static str {
                match self { $(PolicyKind::$variant => $label),+ }
            }
        }
    };
}

policies! {
    Deadline "deadline";
    Timeout "timeout";
    Retry "retry";
    Breaker "breaker";
    Bulkhead "bulkhead";
    Limit "adaptive";
    RateLimit "rate_limit";
    Hedge "hedge";
    Fallback "fallback";
    Fault "fault";
    Outlier "eject";
}

/// What a policy decided.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A call was turned away or cut off.
    Rejected {
        /// Why.
        reason: Reason,
        /// `false` in shadow mode: the call went on.
        enforced: bool,
    },
    /// The state of a breaker changed.
    State {
        /// From.
        from: &'static str,
        /// To.
        to: &'static str,
        /// `false` in shadow mode: the state is what it would be.
        enforced: bool,
    },
    /// A request is sent again.
    Retry {
        /// 1 for the first retry.
        attempt: u8,
        /// How long it waits before.
        wait: Duration,
        /// `false` in shadow mode: it is not.
        enforced: bool,
    },
    /// A request that failed is not sent again.
    NotRetried {
        /// `retry_budget` and the like; `unsafe`, `final`.
        why: &'static str,
    },
    /// A second copy was sent.
    Hedge {
        /// `false` in shadow mode: it was not.
        enforced: bool,
    },
    /// The second copy answered first.
    HedgeWon,
    /// The limit of concurrent calls moved.
    Limit {
        /// From.
        from: u32,
        /// To.
        to: u32,
    },
    /// Something else answered in place of the service.
    Fallback {
        /// `false` in shadow mode: the failure went to the caller.
        enforced: bool,
    },
    /// Nothing else could answer, so the caller has the failure of the service.
    FallbackFailed {
        /// `full`: too many others were being answered. `none`: there was nothing to answer with. `failed`: it failed.
        why: &'static str,
    },
    /// A fault was put into the path of a call.
    Fault {
        /// `delay`, `abort` and so on.
        kind: &'static str,
        /// `false` in shadow mode: the call went on unharmed.
        enforced: bool,
    },
    /// An endpoint is left alone.
    Ejected {
        /// `consecutive`, `success_rate` and so on.
        cause: &'static str,
        /// For how long.
        length: Duration,
        /// `false` in shadow mode, and where as many are out as may be: it was only detected.
        enforced: bool,
    },
    /// An endpoint is back.
    Returned,
    /// Too few endpoints are usable, or enough again.
    Panic {
        /// Whether it begins.
        on: bool,
        /// `false` in shadow mode: ejections are not ignored.
        enforced: bool,
    },
}

impl Event {
    /// A short name, as a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Rejected { .. } => "rejected",
            Self::State { .. } => "state",
            Self::Retry { .. } => "retry",
            Self::NotRetried { .. } => "not_retried",
            Self::Hedge { .. } => "hedge",
            Self::HedgeWon => "hedge_won",
            Self::Limit { .. } => "limit",
            Self::Fallback { .. } => "fallback",
            Self::FallbackFailed { .. } => "fallback_failed",
            Self::Fault { .. } => "fault",
            Self::Ejected { .. } => "ejected",
            Self::Returned => "returned",
            Self::Panic { .. } => "panic",
        }
    }

    /// Which of its kind, as a metric's label: of a closed list of codes. Empty where there is one kind only.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected { reason, .. } => reason.code(),
            Self::State { to, .. } => to,
            Self::NotRetried { why } | Self::FallbackFailed { why } => why,
            Self::Fault { kind, .. } => kind,
            Self::Ejected { cause, .. } => cause,
            Self::Panic { on: true, .. } => "on",
            Self::Panic { on: false, .. } => "off",
            Self::Retry { .. }
            | Self::Hedge { .. }
            | Self::HedgeWon
            | Self::Limit { .. }
            | Self::Fallback { .. }
            | Self::Returned => "",
        }
    }

    /// `false` where it was only detected.
    pub const fn enforced(&self) -> bool {
        match self {
            Self::Rejected { enforced, .. }
            | Self::State { enforced, .. }
            | Self::Retry { enforced, .. }
            | Self::Hedge { enforced }
            | Self::Fallback { enforced }
            | Self::Fault { enforced, .. }
            | Self::Ejected { enforced, .. }
            | Self::Panic { enforced, .. } => *enforced,
            Self::NotRetried { .. }
            | Self::HedgeWon
            | Self::Limit { .. }
            | Self::FallbackFailed { .. }
            | Self::Returned => true,
        }
    }
}

/// Whether a policy acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Mode {
    /// It does not exist.
    Off,
    /// It decides, counts and tells, and does not act.
    Shadow,
    /// It acts.
    #[default]
    Enforce,
}

impl Mode {
    /// Whether it acts.
    pub const fn enforced(self) -> bool {
        matches!(self, Self::Enforce)
    }
}

/// What a policy gets from its surroundings: a name, a clock, a seed, somebody who listens.
#[derive(Clone)]
pub struct Env {
    name: Arc<str>,
    clock: crate::Clock,
    seed: u64,
    observer: Option<Arc<dyn Observer>>,
}

impl Env {
    /// For the policies of `name`, which is the service that they protect: the system's clock, a seed of the
    /// machine's randomness, nobody who listens.
    pub fn new(name: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the default; whoever must repeat a run gives a seed")]
        let seed = fastrand::u64(..);
        Self { name: name.into(), clock: crate::Clock::system(), seed, observer: None }
    }

    /// With this clock.
    #[must_use]
    pub fn with_clock(mut self, clock: crate::Clock) -> Self {
        self.clock = clock;
        self
    }

    /// With randomness from this seed, so that a run repeats.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// With somebody who hears what is decided.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Whose policies these are.
    pub fn name(&self) -> &str {
        &self.name
    }

    #[inline]
    pub(crate) fn clock(&self) -> &crate::Clock {
        &self.clock
    }

    /// A generator for `policy`: what one policy draws does not change what another gets.
    pub(crate) fn rng(&self, policy: PolicyKind) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ (policy as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[inline]
    pub(crate) fn tell(&self, policy: PolicyKind, event: &Event) {
        if let Some(observer) = &self.observer {
            observer.event(&self.name, policy, event);
        }
    }
}

impl Default for Env {
    fn default() -> Self {
        Self::new("default")
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("name", &self.name)
            .field("clock", &self.clock)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
