//! One probe of one process: when a row of equal results becomes a verdict.
//!
//! A single failed probe says little: a garbage collection, a lost packet, a busy machine. So a verdict changes only
//! after `failure_threshold` failures, or `success_threshold` successes, in a row. Kubernetes has taught everybody these
//! rules, and they are kept to the letter (kubelet, `pkg/kubelet/prober/worker.go`):
//!
//! - before the first verdict *ready* counts as failed (no traffic to what was never seen working), *live* as
//!   succeeded (nothing is killed before it was seen broken), *startup* as unknown;
//! - an error of the prober itself says nothing about the process and is thrown away: it neither counts nor breaks a row;
//! - a failed *live* or *startup* verdict means a restart, so the row starts from zero, for the next process;
//! - *live* and *startup* need exactly one success.
//!
//! Kubernetes stops probing after such a verdict, since the container is about to go. Here a restart can be withheld
//! (common cause, disruption budget), so later samples are still taken, and a success takes the verdict back.

use std::time::Duration;

use serde::Serialize;

/// Longest period, timeout or initial delay that makes sense: an hour.
const SPAN_MAX: Duration = Duration::from_secs(3600);
/// Highest threshold that makes sense.
const THRESHOLD_MAX: u32 = 1000;

/// What a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Has it come up? Until it has, the others do not run.
    Startup,
    /// May it take traffic?
    Ready,
    /// Is it beyond help but by a restart?
    Live,
}

impl Kind {
    /// All kinds, in the order in which they begin to matter.
    pub const ALL: [Kind; 3] = [Kind::Startup, Kind::Ready, Kind::Live];

    /// The word in events and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Startup => "startup",
            Kind::Ready => "ready",
            Kind::Live => "live",
        }
    }

    /// What is assumed before the first verdict.
    pub const fn start_value(self) -> Verdict {
        match self {
            Kind::Startup => Verdict::Unknown,
            Kind::Ready => Verdict::Failure,
            Kind::Live => Verdict::Success,
        }
    }
}

/// How often a probe runs and how many equal results make a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Time from the start of the process to the first probe. Default 0.
    pub initial_delay: Duration,
    /// From one probe to the next. Default 1 s.
    pub period: Duration,
    /// What takes longer has failed. Default 1 s.
    pub timeout: Duration,
    /// Failures in a row that make the verdict *failure*. Default 3.
    pub failure_threshold: u32,
    /// Successes in a row that make the verdict *success*. Default 1; always 1 for live and startup.
    pub success_threshold: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
        }
    }
}

/// Why settings were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A period or timeout of zero, or a span that is too long.
    #[error("{kind} probe: {what} must be above zero and at most 1h", kind = .kind.name())]
    Span {
        /// Of which probe.
        kind: Kind,
        /// Which field.
        what: &'static str,
    },
    /// A threshold of zero, or far too high.
    #[error("{kind} probe: {what} must be from 1 to 1000", kind = .kind.name())]
    Threshold {
        /// Of which probe.
        kind: Kind,
        /// Which field.
        what: &'static str,
    },
    /// More than one success asked of a live or startup probe.
    #[error("{kind} probe: success_threshold must be 1; only a ready probe may ask for more", kind = .kind.name())]
    SuccessThreshold {
        /// Of which probe.
        kind: Kind,
    },
}

impl Settings {
    /// Refuses what a probe of this kind cannot have.
    pub fn validate(&self, kind: Kind) -> Result<(), SettingsError> {
        let span = |what, value: Duration, zero_allowed: bool| match value {
            Duration::ZERO if !zero_allowed => Err(SettingsError::Span { kind, what }),
            v if v > SPAN_MAX => Err(SettingsError::Span { kind, what }),
            _ => Ok(()),
        };
        span("initial_delay", self.initial_delay, true)?;
        span("period", self.period, false)?;
        span("timeout", self.timeout, false)?;
        for (what, value) in
            [("failure_threshold", self.failure_threshold), ("success_threshold", self.success_threshold)]
        {
            if value == 0 || value > THRESHOLD_MAX {
                return Err(SettingsError::Threshold { kind, what });
            }
        }
        if kind != Kind::Ready && self.success_threshold != 1 {
            return Err(SettingsError::SuccessThreshold { kind });
        }
        Ok(())
    }

    /// Time from `age` (how long the process runs already) to its first probe.
    ///
    /// A process that was just started is probed as soon as its initial delay is over. One that was adopted after a
    /// restart of the supervisor waits for a random part of `spread` (at most a period) besides, so that the probes of
    /// everything that runs do not fall on one moment, nor stay in step ever after. `draw` is uniform in 0..1.
    pub fn first_after(&self, age: Duration, spread: Duration, draw: f64) -> Duration {
        let jitter = spread.min(self.period).mul_f64(draw.clamp(0.0, 1.0));
        self.initial_delay.saturating_sub(age) + jitter
    }
}

/// One result of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sample {
    /// The process answered as it should.
    Success,
    /// It did not.
    Failure,
    /// The prober could not ask: counts neither way.
    ProberError,
}

/// What the samples so far mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is known yet (startup only).
    Unknown,
    /// It passed.
    Success,
    /// It failed.
    Failure,
}

/// The state machine of one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    kind: Kind,
    settings: Settings,
    verdict: Verdict,
    last: Sample,
    in_row: u32,
}

impl Probe {
    /// Before the first sample. `settings` must have passed [`Settings::validate`] for this kind.
    pub fn new(kind: Kind, settings: Settings) -> Self {
        debug_assert!(settings.validate(kind).is_ok(), "settings are checked where they enter");
        Self { kind, settings, verdict: kind.start_value(), last: Sample::ProberError, in_row: 0 }
    }

    /// Takes one sample; answers the new verdict where it changes.
    pub fn observe(&mut self, sample: Sample) -> Option<Verdict> {
        let (threshold, meant) = match sample {
            Sample::ProberError => return None,
            Sample::Success => (self.settings.success_threshold, Verdict::Success),
            Sample::Failure => (self.settings.failure_threshold, Verdict::Failure),
        };
        if self.last == sample {
            self.in_row = self.in_row.saturating_add(1);
        } else {
            self.last = sample;
            self.in_row = 1;
        }
        if self.in_row < threshold || self.verdict == meant {
            return None;
        }
        self.verdict = meant;
        if self.kind != Kind::Ready && meant == Verdict::Failure {
            self.in_row = 0;
        }
        Some(meant)
    }

    /// What it asks.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it asks.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the samples so far mean.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Failures since the last success.
    pub fn failures_in_row(&self) -> u32 {
        if self.last == Sample::Failure { self.in_row } else { 0 }
    }

    /// Forgets everything: for a new process.
    pub fn reset(&mut self) {
        *self = Self::new(self.kind, self.settings);
    }
}

#[cfg(test)]
mod tests;
