use mainstay_core::{Share, Span};
use proptest::prelude::*;

use super::*;
use crate::history::{Ending, History, Op};
use crate::report::Recovery;
use crate::sample::{op, secs};
use crate::spec::Windows;

fn windows(window: f64, hold: f64) -> Windows {
    Windows { window: Span(secs(window)), hold: Span(secs(hold)), good: Share::percent(99), ..Windows::default() }
}

/// Twenty operations per second for ten seconds; bad where `bad` says so.
fn run(bad: impl Fn(f64) -> bool) -> Vec<Op> {
    let one = |n: u64| {
        let due = n as f64 * 0.05;
        let mut op = op(n, secs(due));
        op.good = !bad(due);
        op
    };
    (0..200).map(one).collect()
}

/// A fault at 2 s that lasts until `until`, looked at until `horizon`.
fn check(bad: impl Fn(f64) -> bool, until: f64, horizon: f64, expected: Recovery) {
    let timeline = Timeline::new(&run(bad));
    assert_eq!(timeline.recovery(secs(2.0), secs(until), secs(horizon), &windows(1.0, 2.0)), expected);
}

#[test]
fn recovery_is_the_first_good_window_that_holds() {
    check(|_| false, 2.0, 10.0, Recovery::NoHarm);
    check(|t| (2.0..3.2).contains(&t), 2.0, 10.0, Recovery::After(1250));
    check(|t| (2.0..2.1).contains(&t) || (4.0..4.1).contains(&t), 2.0, 10.0, Recovery::After(2250));
    check(|t| t >= 2.0, 2.0, 10.0, Recovery::NotRecovered);
}

#[test]
fn the_hold_reaches_to_the_end_of_the_fault() {
    check(|t| (6.0..6.5).contains(&t), 2.0, 10.0, Recovery::NoHarm);
    check(|t| (6.0..6.5).contains(&t), 7.0, 10.0, Recovery::After(4500));
}

#[test]
fn what_comes_after_the_horizon_is_the_next_faults_doing() {
    check(|t| t >= 4.0, 2.0, 4.0, Recovery::NoHarm);
    check(|t| (2.0..3.5).contains(&t), 2.0, 4.0, Recovery::NotRecovered);
    check(|_| false, 2.0, 2.9, Recovery::NotMeasured);
}

#[test]
fn nobody_served_is_not_served_well() {
    let silent: Vec<Op> = run(|_| false).into_iter().filter(|op| op.due < secs(3.0) || op.due >= secs(5.0)).collect();
    let found = Timeline::new(&silent).recovery(secs(2.0), secs(2.0), secs(10.0), &windows(1.0, 2.0));
    assert_eq!(found, Recovery::After(2250));
}

#[test]
fn late_and_unsent_arrivals_are_bad_and_those_without_a_connection_waited_for_nothing() {
    let mut ops = run(|_| false);
    for op in &mut ops[100..150] {
        (op.ending, op.good, op.done) = (Ending::NotConnected, false, Some(op.due + secs(0.000_1)));
    }
    for op in &mut ops[150..160] {
        (op.ending, op.good, op.sent, op.done) = (Ending::Unsent, false, None, None);
    }
    let history = History { operations: ops };
    let parts = Parts { warm: secs(0.0), first_fault: secs(5.0), cleared: secs(8.0), ended: secs(10.0) };
    let levels = levels(&history, parts);
    assert_eq!(levels.baseline.availability, Some(1.0));
    assert_eq!((levels.faults.arrivals, levels.faults.good), (60, 0));
    assert_eq!((levels.after.arrivals, levels.after.good), (40, 40));
    assert_eq!(levels.all.availability, Some(0.7));
    assert_eq!(levels.goodput_ratio, Some(0.0));
    assert_eq!(levels.faults.p99_ms, None, "nobody of them waited");
    let load = load_report(&history, parts);
    assert_eq!((load.due, load.sent, load.unsent, load.not_connected, load.met_faults), (200, 190, 10, 50, 60));
}

#[test]
fn waiting_counts_from_when_it_was_due() {
    let mut ops = run(|_| false);
    for op in &mut ops {
        op.sent = Some(op.due + secs(0.5));
        op.done = Some(op.due + secs(0.6));
    }
    let history = History { operations: ops };
    let parts = Parts { warm: secs(0.0), first_fault: secs(10.0), cleared: secs(10.0), ended: secs(10.0) };
    let p50 = levels(&history, parts).baseline.p50_ms.unwrap();
    assert!((p50 - 600.0).abs() < 1.0, "{p50}");
    assert_eq!(load_report(&history, parts).late, 200);
}

proptest! {
    #[test]
    fn every_arrival_is_counted_once(dues in prop::collection::vec((0u64..20_000, any::<bool>()), 0..300)) {
        let ops: Vec<Op> = dues.iter().enumerate().map(|(n, (due, good))| {
            let mut op = op(n as u64, Duration::from_millis(*due));
            op.good = *good;
            op
        }).collect();
        let timeline = Timeline::new(&ops);
        let good = ops.iter().filter(|op| op.good).count() as u64;
        prop_assert_eq!(timeline.count(Duration::ZERO, secs(20.0)), (ops.len() as u64, good));
        let (a, b) = (timeline.count(Duration::ZERO, secs(7.3)), timeline.count(secs(7.3), secs(20.0)));
        prop_assert_eq!((a.0 + b.0, a.1 + b.1), (ops.len() as u64, good));
        let history = History { operations: ops };
        let series = series(&history, secs(20.0));
        prop_assert_eq!(series.iter().map(|s| u64::from(s.due)).sum::<u64>(), history.operations.len() as u64);
        prop_assert_eq!(series.iter().map(|s| u64::from(s.good)).sum::<u64>(), good);
        let parts = Parts { warm: secs(1.0), first_fault: secs(5.0), cleared: secs(9.0), ended: secs(20.0) };
        let l = levels(&history, parts);
        prop_assert_eq!(l.baseline.arrivals + l.faults.arrivals + l.after.arrivals, l.all.arrivals);
    }

    /// Whatever happened: a recovery is within the horizon, its window is good, and every window that starts before it
    /// leads to a bad one.
    #[test]
    fn a_recovery_is_where_it_says(bad in prop::collection::vec(any::<bool>(), 40), until in 2u32..9) {
        let ops = run(|t| bad[(t / 0.25) as usize]);
        let timeline = Timeline::new(&ops);
        let w = windows(1.0, 1.0);
        let found = timeline.recovery(secs(2.0), secs(f64::from(until)), secs(10.0), &w);
        if let Recovery::After(ms) = found {
            let at = secs(2.0) + Duration::from_millis(ms);
            prop_assert!(at + secs(1.0) <= secs(10.0));
            prop_assert!(timeline.stays_good(at, (at + secs(2.0)).min(secs(10.0)), &w));
            let before = at.saturating_sub(SERIES_STEP);
            prop_assert!(!timeline.stays_good(before, before + secs(1.0), &w));
        }
    }

    #[test]
    fn the_same_run_without_the_bad_answers_never_recovers_later(bad in prop::collection::vec(any::<bool>(), 40), cut in 8usize..40) {
        let time = |bad: Vec<bool>| {
            let timeline = Timeline::new(&run(|t| bad[(t / 0.25) as usize]));
            match timeline.recovery(secs(2.0), secs(2.0), secs(10.0), &windows(1.0, 1.0)) {
                Recovery::NoHarm => 0,
                Recovery::After(ms) => ms,
                _ => u64::MAX,
            }
        };
        let mut better = bad.clone();
        better[cut..].fill(false);
        prop_assert!(time(better) <= time(bad));
    }
}
