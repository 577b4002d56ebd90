//! The names of the states.

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerState {
    /// Calls pass and are counted.
    Closed,
    /// Closed again: a growing share of the calls passes.
    Ramp,
    /// No call passes.
    Open,
    /// A few calls find out how the service is.
    HalfOpen,
    /// No call passes until somebody says otherwise.
    ForcedOpen,
    /// All calls pass, and nothing is counted.
    Disabled,
    /// All calls pass and are counted.
    MetricsOnly,
}

impl BreakerState {
    /// As in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ramp => "ramp",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }

    const ALL: [Self; 7] =
        [Self::Closed, Self::Ramp, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];

    /// Of the lower three bits of a word.
    #[inline]
    pub(super) const fn of(word: u64) -> Self {
        let n = word & 7;
        Self::ALL[if n < 7 { n as usize } else { 6 }]
    }
}

/// What a person wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Manual {
    /// Let it work by itself, from closed.
    Auto,
    /// Let nothing pass.
    Open,
    /// Let everything pass and count nothing.
    Disabled,
    /// Let everything pass, and count.
    MetricsOnly,
}
