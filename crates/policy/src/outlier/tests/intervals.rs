//! What is judged once in an interval.

use super::*;

/// In the interval that begins at `from`, each endpoint has 20 calls of which so many fail, one after the other in
/// a way that no five of them are in a row.
fn interval(rig: &mut Rig, from: Moment, failed: &[u32]) -> Vec<Change<u32>> {
    let mut changes = Vec::new();
    for n in 0..20u32 {
        for (key, failed) in failed.iter().enumerate() {
            // Spread evenly: up to 16 of 20 leave a success in every five.
            let fails = (n + 1) * failed / 20 > n * failed / 20;
            let failure = if fails { Failure::Status } else { Failure::None };
            changes.extend(rig.see(from + MS * n, key as u32, failure));
        }
    }
    changes.extend(rig.outlier.tick(from + 10 * S, &mut rig.rng));
    changes
}

/// An interval in which endpoints take so many milliseconds.
fn timed(rig: &mut Rig, from: Moment, ms: &[u32]) -> Vec<Change<u32>> {
    let mut changes = Vec::new();
    for _ in 0..20 {
        for (key, ms) in ms.iter().enumerate() {
            let outcome = Outcome::new(Failure::None, MS * *ms);
            changes.extend(rig.outlier.observe(from, &(key as u32), outcome, &mut rig.rng));
        }
    }
    changes.extend(rig.outlier.tick(from + 10 * S, &mut rig.rng));
    changes
}

#[test]
fn one_of_three_that_fails_every_other_call_is_out_after_an_interval() {
    let mut rig = Rig::new(3);
    assert_eq!(enforced(&interval(&mut rig, Moment::ZERO, &[0, 10, 0])), [(1, EjectionCause::SuccessRate)]);
    assert_eq!(rig.out(), [1]);
}

#[test]
fn at_85_percent_nobody_is_out() {
    let mut rig = Rig::new(3);
    assert_eq!(interval(&mut rig, Moment::ZERO, &[0, 3, 0]), []);
    assert_eq!(enforced(&interval(&mut rig, Moment::ZERO + 10 * S, &[0, 4, 0])).len(), 1);
}

#[test]
fn when_all_do_badly_nobody_stands_out() {
    let mut rig = Rig::new(4);
    for n in 0..10 {
        assert_eq!(interval(&mut rig, Moment::ZERO + 10 * S * n, &[10, 11, 9, 10]), []);
    }
}

#[test]
fn fewer_than_twenty_calls_say_nothing() {
    let mut rig = Rig::new(3);
    for n in 0..19 {
        for key in 0..3 {
            let failure = if key == 1 && n % 2 == 0 { Failure::Status } else { Failure::None };
            assert_eq!(rig.see(T, key, failure), []);
        }
    }
    assert_eq!(rig.outlier.tick(T + 10 * S, &mut rig.rng), []);
    // Nor do they add up over intervals.
    for n in 0..10u32 {
        for key in 0..3 {
            let failure = if key == 1 { Failure::Status } else { Failure::None };
            assert_eq!(rig.see(T + 10 * S * n, key, failure), []);
            assert_eq!(rig.see(T + 10 * S * n, key, Failure::None), []);
        }
    }
}

#[test]
fn an_interval_is_judged_by_the_next_call() {
    let mut rig = Rig::new(3);
    for n in 0..20 {
        for key in 0..3 {
            rig.see(T, key, if key == 1 && n % 2 == 0 { Failure::Status } else { Failure::None });
        }
    }
    assert_eq!(rig.see(Moment::ZERO + 9 * S, 0, Failure::None), []);
    assert_eq!(enforced(&rig.see(Moment::ZERO + 10 * S, 0, Failure::None)), [(1, EjectionCause::SuccessRate)]);
}

#[test]
fn one_of_two_that_fails_half_is_out_and_only_the_worse_one() {
    let mut rig = Rig::new(2);
    assert_eq!(interval(&mut rig, Moment::ZERO, &[0, 9]), []);
    assert_eq!(enforced(&interval(&mut rig, T + 10 * S, &[0, 10])), [(1, EjectionCause::FailureRate)]);
    let mut rig = Rig::new(2);
    let changes = interval(&mut rig, Moment::ZERO, &[10, 14]);
    assert_eq!(enforced(&changes), [(1, EjectionCause::FailureRate)]);
    assert_eq!(detected(&changes), [(0, EjectionCause::FailureRate)], "the cap holds it back");
}

#[test]
fn slow_for_three_intervals_in_a_row_is_detected_and_by_default_no_more() {
    let mut rig = Rig::new(3);
    let at = |n: u32| Moment::ZERO + 10 * S * n;
    let slow = [20, 100, 20];
    assert_eq!(timed(&mut rig, at(0), &slow), []);
    assert_eq!(timed(&mut rig, at(1), &slow), []);
    assert_eq!(timed(&mut rig, at(2), &[20, 20, 20]), [], "the row ends");
    assert_eq!(timed(&mut rig, at(3), &slow), []);
    assert_eq!(timed(&mut rig, at(4), &slow), []);
    assert_eq!(detected(&timed(&mut rig, at(5), &slow)), [(1, EjectionCause::Latency)]);
    assert_eq!(rig.out(), [0; 0]);

    let latency = LatencyRule { mode: Mode::Enforce, ..LatencyRule::default() };
    let mut rig = Rig::with(OutlierSettings { latency, ..OutlierSettings::default() }, 3);
    let changes: Vec<_> = (0..3).flat_map(|n| timed(&mut rig, at(n), &slow)).collect();
    assert_eq!(enforced(&changes), [(1, EjectionCause::Latency)]);
    assert_eq!(rig.out(), [1]);
}

#[test]
fn an_interval_without_calls_ends_the_row_of_slow_ones() {
    let mut rig = Rig::new(3);
    let slow = [20, 100, 20];
    for n in 0..6 {
        // Every second interval nobody calls.
        assert_eq!(timed(&mut rig, Moment::ZERO + 20 * S * n, &slow), []);
        assert_eq!(rig.outlier.tick(Moment::ZERO + 20 * S * (n + 1), &mut rig.rng), []);
    }
    // The same where nobody comes by in between.
    let mut rig = Rig::new(3);
    for n in 0..6 {
        for (key, ms) in slow.iter().enumerate().cycle().take(60) {
            let outcome = Outcome::new(Failure::None, MS * *ms);
            let from = Moment::ZERO + 20 * S * n;
            assert_eq!(rig.outlier.observe(from, &(key as u32), outcome, &mut rig.rng), []);
        }
    }
}

#[test]
fn failing_fast_does_not_make_quick() {
    let mut rig = Rig::new(3);
    for n in 0..3u32 {
        let from = Moment::ZERO + 10 * S * n;
        for call in 0..100 {
            let failure = if call % 3 == 0 { Failure::Status } else { Failure::None };
            let took = if call % 3 == 0 { MS } else { MS * 100 };
            rig.outlier.observe(from, &1, Outcome::new(failure, took), &mut rig.rng);
            rig.outlier.observe(from, &0, Outcome::new(failure, MS), &mut rig.rng);
            rig.outlier.observe(from, &2, Outcome::new(failure, MS), &mut rig.rng);
        }
    }
    let changes = rig.outlier.tick(Moment::ZERO + 30 * S, &mut rig.rng);
    assert_eq!(detected(&changes), [(1, EjectionCause::Latency)]);
}

#[test]
fn what_threads_have_counted_apart_is_judged_together() {
    let mut rig = Rig::new(3);
    for _ in 0..4 {
        for key in 0..3 {
            let mut tally = Tally::new();
            for n in 0..5 {
                tally.count(if key == 1 && n % 2 == 0 { Failure::Local } else { Failure::None }, MS);
            }
            assert_eq!(rig.outlier.absorb(T, &key, &mut tally, &mut rig.rng), []);
            assert!(tally.is_empty());
        }
    }
    let changes = rig.outlier.absorb(Moment::ZERO + 10 * S, &0, &mut Tally::new(), &mut rig.rng);
    assert_eq!(enforced(&changes), [(1, EjectionCause::SuccessRate)]);
    // What was counted before it went out says nothing after.
    let mut tally = Tally::new();
    (0..100).for_each(|_| tally.count(Failure::Local, MS));
    rig.outlier.absorb(Moment::ZERO + 11 * S, &1, &mut tally, &mut rig.rng);
    assert!(tally.is_empty());
}

#[test]
fn the_worst_goes_first_where_the_cap_lets_one_go() {
    let settings = OutlierSettings { max: Share::percent(25).unwrap(), ..OutlierSettings::default() };
    let mut rig = Rig::with(settings, 7);
    let changes = interval(&mut rig, Moment::ZERO, &[0, 0, 10, 16, 0, 0, 0]);
    assert_eq!(enforced(&changes), [(3, EjectionCause::SuccessRate)]);
}
