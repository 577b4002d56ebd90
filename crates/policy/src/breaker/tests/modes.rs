//! What a person or a setting makes of it.

use Health::{Failed, Good};

use super::*;

#[test]
fn by_hand() {
    let rig = Rig::new(default());
    rig.breaker.force(Manual::Open);
    rig.hand.advance(1_000_000 * S);
    let rejection = rig.breaker.try_acquire().unwrap_err();
    assert_eq!((rejection.retry_after, rig.state()), (None, BreakerState::ForcedOpen), "nobody knows for how long");

    rig.breaker.force(Manual::Disabled);
    rig.calls(100, Failed);
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Disabled, (0, 0)));

    rig.breaker.force(Manual::MetricsOnly);
    rig.calls(100, Failed);
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::MetricsOnly, (100, 100)));

    rig.breaker.force(Manual::Auto);
    assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Closed, (0, 0)));
    rig.half_open();
    let probe = rig.probe();
    rig.breaker.force(Manual::Auto);
    probe.record(Failed);
    assert_eq!(rig.state(), BreakerState::Closed, "the probe was of before");
    assert!(rig.trip() <= 6 * S, "and so was the doubling");
}

#[test]
fn in_shadow_it_goes_through_the_states_and_turns_nobody_away() {
    let rig = Rig::new(BreakerSettings { mode: Mode::Shadow, ..default() });
    rig.calls(10, Failed);
    assert_eq!(rig.state(), BreakerState::Open);
    rig.calls(50, Failed);
    let heard = rig.heard();
    assert!(
        heard.iter().all(|event| matches!(
            event,
            Event::State { enforced: false, .. } | Event::Rejected { enforced: false, .. }
        ))
    );
    assert_eq!(heard.len(), 51);
    rig.hand.advance(6 * S);
    (0..3).for_each(|_| rig.probe().record(Good));
    assert_eq!(rig.state(), BreakerState::Ramp);
    assert_eq!(rig.passing(100), 100);
    // What would have been kept away shows what the service would not have been asked, so it does not count.
    assert_eq!(rig.breaker.counts(), (25, 0));
    rig.breaker.force(Manual::Open);
    rig.call(Good);
}

#[test]
fn switched_off_it_does_not_exist() {
    let rig = Rig::new(BreakerSettings { mode: Mode::Off, ..default() });
    for manual in [Manual::Auto, Manual::Open, Manual::MetricsOnly] {
        rig.calls(100, Failed);
        assert_eq!((rig.state(), rig.breaker.counts()), (BreakerState::Disabled, (0, 0)));
        rig.breaker.force(manual);
    }
    assert_eq!(rig.heard(), []);
}

#[test]
fn rejections_are_told_and_passing_calls_are_not() {
    let rig = Rig::new(default());
    rig.calls(5, Good);
    assert_eq!(rig.heard(), []);
    rig.trip();
    rig.heard();
    rig.breaker.try_acquire().unwrap_err();
    assert_eq!(rig.heard(), [Event::Rejected { reason: crate::Reason::BreakerOpen, enforced: true }]);
}
