use std::time::Duration;

use super::*;
use crate::{Mode, Moment, Share};

mod intervals;
mod panic;
mod properties;
mod simulation;

/// A second after the start.
const T: Moment = Moment::from_nanos(1_000_000_000);

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Endpoints 0, 1 and so on, and chance.
struct Rig {
    outlier: Outlier<u32>,
    rng: fastrand::Rng,
}

impl Rig {
    fn new(members: u32) -> Self {
        Self::with(OutlierSettings::default(), members)
    }

    fn with(settings: OutlierSettings, members: u32) -> Self {
        Self::of(settings, (0..members).map(Member::new))
    }

    fn of(settings: OutlierSettings, members: impl IntoIterator<Item = Member<u32>>) -> Self {
        let mut outlier = Outlier::new(settings).unwrap();
        assert_eq!(outlier.set_members(Moment::ZERO, members), []);
        Self { outlier, rng: fastrand::Rng::with_seed(1) }
    }

    fn see(&mut self, now: Moment, key: u32, failure: Failure) -> Vec<Change<u32>> {
        self.outlier.observe(now, &key, Outcome::new(failure, MS), &mut self.rng)
    }

    fn probed(&mut self, now: Moment, key: u32, failure: Failure, probe: Probe) -> Vec<Change<u32>> {
        self.outlier.observe(now, &key, Outcome::new(failure, MS).of_probe(Some(probe)), &mut self.rng)
    }

    /// Connections that fail.
    fn fail(&mut self, now: Moment, key: u32, times: u32) -> Vec<Change<u32>> {
        (0..times).flat_map(|_| self.see(now, key, Failure::Local)).collect()
    }

    /// Fails it out, and says for how long.
    fn eject(&mut self, now: Moment, key: u32) -> Duration {
        match self.fail(now, key, 5)[..] {
            [Change::Ejected { key: out, length, cause: EjectionCause::Consecutive, failures: 5, enforced: true }] => {
                assert_eq!(out, key);
                length
            }
            ref other => panic!("{other:?}"),
        }
    }

    fn admission(&self, now: Moment, key: u32) -> Admission {
        self.outlier.pool(now).admission(&key)
    }

    fn out(&self) -> Vec<u32> {
        self.outlier.ejected().copied().collect()
    }
}

/// Ejections that were carried out.
fn enforced(changes: &[Change<u32>]) -> Vec<(u32, EjectionCause)> {
    let ejected = changes.iter().filter_map(|change| match change {
        Change::Ejected { key, cause, enforced: true, .. } => Some((*key, *cause)),
        _ => None,
    });
    ejected.collect()
}

/// Ejections that were only detected.
fn detected(changes: &[Change<u32>]) -> Vec<(u32, EjectionCause)> {
    let detected = changes.iter().filter_map(|change| match change {
        Change::Ejected { key, cause, enforced: false, .. } => Some((*key, *cause)),
        _ => None,
    });
    detected.collect()
}

/// envoy#26877, envoy#27066: percentages that eject one of one, or one of three at 10 %.
#[test]
fn the_cap_of_small_clusters() {
    for (max, members, out_max) in [
        (50, 1, 0),
        (50, 2, 1),
        (50, 3, 1),
        (50, 4, 2),
        (50, 5, 2),
        (50, 10, 5),
        (10, 3, 0),
        (10, 9, 0),
        (10, 10, 1),
        (0, 10, 0),
        (100, 1, 0),
        (100, 3, 3),
    ] {
        let max = Share::percent(max).unwrap();
        let mut rig = Rig::with(OutlierSettings { max, ..OutlierSettings::default() }, members);
        for key in 0..members {
            rig.fail(T, key, 50);
        }
        assert_eq!(rig.out().len(), out_max, "{max} of {members} endpoints");
    }
}

/// istio#34605: half of the cluster may be all of one zone.
#[test]
fn the_cap_is_of_a_zone() {
    let zones = ["a", "a", "a", "a", "b", "b", "c"];
    let members = zones.iter().zip(0..).map(|(zone, key)| Member::new(key).in_zone(*zone));
    let mut rig = Rig::of(OutlierSettings::default(), members);
    for key in (0..7).rev() {
        rig.fail(T, key, 50);
    }
    assert_eq!(rig.out(), [2, 3, 5], "two of four, one of two, none of one");
}

#[test]
fn who_fails_its_checks_takes_no_place_under_the_cap() {
    let members = (0..4).map(|key| Member::new(key).passing(key != 0));
    let mut rig = Rig::of(OutlierSettings::default(), members);
    for key in 0..4 {
        rig.fail(T, key, 50);
    }
    // Of the three that are left one may be out.
    assert_eq!(rig.out().iter().filter(|key| **key != 0).count(), 1);
}

#[test]
fn what_the_cap_holds_back_is_told_once() {
    let mut rig = Rig::new(1);
    let changes = rig.fail(T, 0, 50);
    assert_eq!((detected(&changes), enforced(&changes)), (vec![(0, EjectionCause::Consecutive)], vec![]));
    assert_eq!(rig.fail(T + 9 * S, 0, 50), []);
    assert_eq!(detected(&rig.fail(T + 10 * S, 0, 50)).len(), 1);
    assert_eq!(rig.admission(T, 0), Admission::Full);
}

#[test]
fn rows_are_counted_apart_and_ended_by_a_success() {
    use Failure::{Busy, Local, None as Good, Status};
    let ejects = |failures: &[Failure]| {
        let mut rig = Rig::new(2);
        let changes: Vec<_> = failures.iter().flat_map(|failure| rig.see(T, 0, *failure)).collect();
        enforced(&changes).len()
    };
    assert_eq!(ejects(&[Status, Status, Status, Status, Good, Status, Status, Status, Status]), 0);
    // A failure of our own side does not end the row of bad answers.
    assert_eq!(ejects(&[Status, Status, Status, Status, Local, Status]), 1);
    // An answer of any kind ends the row of missing ones, and 429 does not end that of bad ones.
    assert_eq!(ejects(&[Local, Local, Local, Local, Busy, Local, Local, Local, Local]), 0);
    assert_eq!(ejects(&[Local, Local, Local, Local, Status, Local, Local, Local, Local]), 0);
    assert_eq!(ejects(&[Status, Status, Status, Status, Busy, Status]), 1);
    assert_eq!(ejects(&[Status, Local, Status, Local, Status, Local, Status, Local, Status]), 1);
    assert_eq!(ejects(&[Busy; 50]), 0);
}

#[test]
fn returns_by_one_strict_probe_and_then_slowly() {
    let mut rig = Rig::new(2);
    let length = rig.eject(T, 0);
    assert!(length >= 8 * S && length <= 12 * S);
    let due = T + length;
    let before = Moment::from_nanos(due.as_nanos() - 1);
    assert_eq!(rig.admission(before, 0), Admission::Out);
    assert!(rig.outlier.start_probe(before, &0).is_none());
    assert_eq!(rig.admission(due, 0), Admission::ProbeDue);
    let probe = rig.outlier.start_probe(due, &0).unwrap();
    assert!(rig.outlier.start_probe(due, &0).is_none(), "one probe");
    assert_eq!(rig.admission(due, 0), Admission::Out);
    // A late success of an older call does not pass for the probe's.
    assert_eq!(rig.see(due, 0, Failure::None), []);
    // 429 fails it, and the second ejection is longer.
    let [Change::Ejected { length, cause: EjectionCause::Probe, .. }] = rig.probed(due, 0, Failure::Busy, probe)[..]
    else {
        panic!()
    };
    assert!(length >= 16 * S && length <= 24 * S);
    let due = due + length;
    let probe = rig.outlier.start_probe(due, &0).unwrap();
    assert_eq!(rig.probed(due, 0, Failure::None, probe), [Change::Returned { key: 0 }]);
    assert_eq!(rig.admission(due, 0), Admission::Share(100));
    assert_eq!(rig.admission(due + 5 * S, 0), Admission::Share(550));
    assert_eq!(rig.admission(due + 10 * S, 0), Admission::Full);
    assert!(!rig.outlier.is_calm());
    rig.outlier.tick(due + 10 * S, &mut rig.rng);
    assert!(rig.outlier.is_calm());
}

#[test]
fn who_returns_is_ejected_again_by_a_new_row() {
    let mut rig = Rig::new(2);
    let due = T + rig.eject(T, 0);
    let probe = rig.outlier.start_probe(due, &0).unwrap();
    rig.probed(due, 0, Failure::None, probe);
    assert_eq!(enforced(&rig.fail(due + S, 0, 5)).len(), 1);
}

#[test]
fn a_share_of_the_traffic_is_a_share_of_the_picks() {
    let mut rng = fastrand::Rng::with_seed(2);
    let taken = (0..10_000).filter(|_| Admission::Share(100).accepts(&mut rng)).count();
    assert!((900..1100).contains(&taken), "{taken}");
    assert!(Admission::Full.accepts(&mut rng));
    assert!(!Admission::Out.accepts(&mut rng) && !Admission::ProbeDue.accepts(&mut rng));
}

/// resilience4j#935, Sentinel#1638: half-open for ever, because a probe was lost.
#[test]
fn a_lost_probe_does_not_lock_the_endpoint_out() {
    let mut rig = Rig::new(2);
    rig.eject(T, 0);
    let due = Moment::from(20 * S);
    let lost = rig.outlier.start_probe(due, &0).unwrap();
    assert_eq!(rig.admission(due + 6 * S, 0), Admission::ProbeDue);
    let second = rig.outlier.start_probe(due + 6 * S, &0).unwrap();
    // The lost one comes back after all: void.
    assert_eq!(rig.probed(due + 6 * S, 0, Failure::None, lost), []);
    rig.outlier.give_back(due + 6 * S, &0, lost);
    assert_eq!(rig.admission(due + 6 * S, 0), Admission::Out);
    // The client of the second went away: the next may probe at once.
    rig.outlier.give_back(due + 7 * S, &0, second);
    assert_eq!(rig.admission(due + 7 * S, 0), Admission::ProbeDue);
}

#[test]
fn ejections_grow_to_their_maximum_and_are_forgotten_in_healthy_intervals() {
    let mut rig = Rig::new(2);
    let mut now = T;
    for n in 1u32..=40 {
        let length = rig.eject(now, 0);
        let (low, high) = ((8 * S * n).min(240 * S), (12 * S * n).min(300 * S));
        assert!(length >= low && length <= high, "{n}: {length:?}");
        now += length;
        let probe = rig.outlier.start_probe(now, &0).unwrap();
        rig.probed(now, 0, Failure::None, probe);
    }
    // 40 are remembered; 38 healthy intervals later it is the third.
    now += 380 * S;
    let length = rig.eject(now, 0);
    assert!(length >= 24 * S && length <= 36 * S, "{length:?}");
}

#[test]
fn those_who_fell_together_do_not_return_together() {
    let mut rig = Rig::new(20);
    let mut lengths: Vec<_> = (0..10).map(|key| rig.eject(T, key)).collect();
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() >= 9, "{lengths:?}");
}

#[test]
fn when_members_leave_those_whose_time_is_nearest_come_back() {
    let mut rig = Rig::new(4);
    rig.eject(T, 0);
    rig.eject(T + 5 * S, 1);
    let now = T + 6 * S;
    assert_eq!(rig.outlier.set_members(now, [0, 1, 2]), [Change::Returned { key: 0 }]);
    assert_eq!(rig.out(), [1]);
    assert_eq!(rig.outlier.set_members(now, [1]), [Change::Returned { key: 1 }]);
    assert_eq!(rig.admission(now, 1), Admission::Share(100));
}

#[test]
fn who_stays_keeps_what_is_known_and_who_comes_is_trusted() {
    let mut rig = Rig::new(4);
    rig.eject(T, 2);
    assert_eq!(rig.outlier.set_members(T, [9, 2, 1, 1, 0]), []);
    assert_eq!(rig.out(), [2]);
    assert_eq!((rig.admission(T, 9), rig.admission(T, 3)), (Admission::Full, Admission::Full));
    // Somebody who left and comes again is new.
    rig.outlier.set_members(T, [0, 1, 9]);
    rig.outlier.set_members(T, [0, 1, 2, 9]);
    assert_eq!(rig.out(), [0; 0]);
}

#[test]
fn switched_off_or_to_shadow_it_lets_everybody_return() {
    for mode in [Mode::Off, Mode::Shadow] {
        let mut rig = Rig::new(2);
        rig.eject(T, 0);
        let settings = OutlierSettings { mode, ..OutlierSettings::default() };
        assert_eq!(rig.outlier.set_settings(T, settings), Ok(vec![Change::Returned { key: 0 }]));
        let changes = rig.fail(T + 20 * S, 0, 5);
        assert_eq!(enforced(&changes), []);
        assert_eq!(detected(&changes).len(), usize::from(mode == Mode::Shadow));
    }
}

#[test]
fn a_rule_in_shadow_detects_and_does_not_act() {
    let settings = OutlierSettings { failures_mode: Mode::Shadow, ..OutlierSettings::default() };
    let mut rig = Rig::with(settings, 2);
    let changes = rig.fail(T, 0, 20);
    assert_eq!((enforced(&changes), detected(&changes)), (vec![], vec![(0, EjectionCause::Consecutive)]));
    assert_eq!(rig.admission(T, 0), Admission::Full);
    let settings = OutlierSettings { failures_mode: Mode::Off, ..OutlierSettings::default() };
    assert_eq!(Rig::with(settings, 2).fail(T, 0, 20), []);
}

#[test]
fn settings_that_cannot_work_are_refused_all_at_once() {
    let zero = Duration::ZERO;
    let bad = OutlierSettings {
        failures: 0,
        out_for: zero,
        interval: Duration::MAX,
        min_requests: 0,
        success_rate: SuccessRateRule { deviations: f64::NAN, ..SuccessRateRule::default() },
        failure_rate: FailureRateRule { failures: Share::NONE, ..FailureRateRule::default() },
        latency: LatencyRule { factor: f64::INFINITY, over: Duration::MAX, intervals: 0, mode: Mode::Enforce },
        slow_start: Duration::MAX,
        slow_start_from: Share::NONE,
        probe_lease: zero,
        ..OutlierSettings::default()
    };
    let fields: Vec<_> = bad.check().unwrap_err().problems().iter().map(|p| p.field.clone()).collect();
    let expected = [
        "failures",
        "for",
        "interval",
        "min_requests",
        "success_rate.deviations",
        "failure_rate.failures",
        "latency.factor",
        "latency.over",
        "latency.intervals",
        "slow_start",
        "slow_start_from",
        "probe_lease",
    ];
    assert_eq!(fields, expected.map(|field| format!("eject.{field}")));
    assert!(Outlier::<u32>::new(bad).is_err());
    let mut rig = Rig::new(2);
    assert!(rig.outlier.set_settings(T, bad).is_err());
    rig.eject(T, 0);
    let shorter = OutlierSettings { out_max: S, ..OutlierSettings::default() };
    assert_eq!(shorter.check().unwrap_err().problems()[0].field, "eject.for_max");
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_they_stand_in_the_file() {
    let read: OutlierSettings = serde_json::from_str(
        r#"{"failures": 3, "for": "5s", "max": "30%", "latency": {"mode": "enforce"}, "panic": {"on_panic": "fail"}}"#,
    )
    .unwrap();
    let expected = OutlierSettings {
        failures: 3,
        out_for: 5 * S,
        max: Share::percent(30).unwrap(),
        latency: LatencyRule { mode: Mode::Enforce, ..LatencyRule::default() },
        panic: PanicSettings { on_panic: OnPanic::Fail, ..PanicSettings::default() },
        ..OutlierSettings::default()
    };
    assert_eq!(read, expected);
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<OutlierSettings>(&again).unwrap(), expected);
    assert!(serde_json::from_str::<OutlierSettings>(r#"{"failure": 3}"#).is_err());
}
