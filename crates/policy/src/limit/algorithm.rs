//! How a limit follows from what was measured: pure functions of (state, sample, limit).
//!
//! Sources: `gradient2` and `aimd` as in Netflix's *concurrency-limits* (`Gradient2Limit`, `AIMDLimit`); `vegas` after
//! Brakmo and Peterson, *TCP Vegas* (1995), as that library applies it to calls (`VegasLimit`); the rule of `aimd` is
//! Chiu and Jain's (1989). There a sample is one call; here it is a window of at least 50, because one slow call says
//! nothing.
//!
//! None of them looks for the latency without load by letting the limit drop for a while. Where that is done, each
//! measurement sheds calls of a service that is well (envoy#8337, #38338).

use super::Algorithm;

/// Share of the difference by which the limit moves in a window.
const SMOOTHING: f64 = 0.2;
/// Windows over which the baseline averages.
const LONG_WINDOWS: f64 = 600.0;
/// Windows of which the baseline is the plain mean before it becomes a moving one.
const WARM_UP: f64 = 10.0;
/// How much slower than the baseline is still no slowness.
const TOLERANCE: f64 = 1.5;
/// The limit never falls faster than by half, before smoothing.
const GRADIENT_MIN: f64 = 0.5;
/// A baseline more than this above what is measured comes from a load that has gone…
const STALE_RATIO: f64 = 2.0;
/// …and is taken down by this factor in each window.
const STALE_DECAY: f64 = 0.95;
/// What is left of the limit where `aimd` meets an overload.
const BACKOFF_RATIO: f64 = 0.9;
/// Windows after which `vegas` forgets a lowest latency, at the latest twice as many.
const LOWEST_WINDOWS: u32 = 300;
/// Calls that may queue in the service, in units of log₁₀(limit): below the first the limit grows, above the second
/// it shrinks.
const VEGAS_ALPHA: f64 = 3.0;
const VEGAS_BETA: f64 = 6.0;

/// One window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// The latency that a tenth of the calls were above, in nanoseconds; `None` where too few were measured.
    pub(super) p90: Option<f64>,
    /// The most calls that were in flight.
    pub(super) peak: u32,
    /// Whether the service turned calls away or let them time out, enough of them to be no accident.
    pub(super) overloaded: bool,
}

/// What has been learnt.
#[derive(Debug, Clone)]
pub(super) struct Estimator {
    algorithm: Algorithm,
    max_healthy: Option<f64>,
    long: Average,
    lowest: Lowest,
}

impl Estimator {
    /// `max_healthy` in nanoseconds.
    pub(super) const fn new(algorithm: Algorithm, max_healthy: Option<f64>) -> Self {
        Self { algorithm, max_healthy, long: Average { count: 0.0, value: 0.0 }, lowest: Lowest::NONE }
    }

    /// The latency that is usual, in nanoseconds, as far as it is known.
    pub(super) fn baseline(&self) -> Option<f64> {
        if self.long.count > 0.0 { Some(self.long.value) } else { self.max_healthy }
    }

    /// The limit after `sample`.
    pub(super) fn next(&mut self, limit: f64, sample: &Sample) -> f64 {
        let healthy = sample.p90.zip(self.max_healthy).is_none_or(|(p90, max)| p90 <= max);
        // What is measured while the service is not well must not become what is usual.
        if let Some(p90) = sample.p90.filter(|_| healthy) {
            self.long.add(p90);
            self.lowest.add(p90);
        }
        let used = f64::from(sample.peak) * 2.0 >= limit;
        match self.algorithm {
            Algorithm::Gradient2 => self.gradient2(limit, sample, used),
            Algorithm::Aimd if sample.overloaded || !healthy => limit * BACKOFF_RATIO,
            Algorithm::Aimd if used => limit + 1.0,
            Algorithm::Aimd => limit,
            Algorithm::Vegas => self.vegas(limit, sample, used),
        }
    }

    fn gradient2(&mut self, limit: f64, sample: &Sample, used: bool) -> f64 {
        let gradient = match (sample.p90, self.baseline()) {
            _ if sample.overloaded => GRADIENT_MIN,
            // A limit that is not used is no cause of what is measured.
            _ if !used => return limit,
            (Some(p90), Some(baseline)) => {
                if baseline > p90 * STALE_RATIO {
                    self.long.value *= STALE_DECAY;
                }
                (TOLERANCE * baseline / p90).clamp(GRADIENT_MIN, 1.0)
            }
            _ => return limit,
        };
        let target = limit * gradient + limit.sqrt();
        limit * (1.0 - SMOOTHING) + target * SMOOTHING
    }

    fn vegas(&self, limit: f64, sample: &Sample, used: bool) -> f64 {
        let unit = limit.log10().max(1.0);
        let lowest = self.lowest.value().or(self.max_healthy);
        let (p90, lowest) = match (sample.p90, lowest) {
            _ if sample.overloaded => return limit - unit,
            _ if !used => return limit,
            (Some(p90), Some(lowest)) => (p90, lowest),
            _ => return limit,
        };
        let queued = (limit * (1.0 - lowest / p90)).ceil();
        if queued <= unit {
            limit + VEGAS_BETA * unit
        } else if queued < VEGAS_ALPHA * unit {
            limit + unit
        } else if queued > VEGAS_BETA * unit {
            limit - unit
        } else {
            limit
        }
    }
}

/// The mean of the first values, then an exponential one.
#[derive(Debug, Clone, Copy)]
struct Average {
    count: f64,
    value: f64,
}

impl Average {
    fn add(&mut self, value: f64) {
        if self.count < WARM_UP {
            self.count += 1.0;
            self.value += (value - self.value) / self.count;
        } else {
            self.value += (value - self.value) * 2.0 / (LONG_WINDOWS + 1.0);
        }
    }
}

/// The lowest of the last windows: of the present stretch and the one before.
#[derive(Debug, Clone, Copy)]
struct Lowest {
    before: f64,
    present: f64,
    windows: u32,
}

impl Lowest {
    const NONE: Self = Self { before: f64::INFINITY, present: f64::INFINITY, windows: 0 };

    fn add(&mut self, value: f64) {
        if self.windows == LOWEST_WINDOWS {
            *self = Self { before: self.present, ..Self::NONE };
        }
        self.windows += 1;
        self.present = self.present.min(value);
    }

    fn value(&self) -> Option<f64> {
        let lowest = self.before.min(self.present);
        lowest.is_finite().then_some(lowest)
    }
}
