//! Moments, and where they come from.
//!
//! Nothing else in this crate reads a clock: machines get a [`Moment`] as an argument, layers get a [`Clock`] when
//! they are made. So the same code runs against the processor's counter, under tokio's paused time, in a simulation
//! and in a test that turns the hands itself.

use std::fmt;
use std::ops::{Add, AddAssign};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A point in time: nanoseconds since an origin that the clock chooses and never changes.
///
/// 64 bits of nanoseconds last for 584 years. Arithmetic saturates, so that no setting however silly and no clock
/// however broken makes it panic; what lies before the origin is the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Never.
    pub const MAX: Self = Self(u64::MAX);

    /// `nanos` after the origin.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the origin.
    #[inline]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// What has passed since `earlier`; nothing where that is later.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A duration in nanoseconds, at most 584 years.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<Duration> for Moment {
    fn from(since_origin: Duration) -> Self {
        Self(nanos(since_origin))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;
    #[inline]
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for Moment {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

/// Tells the time to layers.
///
/// The default reads the processor's time-stamp counter (by `quanta`, which falls back to the system's monotonic
/// clock where the counter cannot be trusted): less than half of what the system's clock costs. Waiting is always
/// done by tokio's timers; only in a test with paused time must the two agree, so use [`Clock::tokio`] there.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    Counter { counter: quanta::Clock, origin: u64 },
    Tokio { origin: tokio::time::Instant },
    Manual(Arc<AtomicU64>),
    Custom(Arc<dyn Fn() -> Moment + Send + Sync>),
}

impl Clock {
    /// The processor's counter. The first one that is made in a process takes a few milliseconds to calibrate.
    pub fn system() -> Self {
        let counter = quanta::Clock::new();
        Self(Source::Counter { origin: counter.raw(), counter })
    }

    /// Tokio's clock, which tests pause and simulations steer.
    pub fn tokio() -> Self {
        Self(Source::Tokio { origin: tokio::time::Instant::now() })
    }

    /// A clock that stands still until its [`Hand`] moves it.
    pub fn manual() -> (Self, Hand) {
        let nanos = Arc::new(AtomicU64::new(0));
        (Self(Source::Manual(nanos.clone())), Hand(nanos))
    }

    /// Any other clock. It should not go backwards; where it does, policies take it as standing still.
    pub fn custom(now: impl Fn() -> Moment + Send + Sync + 'static) -> Self {
        Self(Source::Custom(Arc::new(now)))
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Moment {
        match &self.0 {
            Source::Counter { counter, origin } => Moment(counter.delta_as_nanos(*origin, counter.raw())),
            other => other.now(),
        }
    }
}

impl Source {
    /// Out of line: what only tests and simulations ask has no place in every caller.
    #[cold]
    fn now(&self) -> Moment {
        match self {
            Source::Counter { counter, origin } => Moment(counter.delta_as_nanos(*origin, counter.raw())),
            Source::Tokio { origin } => Moment::from(origin.elapsed()),
            Source::Manual(nanos) => Moment(nanos.load(Ordering::Relaxed)),
            Source::Custom(now) => now(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Counter { .. } => "Clock(system)",
            Source::Tokio { .. } => "Clock(tokio)",
            Source::Manual(_) => "Clock(manual)",
            Source::Custom(_) => "Clock(custom)",
        })
    }
}

/// Moves a [`Clock::manual`].
#[derive(Debug, Clone)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Forwards.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::Relaxed);
    }

    /// To any moment, also back: a clock that misbehaves is a test, too.
    pub fn set(&self, to: Moment) {
        self.0.store(to.as_nanos(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Moment::MAX + Duration::MAX, Moment::MAX);
        assert_eq!(Moment::ZERO.since(Moment::MAX), Duration::ZERO);
        assert_eq!(Moment::from(Duration::MAX), Moment::MAX);
    }

    #[test]
    fn the_system_clock_runs_forward() {
        let clock = Clock::system();
        let start = clock.now();
        while clock.now() == start {}
        assert!(clock.now() > start);
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_tokio_follows_paused_time() {
        let clock = Clock::tokio();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now().as_secs(), 3);
    }
}
