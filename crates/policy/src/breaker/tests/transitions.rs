//! One test for each way from a state to another, and for each way that does not lead there.

use super::*;
use Health::{Busy, Failed, Good, Unknown};

#[test]
fn half_of_twenty_calls_trip_it() {
    let rig = Rig::new(default());
    for _ in 0..9 {
        rig.call(Failed);
        rig.call(Good);
    }
    rig.call(Good);
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Closed, (19, 9)));
    rig.call(Failed);
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(rig.states(), [("open", true)]);
}

#[test]
fn a_good_answer_never_trips_it() {
    let rig = Rig::new(default());
    for _ in 0..10 {
        rig.call(Failed);
        if rig.breaker.counts().0 < 19 {
            rig.call(Good);
        }
    }
    // 10 of 19 failed; the twentieth is good.
    assert_eq!(rig.breaker.counts(), (19, 10));
    rig.call(Good);
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn ten_in_a_row_trip_it_however_few_there_were() {
    let rig = Rig::new(default());
    rig.calls(9, Failed);
    rig.call(Good);
    rig.calls(9, Failed);
    assert_eq!(rig.state(), BreakerState::Closed);
    rig.call(Failed);
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn what_is_older_than_the_window_is_forgotten() {
    let rig = Rig::new(default());
    for _ in 0..9 {
        rig.call(Failed);
        rig.call(Good);
    }
    rig.hand.advance(10 * S);
    rig.calls(2, Failed);
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Closed, (2, 2)));
}

#[test]
fn slow_calls_trip_it_where_that_is_set() {
    let slow = BreakerSettings { slow: Some(SlowCalls::over(100 * MS)), ..default() };
    let rig = Rig::new(slow);
    let call = |took: Duration, health: Health| {
        let pass = rig.breaker.try_acquire().unwrap();
        rig.hand.advance(took);
        pass.record(health);
    };
    for _ in 0..4 {
        call(100 * MS, Good);
    }
    for _ in 0..15 {
        call(101 * MS, Good);
    }
    assert_eq!(rig.state(), BreakerState::Closed);
    call(101 * MS, Good);
    assert_eq!(rig.state(), BreakerState::Open, "16 of 20");
    assert_eq!(rig.breaker.counts(), (0, 0));

    // A slow probe is no success.
    rig.hand.advance(rig.open_for());
    call(101 * MS, Good);
    assert_eq!(rig.state(), BreakerState::Open);

    let rig = Rig::new(default());
    for _ in 0..30 {
        let pass = rig.breaker.try_acquire().unwrap();
        rig.hand.advance(60 * S);
        pass.record(Good);
    }
    assert_eq!(rig.state(), BreakerState::Closed, "not set");
}

#[test]
fn an_answer_of_429_counts_in_the_ratio_only() {
    let rig = Rig::new(default());
    rig.calls(19, Busy);
    assert_eq!(rig.state(), BreakerState::Closed, "no row");
    rig.call(Busy);
    assert_eq!(rig.state(), BreakerState::Open, "a ratio");
    // Nor does it end a row.
    let rig = Rig::new(default());
    rig.calls(9, Failed);
    rig.call(Busy);
    rig.call(Failed);
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn a_call_that_was_cancelled_or_was_never_the_services_counts_nowhere() {
    let rig = Rig::new(default());
    rig.calls(9, Failed);
    rig.calls(100, Unknown);
    (0..100).for_each(|_| drop(rig.breaker.try_acquire().unwrap()));
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Closed, (9, 9)));
    rig.call(Failed);
    assert_eq!(rig.state(), BreakerState::Open, "and the row goes on");
}

#[test]
fn an_open_breaker_says_when_to_come_back_and_probes_then() {
    let rig = Rig::new(default());
    let length = rig.trip();
    rig.hand.advance(length - MS);
    let rejection = rig.breaker.try_acquire().unwrap_err();
    assert_eq!(rejection, Rejection::unsent(crate::Reason::BreakerOpen).after(MS));
    rig.hand.advance(MS);
    let probe = rig.probe();
    assert_eq!(rig.states(), [("open", true), ("half_open", true)]);
    drop(probe);
}

/// tower-resilience#382: a half-open breaker that let any number of calls through at once.
#[test]
fn at_most_three_probe_at_once() {
    let rig = Rig::new(default());
    rig.half_open();
    let mut probes: Vec<_> = (0..3).map(|_| rig.probe()).collect();
    for _ in 0..100 {
        // Who is turned away need not come back before a lease ends.
        assert_eq!(rig.breaker.try_acquire().unwrap_err().retry_after, Some(6 * S));
    }
    assert_eq!(rig.breaker.probes(), 3);
    probes.pop();
    assert_eq!(rig.breaker.probes(), 2);
    probes.push(rig.probe());
    assert!(rig.breaker.try_acquire().is_err());
}

#[test]
fn three_successes_close_it_by_a_ramp() {
    let rig = Rig::new(default());
    rig.half_open();
    rig.probe().record(Good);
    rig.probe().record(Good);
    assert_eq!(rig.state(), BreakerState::HalfOpen);
    rig.probe().record(Good);
    assert_eq!(rig.state(), BreakerState::Ramp);
    rig.hand.advance(10 * S);
    rig.call(Good);
    assert_eq!(rig.state(), BreakerState::Closed);
    assert_eq!(rig.states().iter().map(|(to, _)| *to).collect::<Vec<_>>(), ["open", "half_open", "ramp", "closed"]);
}

#[test]
fn the_ramp_lets_a_quarter_a_half_three_quarters_and_all_pass() {
    let rig = Rig::new(default());
    rig.ramping();
    assert_eq!(rig.passing(100), 25);
    let rejection = rig.breaker.try_acquire().unwrap_err();
    assert!(rejection.retry_after.unwrap() <= 10 * S / 3 + MS, "{rejection:?}");
    rig.hand.advance(10 * S / 3 + MS);
    assert_eq!(rig.passing(100), 50);
    rig.hand.advance(10 * S / 3 + MS);
    assert_eq!(rig.passing(100), 75);
    rig.hand.advance(10 * S / 3 + MS);
    assert_eq!(rig.passing(100), 100);
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn without_a_ramp_it_closes_at_once() {
    let rig = Rig::new(BreakerSettings { ramp: Duration::ZERO, ..default() });
    rig.ramping();
    assert_eq!(rig.passing(10), 10);
    assert_eq!(rig.state(), BreakerState::Closed);
}

#[test]
fn the_ramp_trips_as_a_closed_one_does() {
    let rig = Rig::new(default());
    rig.ramping();
    rig.hand.advance(9 * S);
    let mut failed = 0;
    while rig.state() == BreakerState::Ramp {
        if let Ok(pass) = rig.breaker.try_acquire() {
            pass.record(Failed);
            failed += 1;
        }
    }
    assert_eq!((failed, rig.state()), (10, BreakerState::Open));
    let length = rig.open_for();
    assert!(length >= 8 * S && length <= 12 * S, "twice as long: {length:?}");
}

#[test]
fn what_began_in_the_ramp_still_counts_when_that_is_over() {
    let rig = Rig::new(default());
    rig.ramping();
    rig.hand.advance(9 * S);
    let passes: Vec<_> = std::iter::repeat_with(|| rig.breaker.try_acquire()).flatten().take(10).collect();
    rig.hand.advance(S);
    rig.call(Good);
    assert_eq!(rig.state(), BreakerState::Closed);
    passes.into_iter().for_each(|pass| pass.record(Failed));
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn one_failure_of_a_probe_opens_it_again_and_for_longer() {
    for health in [Failed, Busy] {
        let rig = Rig::new(default());
        rig.half_open();
        rig.probe().record(Good);
        rig.probe().record(health);
        assert_eq!(rig.state(), BreakerState::Open);
        let length = rig.open_for();
        assert!(length >= 8 * S && length <= 12 * S, "{length:?}");
        rig.hand.advance(length);
        // The success before is forgotten.
        rig.probe().record(Good);
        rig.probe().record(Good);
        assert_eq!(rig.state(), BreakerState::HalfOpen);
    }
}

/// resilience4j#935, Sentinel#1638: half-open for ever, because a probe never came back.
#[test]
fn a_probe_that_never_comes_back_is_a_failure_when_its_lease_ends() {
    let rig = Rig::new(default());
    rig.half_open();
    (0..3).for_each(|_| std::mem::forget(rig.probe()));
    rig.hand.advance(6 * S - MS);
    assert_eq!(rig.breaker.try_acquire().unwrap_err().retry_after, Some(MS));
    rig.hand.advance(MS);
    let rejection = rig.breaker.try_acquire().unwrap_err();
    assert_eq!(rig.state(), BreakerState::Open);
    assert_eq!(rig.breaker.probes(), 0);
    rig.hand.advance(rejection.retry_after.unwrap());
    (0..3).for_each(|_| rig.probe().record(Good));
    assert_eq!(rig.state(), BreakerState::Ramp);
}

#[test]
fn what_comes_after_the_lease_is_no_success() {
    for health in [Good, Failed, Unknown] {
        let rig = Rig::new(default());
        rig.half_open();
        let late = rig.probe();
        rig.hand.advance(6 * S);
        late.record(health);
        assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::Open, 0));
    }
    // Nor does the success of another hide it.
    let rig = Rig::new(default());
    rig.half_open();
    std::mem::forget(rig.probe());
    rig.hand.advance(5 * S);
    let other = rig.probe();
    rig.hand.advance(S);
    other.record(Good);
    assert_eq!(rig.state(), BreakerState::Open);
}

#[test]
fn a_probe_that_is_dropped_in_time_is_given_back() {
    let rig = Rig::new(default());
    rig.half_open();
    for n in 0..100 {
        let probe = rig.probe();
        if n % 2 == 0 {
            drop(probe);
        } else {
            probe.record(Unknown);
        }
        assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 0));
    }
}

#[test]
fn answers_from_before_a_change_are_void() {
    let rig = Rig::new(default());
    let old: Vec<_> = (0..40).map(|_| rig.breaker.try_acquire().unwrap()).collect();
    let mut old = old.into_iter();
    rig.half_open();
    let probe = rig.probe();
    // Neither do failures of the closed state fail the half-open one, nor do successes close it.
    old.by_ref().take(10).for_each(|pass| pass.record(Failed));
    old.by_ref().take(10).for_each(|pass| pass.record(Good));
    assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 1));
    let stale = rig.probe();
    probe.record(Failed);
    assert_eq!(rig.state(), BreakerState::Open);
    rig.hand.advance(rig.open_for());
    let fresh = rig.probe();
    stale.record(Failed);
    assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 1), "of an older half-open state");
    fresh.record(Good);
    (0..2).for_each(|_| rig.probe().record(Good));
    rig.hand.advance(10 * S);
    rig.call(Good);
    old.for_each(|pass| pass.record(Failed));
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Closed, (1, 0)));
}

#[test]
fn each_attempt_that_fails_doubles_the_time_up_to_its_maximum() {
    let mut at_most = Vec::new();
    for seed in 0..50 {
        let rig = Rig::seeded(default(), seed);
        let mut length = rig.trip();
        for n in 0..40u32 {
            let full = (5 * S).saturating_mul(1 << n.min(20)).min(60 * S);
            assert!(length >= full.mul_f64(0.8) && length <= full.mul_f64(1.2).min(60 * S), "{n}: {length:?}");
            rig.hand.advance(length);
            rig.probe().record(Failed);
            length = rig.open_for();
        }
        at_most.push(length);
    }
    // At the maximum, too, those that tripped together do not probe together.
    at_most.sort_unstable();
    at_most.dedup();
    assert!(at_most.len() > 45, "{}", at_most.len());
}

#[test]
fn a_full_recovery_forgets_the_doubling() {
    let rig = Rig::new(default());
    for _ in 0..3 {
        rig.half_open();
        rig.probe().record(Failed);
        rig.hand.advance(rig.open_for());
        (0..3).for_each(|_| rig.probe().record(Good));
        rig.hand.advance(10 * S);
        rig.call(Good);
        assert_eq!(rig.state(), BreakerState::Closed);
    }
    assert!(rig.trip() <= 6 * S);
}
