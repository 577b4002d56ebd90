//! When a second copy is due, and what holds it back.

use std::collections::BTreeMap;

use super::*;
use crate::{Breaker, BreakerSettings, BreakerState, BudgetSettings, Hand, Health, Manual, Moment, Rate, RetryBudget};

fn by_percentile() -> HedgeSettings {
    HedgeSettings { mode: Mode::Enforce, ..HedgeSettings::default() }
}

fn hedge(settings: HedgeSettings) -> (Hedge, Env, Hand) {
    let (clock, hand) = Clock::manual();
    let env = Env::new("test").with_clock(clock);
    (Hedge::new(settings, &env).unwrap(), env, hand)
}

/// `n` calls one after the other that take `each`.
fn calls(hedge: &Hedge, hand: &Hand, n: u32, each: Duration) {
    for _ in 0..n {
        let call = hedge.begin();
        hand.advance(each);
        hedge.answered(call);
    }
}

/// Once a second has passed, so that it has looked at its counts again.
fn delay(hedge: &Hedge, hand: &Hand) -> Option<Duration> {
    hand.advance(Duration::from_secs(1));
    hedge.begin().delay()
}

#[test]
fn nothing_is_known_of_fewer_than_a_hundred_calls() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 99, ms(10));
    assert_eq!(delay(&hedge, &hand), None);
    calls(&hedge, &hand, 1, ms(10));
    let delay = delay(&hedge, &hand).unwrap();
    assert!(delay >= ms(10) && delay <= ms(10) * 9 / 8, "{delay:?}");
}

#[test]
fn the_delay_is_the_95th_percentile() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 94, ms(10));
    calls(&hedge, &hand, 3, ms(100));
    calls(&hedge, &hand, 3, ms(1000));
    let delay = delay(&hedge, &hand).unwrap();
    assert!(delay >= ms(100) && delay <= ms(100) * 9 / 8, "{delay:?}");
}

#[test]
fn the_delay_is_at_least_a_millisecond() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 200, Duration::from_nanos(10));
    assert_eq!(delay(&hedge, &hand), Some(ms(1)));
}

#[test]
fn what_it_knows_it_forgets_after_half_a_minute() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 200, ms(1));
    assert!(delay(&hedge, &hand).is_some());
    hand.advance(Duration::from_secs(30));
    assert_eq!(hedge.begin().delay(), None);
}

#[test]
fn when_everything_is_slow_that_is_the_percentile() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 1000, ms(10));
    assert!(delay(&hedge, &hand).unwrap() < ms(12));
    calls(&hedge, &hand, 150, ms(100));
    assert!(delay(&hedge, &hand).unwrap() >= ms(100));
}

#[test]
fn a_hedged_call_does_not_pull_down_its_own_threshold() {
    let (hedge, _, hand) = hedge(HedgeSettings { budget: Share::ALL, ..by_percentile() });
    calls(&hedge, &hand, 1000, ms(10));
    let mut delays = vec![delay(&hedge, &hand).unwrap()];
    // One call in ten would take a second, and is saved by its second copy 10 ms after that was sent.
    for round in 0..5000 {
        let call = hedge.begin();
        let slow = round % 10 == 0;
        hand.advance(if slow { (call.delay().unwrap() + ms(10)).min(ms(1000)) } else { ms(10) });
        hedge.answered(call);
        delays.push(call.delay().unwrap());
    }
    assert!(delays.iter().all(|delay| (ms(10)..=ms(1125)).contains(delay)), "{delays:?}");
}

/// Over bursts, lulls and slow phases, at every moment.
#[test]
fn the_extra_load_is_never_above_one_percent() {
    let (hedge, _, hand) = hedge(by_percentile());
    let mut rng = fastrand::Rng::with_seed(42);
    let (mut calls, mut hedges, mut due) = (0u64, 0u64, 0u64);
    let (mut now, mut running) = (Duration::ZERO, BTreeMap::new());
    for phase in 0..200 {
        let gap = Duration::from_micros(rng.u64(1..50_000));
        let slow_percent = if phase % 3 == 0 { 60 } else { 10 };
        for _ in 0..rng.u32(1..1000) {
            let call = hedge.begin();
            calls += 1;
            let took = ms(if rng.u32(0..100) < slow_percent { rng.u64(100..3000) } else { rng.u64(1..20) });
            if call.delay().is_some_and(|delay| took > delay) {
                due += 1;
                hedges += u64::from(hedge.try_acquire().is_some());
                assert!(hedges * 100 <= calls, "{hedges} of {calls}");
            }
            running.insert((now + took, calls), call);
            now += gap;
            hand.advance(gap);
            while let Some(ended) = running.first_entry().filter(|call| call.key().0 <= now) {
                hedge.answered(ended.remove());
            }
        }
        let lull = ms(rng.u64(0..20_000));
        now += lull;
        hand.advance(lull);
    }
    assert!(due > calls / 50, "there was much to hedge: {due} of {calls}");
    assert!(hedges > calls / 400, "and some of it was: {hedges} of {calls}");
}

#[test]
fn calls_that_are_forgotten_afford_nothing() {
    let (hedge, _, hand) = hedge(by_percentile());
    calls(&hedge, &hand, 200, ms(1));
    assert!(hedge.try_acquire().is_some());
    hand.advance(Duration::from_secs(31));
    assert!(hedge.try_acquire().is_none());
}

#[test]
fn a_quarter_of_the_shared_budget_is_left_to_the_retries() {
    let (hedge, env, _) = hedge(HedgeSettings { budget: Share::ALL, ..by_percentile() });
    let ten = BudgetSettings { share: Share::NONE, floor: Rate::per_second(1), concurrent_min: 100 };
    let budget = RetryBudget::new(ten, &env).unwrap();
    let hedge = hedge.sharing(budget.clone());
    (0..1000).for_each(|_| {
        hedge.begin();
    });
    let mut permits = vec![];
    while let Some(mut permit) = hedge.try_acquire() {
        permit.sent();
        permits.push(permit);
    }
    // Of ten tokens eight are gone, then there are two: below a quarter.
    assert_eq!((permits.len(), budget.remaining_milli()), (8, 2000));
    assert!(budget.try_withdraw().is_some());
    drop(permits);
    assert_eq!(budget.retrying(), 0);
}

#[test]
fn nothing_is_doubled_while_the_breaker_is_not_closed() {
    let (hedge, env, hand) = hedge(HedgeSettings { budget: Share::ALL, ..by_percentile() });
    let breaker = Breaker::new(BreakerSettings::default(), &env).unwrap();
    let hedge = hedge.behind(breaker.clone());
    calls(&hedge, &hand, 10, ms(1));
    let may = |state| {
        assert_eq!(breaker.state(), state);
        hedge.try_acquire().is_some()
    };
    assert!(may(BreakerState::Closed));
    for _ in 0..10 {
        breaker.try_acquire().unwrap().record(Health::Failed);
    }
    assert!(!may(BreakerState::Open));
    hand.advance(Duration::from_secs(7));
    calls(&hedge, &hand, 10, ms(1));
    let probe = breaker.try_acquire().unwrap();
    assert!(!may(BreakerState::HalfOpen));
    probe.record(Health::Good);
    for _ in 0..2 {
        breaker.try_acquire().unwrap().record(Health::Good);
    }
    assert!(!may(BreakerState::Ramp));
    breaker.force(Manual::Open);
    assert!(!may(BreakerState::ForcedOpen));
    breaker.force(Manual::MetricsOnly);
    assert!(may(BreakerState::MetricsOnly));
}

#[test]
fn threads_do_not_afford_one_copy_twice() {
    let (hedge, _, _) = hedge(by_percentile());
    (0..1000).for_each(|_| {
        hedge.begin();
    });
    let sent = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    if hedge.try_acquire().is_some() {
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(sent.into_inner(), 10);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refused = |change: &dyn Fn(&mut HedgeSettings)| {
        let mut settings = by_percentile();
        change(&mut settings);
        let error = Hedge::new(settings, &Env::new("test")).unwrap_err();
        assert_eq!(error.problems().len(), 1);
        error.problems()[0].field.clone()
    };
    for after in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        assert_eq!(refused(&|s| s.after = Some(after)), "hedge.after");
        assert_eq!(refused(&|s| s.min_delay = after), "hedge.min_delay");
    }
    for window in [Duration::ZERO, ms(9), Duration::MAX] {
        assert_eq!(refused(&|s| s.window = window), "hedge.window");
    }
    for share in [Share::NONE, Share::ALL] {
        assert_eq!(refused(&|s| s.percentile = share), "hedge.percentile");
    }
    assert_eq!(refused(&|s| s.budget = Share::NONE), "hedge.budget");
    assert_eq!(refused(&|s| s.min_samples = 0), "hedge.min_samples");
    assert_eq!(HedgeSettings::default().check(), Ok(()));
}

#[test]
fn extreme_settings_and_clocks_never_panic() {
    let long = crate::settings::DURATION_MAX;
    let extremes = [
        HedgeSettings { window: ms(10), min_samples: 1, budget: Share::ALL, ..by_percentile() },
        HedgeSettings { window: long, min_delay: long, min_samples: u32::MAX, ..by_percentile() },
        HedgeSettings { after: Some(long), percentile: Share::basis_points(1).unwrap(), ..by_percentile() },
        HedgeSettings { percentile: Share::basis_points(9999).unwrap(), min_samples: 1, ..by_percentile() },
    ];
    for settings in extremes {
        let (hedge, _, hand) = hedge(settings);
        let early = hedge.begin();
        for at in [0, 1, u64::MAX, u64::MAX - 1, 0, u64::MAX / 2] {
            hand.set(Moment::from_nanos(at));
            let call = hedge.begin();
            hedge.answered(call);
            hedge.answered(early);
            drop(hedge.try_acquire());
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_section_that_is_written_acts_and_one_that_is_not_does_not() {
    let read = |text| serde_json::from_str::<HedgeSettings>(text);
    let settings = read(r#"{"after": "50ms", "budget": "0.5%"}"#).unwrap();
    let half = Share::basis_points(50).unwrap();
    assert_eq!(settings, HedgeSettings { after: Some(ms(50)), budget: half, ..by_percentile() });
    assert_eq!(read("{}").unwrap(), by_percentile());
    assert_eq!(HedgeSettings::default().mode, Mode::Off);
    assert!(read(r#"{"afer": "50ms"}"#).is_err());
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(read(&text).unwrap(), settings);
    assert_eq!(read(&serde_json::to_string(&by_percentile()).unwrap()).unwrap(), by_percentile());
}
