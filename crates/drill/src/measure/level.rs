//! Availability, goodput and waiting times of parts of a run.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::SERIES_STEP;
use crate::history::{Ending, History, Op};
use crate::load::LATE_MS_MIN;
use crate::report::{Level, Levels, LoadReport, Sample};

/// Longest waiting time that is told apart, in µs.
const WAIT_US_MAX: u64 = 300_000_000;

/// Samples of a series: an hour's worth.
const SAMPLES_MAX: usize = 20_000;

/// Where the parts of a run begin and end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts {
    pub(crate) warm: Duration,
    pub(crate) first_fault: Duration,
    pub(crate) cleared: Duration,
    pub(crate) ended: Duration,
}

/// The service level of each part.
pub(crate) fn levels(history: &History, parts: Parts) -> Levels {
    let of = |from: Duration, to: Duration| level(history, from, to);
    let baseline = of(parts.warm, parts.first_fault);
    let faults = of(parts.first_fault, parts.cleared);
    let measured = baseline.goodput > 0.0 && faults.arrivals > 0;
    Levels {
        goodput_ratio: measured.then(|| faults.goodput / baseline.goodput),
        after: of(parts.cleared, parts.ended),
        all: of(parts.warm, parts.ended),
        baseline,
        faults,
    }
}

fn level(history: &History, from: Duration, to: Duration) -> Level {
    let ops = || history.operations.iter().filter(|op| op.due >= from && op.due < to);
    let arrivals = ops().count() as u64;
    let good = ops().filter(|op| op.good).count() as u64;
    let seconds = to.saturating_sub(from).as_secs_f64();
    let waits = waits(ops());
    let ms = |us: u64| us as f64 / 1000.0;
    let quantile = |q: f64| (!waits.is_empty()).then(|| ms(waits.value_at_quantile(q)));
    Level {
        arrivals,
        good,
        availability: (arrivals > 0).then(|| good as f64 / arrivals as f64),
        goodput: if seconds > 0.0 { good as f64 / seconds } else { 0.0 },
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        max_ms: (!waits.is_empty()).then(|| ms(waits.max())),
    }
}

/// How long users waited: until the answer, or until they gave up. Those who got no connection are left out: they did
/// not wait, and would make the worst moments look the fastest.
fn waits<'a>(ops: impl Iterator<Item = &'a Op>) -> Histogram<u32> {
    let mut waits = Histogram::new_with_bounds(1, WAIT_US_MAX, 3).expect("the bounds are sound");
    for op in ops.filter(|op| !matches!(op.ending, Ending::NotConnected | Ending::Unsent)) {
        if let Some(wait) = op.latency() {
            waits.saturating_record((wait.as_micros() as u64).clamp(1, WAIT_US_MAX));
        }
    }
    waits
}

/// The curve.
pub(crate) fn series(history: &History, ended: Duration) -> Vec<Sample> {
    let step = SERIES_STEP.as_millis() as u64;
    let count = ((ended.as_millis() as u64).div_ceil(step) as usize).min(SAMPLES_MAX);
    let mut steps: Vec<Vec<&Op>> = vec![Vec::new(); count];
    for op in &history.operations {
        if let Some(ops) = steps.get_mut((op.due.as_millis() as u64 / step) as usize) {
            ops.push(op);
        }
    }
    let sample = |(n, ops): (usize, &Vec<&Op>)| {
        let waits = waits(ops.iter().copied());
        Sample {
            at_ms: n as u64 * step,
            due: ops.len() as u32,
            good: ops.iter().filter(|op| op.good).count() as u32,
            p99_ms: (!waits.is_empty()).then(|| waits.value_at_quantile(0.99) as f64 / 1000.0),
        }
    };
    steps.iter().enumerate().map(sample).collect()
}

/// What became of the load.
pub(crate) fn load_report(history: &History, parts: Parts) -> LoadReport {
    let mut report = LoadReport::default();
    let mut keys = std::collections::HashSet::new();
    for op in &history.operations {
        report.due += 1;
        report.sent += u64::from(op.sent.is_some());
        let late = op.sent.is_some_and(|sent| sent.saturating_sub(op.due).as_millis() >= u128::from(LATE_MS_MIN));
        report.late += u64::from(late);
        report.resent += u64::from(!keys.insert(&*op.key));
        report.met_faults += u64::from(op.due >= parts.first_fault && op.due < parts.cleared);
        *match op.ending {
            Ending::Done => &mut report.done,
            Ending::Accepted => &mut report.accepted,
            Ending::Refused => &mut report.refused,
            Ending::Rejected => &mut report.rejected,
            Ending::NotConnected => &mut report.not_connected,
            Ending::Unknown => &mut report.unknown,
            Ending::Unsent => &mut report.unsent,
        } += 1;
    }
    report
}
