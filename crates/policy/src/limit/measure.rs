//! What calls tell of the service, and what follows from it once a window.

use std::time::Duration;

use super::LimitSettings;
use super::algorithm::{Estimator, Sample};
use super::samples::{Samples, Sums};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::time::nanos;
use crate::{Health, Moment};

/// The shortest window.
const WINDOW: Duration = Duration::from_secs(1);
/// What a window must have of measured calls, or of calls that were turned away.
const SAMPLES_MIN: u64 = 50;
/// The longest window: who has fewer calls than [`SAMPLES_MIN`] in this time has no need of a limit that learns.
const WINDOW_MAX: Duration = Duration::from_secs(60);
/// One call of so many that was turned away or timed out makes an overload; fewer are an accident.
const DROPS_ONE_OF: u64 = 20;

#[derive(Debug)]
pub(super) struct Measure {
    samples: Samples,
    // The most calls in flight in this window. Written only when it grows.
    peak: AtomicU32,
    // What a failure must have taken to say something about load, in nanoseconds.
    baseline: AtomicU64,
    // When the window can be closed.
    due: AtomicU64,
    learnt: Mutex<Learnt>,
}

#[derive(Debug)]
struct Learnt {
    estimator: Estimator,
    limit: f64,
    min: f64,
    max: f64,
    before: Sums,
    begun: Moment,
}

impl Measure {
    pub(super) fn new(settings: &LimitSettings, now: Moment) -> Self {
        let max_healthy = settings.max_healthy.map(nanos);
        Self {
            samples: Samples::new(),
            peak: AtomicU32::new(0),
            baseline: AtomicU64::new(max_healthy.unwrap_or(u64::MAX)),
            due: AtomicU64::new((now + WINDOW).as_nanos()),
            learnt: Mutex::new(Learnt {
                estimator: Estimator::new(settings.algorithm, max_healthy.map(|nanos| nanos as f64)),
                limit: f64::from(settings.start),
                min: f64::from(settings.floor()),
                max: f64::from(settings.max),
                before: Sums::default(),
                begun: now,
            }),
        }
    }

    /// A call has begun, as one of `in_flight`.
    #[inline]
    pub(super) fn runs(&self, in_flight: u32) {
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
    }

    /// A call has ended.
    #[inline]
    pub(super) fn ended(&self, took: Duration, health: Health) {
        match health {
            Health::Good => self.samples.took(took),
            Health::Busy => self.samples.busy(),
            // A failure that comes sooner than the usual answer says nothing about load. One that takes longer does.
            Health::Failed if nanos(took) >= self.baseline.load(Ordering::Relaxed) => self.samples.late(took),
            Health::Failed | Health::Unknown => {}
        }
    }

    /// Whether it is time to look at the window.
    #[inline]
    pub(super) fn is_due(&self, now: Moment) -> bool {
        now.as_nanos() >= self.due.load(Ordering::Relaxed)
    }

    /// Looks at the window, and says what limit follows if there is enough in it.
    pub(super) fn close(&self, now: Moment, in_flight: u32) -> Option<u32> {
        let mut learnt = lock(&self.learnt);
        if !self.is_due(now) {
            return None;
        }
        self.due.store((now + WINDOW).as_nanos(), Ordering::Relaxed);
        let sums = self.samples.sums();
        let window = sums.since(&learnt.before);
        let (measured, dropped) = (window.measured(), window.dropped());
        let enough = measured >= SAMPLES_MIN || dropped >= SAMPLES_MIN;
        if !enough && now.since(learnt.begun) < WINDOW_MAX {
            return None;
        }
        learnt.before = sums;
        learnt.begun = now;
        let peak = self.peak.swap(in_flight, Ordering::Relaxed);
        if !enough {
            return None;
        }
        let sample = Sample {
            p90: window.p90().filter(|_| measured >= SAMPLES_MIN),
            peak,
            overloaded: dropped * DROPS_ONE_OF >= window.all(),
        };
        let Learnt { estimator, limit, min, max, .. } = &mut *learnt;
        *limit = estimator.next(*limit, &sample).clamp(*min, *max);
        if let Some(baseline) = estimator.baseline() {
            self.baseline.store(baseline as u64, Ordering::Relaxed);
        }
        // Between `min` and `max`, which are whole numbers of 32 bits.
        Some(*limit as u32)
    }
}
