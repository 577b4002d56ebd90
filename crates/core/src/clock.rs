//! Wall time as a dependency. Intervals use `tokio::time::Instant`, which tests pause and simulations steer;
//! what must survive the process (deadlines in the journal, times on events) is epoch milliseconds from here.

use tokio::time::Instant;

/// Milliseconds since the Unix epoch.
pub type WallMs = i64;

/// Where wall time comes from.
pub trait Clock: Send + Sync + 'static {
    /// Now, in milliseconds since the Unix epoch.
    fn wall_ms(&self) -> WallMs;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> WallMs {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
        let now = std::time::SystemTime::now();
        // Before 1970 only on a machine whose clock is broken: zero is as good an answer as any.
        now.duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as WallMs)
    }
}

/// A wall clock that follows tokio's clock from a fixed start: under paused or simulated time it repeats exactly.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    epoch_ms: WallMs,
    start: Instant,
}

impl TokioClock {
    /// A clock that shows `epoch_ms` now. Must be made inside a tokio runtime whose time it is to follow.
    pub fn starting_at(epoch_ms: WallMs) -> Self {
        Self { epoch_ms, start: Instant::now() }
    }
}

impl Clock for TokioClock {
    fn wall_ms(&self) -> WallMs {
        self.epoch_ms.saturating_add(self.start.elapsed().as_millis() as WallMs)
    }
}
