//! What was decided.

use std::time::Duration;

use crate::Event;

/// What an outcome, an interval or a new list of members changed. Those who watch are told each.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change<K> {
    /// An endpoint is out.
    Ejected {
        /// Which.
        key: K,
        /// By which rule.
        cause: EjectionCause,
        /// For how long.
        length: Duration,
        /// Failures in a row, or in the interval; 1 where a probe failed.
        failures: u32,
        /// `false` where it was only detected: the rule is in shadow mode, or as many are out as may be. It is then
        /// told once for the time that the ejection would have lasted.
        enforced: bool,
    },
    /// An endpoint is back, slowly.
    Returned {
        /// Which.
        key: K,
    },
    /// Too few are usable, or enough again.
    Panic {
        /// Whether it begins.
        on: bool,
        /// How many were usable.
        usable: usize,
        /// Of how many.
        of: usize,
        /// `false` in shadow mode.
        enforced: bool,
    },
}

/// Which rule ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EjectionCause {
    /// Failures in a row.
    Consecutive,
    /// It succeeded less often than its peers.
    SuccessRate,
    /// One of two failed too often.
    FailureRate,
    /// It was slower than its peers.
    Latency,
    /// Its probe failed, so it stays out.
    Probe,
}

impl EjectionCause {
    /// As in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::SuccessRate => "success_rate",
            Self::FailureRate => "failure_rate",
            Self::Latency => "latency",
            Self::Probe => "probe",
        }
    }
}

impl<K> Change<K> {
    /// The same for an [`Observer`](crate::Observer), which hears of causes and not of endpoints: there are too many
    /// of those for a metric's label.
    pub const fn event(&self) -> Event {
        match self {
            Self::Ejected { cause, length, enforced, .. } => {
                Event::Ejected { cause: cause.label(), length: *length, enforced: *enforced }
            }
            Self::Returned { .. } => Event::Returned,
            Self::Panic { on, enforced, .. } => Event::Panic { on: *on, enforced: *enforced },
        }
    }
}
