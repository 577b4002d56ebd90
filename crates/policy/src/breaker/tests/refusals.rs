//! What cannot work is refused, and what is extreme does not panic.

use proptest::prelude::*;

use super::*;

#[test]
fn settings_that_cannot_work_are_refused_all_at_once() {
    let bad = BreakerSettings {
        window: 9 * MS,
        min_requests: 0,
        error_rate: Share::NONE,
        consecutive: 0,
        slow: Some(SlowCalls { over: Duration::ZERO, share: Share::NONE }),
        open_for: Duration::ZERO,
        open_max: Duration::MAX,
        probes: 0,
        probe_lease: Duration::ZERO,
        ramp: Duration::MAX,
        mode: Mode::Off,
    };
    let error = bad.check().unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let expected = [
        "breaker.window",
        "breaker.min_requests",
        "breaker.error_rate",
        "breaker.consecutive",
        "breaker.open_for",
        "breaker.open_max",
        "breaker.probes",
        "breaker.probe_lease",
        "breaker.ramp",
        "breaker.slow.over",
        "breaker.slow.share",
    ];
    assert_eq!(fields, expected);
    assert!(Breaker::new(bad, &Env::new("payment")).is_err());
    let field = |settings: BreakerSettings| settings.check().unwrap_err().problems()[0].field.clone();
    assert_eq!(field(BreakerSettings { open_max: S, ..default() }), "breaker.open_max");
    assert_eq!(field(BreakerSettings { probes: u32::MAX, ..default() }), "breaker.probes");
    assert_eq!(field(BreakerSettings { window: Duration::MAX, ..default() }), "breaker.window");
    assert_eq!(default().check(), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_they_stand_in_the_file() {
    let text = r#"{"error_rate": "40%", "window": "30s", "min_requests": 5, "consecutive": 3, "open_for": "1s",
        "slow": {"over": "250ms"}, "mode": "shadow"}"#;
    let expected = BreakerSettings {
        error_rate: Share::percent(40).unwrap(),
        window: 30 * S,
        min_requests: 5,
        consecutive: 3,
        open_for: S,
        slow: Some(SlowCalls::over(250 * MS)),
        mode: Mode::Shadow,
        ..default()
    };
    let read: BreakerSettings = serde_json::from_str(text).unwrap();
    assert_eq!(read, expected);
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<BreakerSettings>(&again).unwrap(), expected);
    assert!(serde_json::from_str::<BreakerSettings>(r#"{"threshold": 3}"#).is_err());
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        Just(crate::settings::DURATION_MAX),
        (0u64..100_000).prop_map(Duration::from_millis),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

fn any_count() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), Just(u32::MAX), 0u32..200]
}

proptest! {
    /// Any settings are refused or work, under any clock.
    #[test]
    fn nothing_extreme_panics(
        durations in prop::array::uniform5(any_duration()),
        counts in prop::array::uniform3(any_count()),
        points in 0u16..=10_000,
        slow in prop::option::of(any_duration()),
        mode in 0u8..3,
        calls in prop::collection::vec((any::<u64>(), 0u8..6), 1..60),
    ) {
        let [window, open_for, open_max, probe_lease, ramp] = durations;
        let settings = BreakerSettings {
            mode: [Mode::Enforce, Mode::Shadow, Mode::Off][mode as usize],
            window, open_for, open_max, probe_lease, ramp,
            min_requests: counts[0],
            consecutive: counts[1],
            probes: counts[2],
            error_rate: Share::basis_points(points).unwrap(),
            slow: slow.map(SlowCalls::over),
        };
        let (clock, hand) = Clock::manual();
        let Ok(breaker) = Breaker::new(settings, &Env::new("payment").with_clock(clock)) else { return Ok(()) };
        let mut passes = Vec::new();
        for (now, how) in calls {
            hand.set(Moment::from_nanos(now));
            if let Ok(pass) = breaker.try_acquire() {
                passes.push(pass);
            }
            hand.set(Moment::from_nanos(now.rotate_left(17)));
            let health = [Health::Good, Health::Busy, Health::Failed, Health::Unknown];
            match (health.get(how as usize), passes.pop()) {
                (Some(health), Some(pass)) => pass.record(*health),
                (None, Some(pass)) if how == 4 => passes.insert(0, pass),
                _ => {}
            }
            prop_assert!(breaker.probes() <= passes.len());
        }
        drop(passes);
        prop_assert_eq!(breaker.probes(), 0);
    }
}

/// With the longest times and the highest counts that pass the check.
#[test]
fn the_largest_settings_work() {
    let max = crate::settings::DURATION_MAX;
    let rig = Rig::new(BreakerSettings {
        window: max,
        open_for: max,
        open_max: max,
        probe_lease: max,
        ramp: max,
        min_requests: u32::MAX,
        consecutive: 10,
        probes: 100,
        error_rate: Share::ALL,
        slow: Some(SlowCalls { over: Duration::MAX, share: Share::ALL }),
        ..default()
    });
    rig.hand.set(Moment::from_nanos(u64::MAX - 1));
    rig.trip();
    rig.hand.set(Moment::MAX);
    for _ in 0..100 {
        rig.probe().record(Health::Good);
    }
}
