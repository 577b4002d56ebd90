use super::*;

proptest! {
    /// No delay that settings allow panics, or is longer than it may be.
    #[test]
    fn delays_stay_within_their_bounds(
        seed: u64, mean in 1u64..=86_400_000_000_000_000, deviation in 0u64..=86_400_000_000_000_000,
        shape in 0.01f64..1000.0,
    ) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mean, deviation) = (Duration::from_nanos(mean), Duration::from_nanos(deviation));
        let cap = mean.max(deviation);
        for _ in 0..50 {
            let drawn = Delay::Normal { mean, deviation }.draw(&mut rng);
            prop_assert!(drawn <= crate::settings::DURATION_MAX);
            let drawn = Delay::Pareto { scale: mean, shape, cap }.draw(&mut rng);
            prop_assert!(drawn <= cap && drawn + Duration::from_micros(1) + mean / 1_000_000 >= mean);
        }
    }
}

#[test]
fn delays_are_distributed_as_they_say() {
    let mut rng = fastrand::Rng::with_seed(1);
    let ms = Duration::from_millis;
    let mut draw = |delay: Delay| (0..10_000).map(|_| delay.draw(&mut rng)).collect::<Vec<_>>();
    let normal = draw(Delay::Normal { mean: ms(100), deviation: ms(10) });
    let near = normal.iter().filter(|delay| (ms(90)..=ms(110)).contains(delay)).count();
    assert!((6600..7050).contains(&near), "{near}");
    for (shape, tenfold) in [(1.0, 850..1150), (2.0, 60..150)] {
        let pareto = draw(Delay::Pareto { scale: ms(10), shape, cap: SECOND });
        let long = pareto.iter().filter(|delay| **delay > ms(100)).count();
        assert!(tenfold.contains(&long), "{long}");
        assert!(pareto.iter().all(|delay| (ms(10)..=SECOND).contains(delay)));
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let problems = |settings: FaultSettings| match settings.check() {
        Ok(()) => Vec::new(),
        Err(error) => error.problems().iter().map(|problem| problem.field.clone()).collect(),
    };
    let fine = of(FaultKind::Abort);
    assert_eq!(problems(fine), [""; 0]);
    assert_eq!(problems(FaultSettings { share: Share::NONE, ..fine }), ["fault.share"]);
    assert_eq!(problems(FaultSettings { nth: Some(0), ..fine }), ["fault.nth"]);
    let half = Share::percent(50).unwrap();
    assert_eq!(problems(FaultSettings { nth: Some(1), share: half, ..fine }), ["fault.share"]);
    for ttl in [Duration::ZERO, Duration::MAX, Duration::from_secs(86_401)] {
        assert_eq!(problems(FaultSettings { ttl, ..fine }), ["fault.ttl"]);
    }
    for at_most in [0, 101, u32::MAX] {
        assert_eq!(problems(FaultSettings { at_most, ..fine }), ["fault.at_most"]);
    }
    let delay = |delay| problems(FaultSettings { delay: Some(delay), ..FaultSettings::default() });
    for bad in [Duration::ZERO, Duration::MAX] {
        assert_eq!(delay(Delay::Fixed(bad)), ["fault.delay.fixed"]);
        assert_eq!(delay(Delay::Normal { mean: bad, deviation: SECOND }), ["fault.delay.mean"]);
        assert_eq!(delay(Delay::Pareto { scale: SECOND, shape: 1.0, cap: bad }), ["fault.delay.cap"]);
    }
    assert_eq!(delay(Delay::Normal { mean: SECOND, deviation: Duration::MAX }), ["fault.delay.deviation"]);
    for shape in [f64::NAN, f64::INFINITY, 0.0, -1.0, 1e-300] {
        assert_eq!(delay(Delay::Pareto { scale: SECOND, shape, cap: SECOND }), ["fault.delay.shape"]);
    }
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_they_are_written_in_a_file() {
    let read = |text: &str| serde_json::from_str::<FaultSettings>(text);
    assert_eq!(read("{}").unwrap(), FaultSettings::default());
    let settings =
        read(r#"{"delay": {"fixed": "200ms"}, "kind": {"answer": 503}, "share": "20%", "ttl": "5m"}"#).unwrap();
    assert_eq!(settings.delay, Some(Delay::Fixed(Duration::from_millis(200))));
    assert_eq!((settings.kind, settings.ttl), (Some(FaultKind::Answer(503)), Duration::from_secs(300)));
    let kind = |text: &str| read(&format!(r#"{{"kind": "{text}"}}"#)).unwrap().kind;
    assert_eq!(kind("drop_response"), Some(FaultKind::DropResponse));
    let text = r#"{"delay": {"pareto": {"scale": "10ms", "shape": 1.5, "cap": "5s"}}, "nth": 3, "seed": 7}"#;
    let settings = read(text).unwrap();
    assert_eq!(read(&serde_json::to_string(&settings).unwrap()).unwrap(), settings);
    assert!(read(r#"{"kind": "explode"}"#).is_err() && read(r#"{"delays": {}}"#).is_err());
}
