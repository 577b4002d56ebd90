use proptest::prelude::*;

use super::*;

/// A second after the start.
const T: Moment = Moment::from_nanos(1_000_000_000);

const S: Duration = Duration::from_secs(1);

fn outlier(members: u32) -> (Outlier<u32>, fastrand::Rng) {
    let mut outlier = Outlier::new(OutlierOptions::default());
    outlier.set_members(Moment::ZERO, 0..members);
    (outlier, fastrand::Rng::with_seed(1))
}

fn fail(outlier: &mut Outlier<u32>, rng: &mut fastrand::Rng, now: Moment, key: u32, times: u32) -> Option<Change> {
    (0..times).filter_map(|_| outlier.observe(now, &key, Failure::Local, None, rng)).next()
}

#[test]
fn the_cap_of_small_clusters() {
    for (members, out_max) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (10, 5)] {
        let (mut outlier, mut rng) = outlier(members);
        for key in 0..members {
            fail(&mut outlier, &mut rng, T, key, 50);
        }
        assert_eq!(outlier.ejected().count(), out_max, "{members} endpoints");
    }
}

#[test]
fn rows_are_counted_apart_and_ended_by_a_success() {
    let (mut outlier, mut rng) = outlier(2);
    let mut see = |failures: &[Failure]| {
        let changes: Vec<_> = failures.iter().filter_map(|f| outlier.observe(T, &0, *f, None, &mut rng)).collect();
        changes
    };
    use Failure::{Busy, Local, None as Good, Status};
    assert_eq!(see(&[Status, Status, Status, Status, Good, Status, Status, Status, Status]), []);
    // A failure of our own side does not end the row of bad answers.
    assert!(matches!(see(&[Local, Status])[..], [Change::Ejected { failures: 5, .. }]));

    let (mut outlier, mut rng) = two();
    let mut see =
        |failures: &[Failure]| failures.iter().filter_map(|f| outlier.observe(T, &0, *f, None, &mut rng)).count();
    assert_eq!(see(&[Local, Local, Local, Local, Busy, Local, Local, Local, Local]), 0);
    assert_eq!(see(&[Local]), 1);
}

#[test]
fn returns_by_one_strict_probe_and_then_slowly() {
    let (mut outlier, mut rng) = outlier(2);
    let Some(Change::Ejected { length, failures: 5 }) = fail(&mut outlier, &mut rng, T, 0, 5) else { panic!() };
    assert!(length >= 8 * S && length <= 12 * S);
    let due = T + length;
    assert_eq!(outlier.admission(Moment::from_nanos(due.as_nanos() - 1), &0), Admission::Out);
    assert!(outlier.start_probe(Moment::from_nanos(due.as_nanos() - 1), &0).is_none());
    assert_eq!(outlier.admission(due, &0), Admission::ProbeDue);
    let probe = outlier.start_probe(due, &0).unwrap();
    assert!(outlier.start_probe(due, &0).is_none(), "one probe");
    assert_eq!(outlier.admission(due, &0), Admission::Out);
    // A late success of an older call does not pass for the probe's.
    assert_eq!(outlier.observe(due, &0, Failure::None, None, &mut rng), None);
    // 429 fails it, and the second ejection is longer.
    let Some(Change::Ejected { length, .. }) = outlier.observe(due, &0, Failure::Busy, Some(probe), &mut rng) else {
        panic!()
    };
    assert!(length >= 16 * S && length <= 24 * S);
    let due = due + length;
    let probe = outlier.start_probe(due, &0).unwrap();
    assert_eq!(outlier.observe(due, &0, Failure::None, Some(probe), &mut rng), Some(Change::Returned));
    assert_eq!(outlier.admission(due, &0), Admission::Share(100));
    assert_eq!(outlier.admission(due + 5 * S, &0), Admission::Share(550));
    assert_eq!(outlier.admission(due + 10 * S, &0), Admission::Full);
    assert!(!outlier.is_calm());
    outlier.observe(due + 10 * S, &0, Failure::None, None, &mut rng);
    assert!(outlier.is_calm());
}

#[test]
fn a_lost_probe_does_not_lock_the_endpoint_out() {
    let (mut outlier, mut rng) = outlier(2);
    fail(&mut outlier, &mut rng, T, 0, 5);
    let due = Moment::from(20 * S);
    let lost = outlier.start_probe(due, &0).unwrap();
    assert_eq!(outlier.admission(due + 6 * S, &0), Admission::ProbeDue);
    let second = outlier.start_probe(due + 6 * S, &0).unwrap();
    // The lost one comes back after all: void.
    assert_eq!(outlier.observe(due + 6 * S, &0, Failure::None, Some(lost), &mut rng), None);
    outlier.give_back(due + 6 * S, &0, lost);
    assert_eq!(outlier.admission(due + 6 * S, &0), Admission::Out);
    // The client of the second went away: the next may probe at once.
    outlier.give_back(due + 7 * S, &0, second);
    assert_eq!(outlier.admission(due + 7 * S, &0), Admission::ProbeDue);
}

#[test]
fn ejections_are_forgotten_in_healthy_intervals() {
    let (mut outlier, mut rng) = outlier(2);
    let mut now = T;
    for n in 1u32..=3 {
        let Some(Change::Ejected { length, .. }) = fail(&mut outlier, &mut rng, now, 0, 5) else { panic!() };
        assert!(length >= 8 * S * n && length <= 12 * S * n, "{n}: {length:?}");
        now += length;
        let probe = outlier.start_probe(now, &0).unwrap();
        outlier.observe(now, &0, Failure::None, Some(probe), &mut rng);
    }
    now += 30 * S;
    let Some(Change::Ejected { length, .. }) = fail(&mut outlier, &mut rng, now, 0, 5) else { panic!() };
    assert!(length <= 12 * S);
}

#[test]
fn when_members_leave_those_who_are_out_come_back() {
    let (mut outlier, mut rng) = outlier(4);
    fail(&mut outlier, &mut rng, T, 0, 5);
    fail(&mut outlier, &mut rng, T + S, 1, 5);
    assert_eq!(outlier.set_members(T + 2 * S, [0, 1, 2]).len(), 1);
    assert_eq!(outlier.set_members(T + 2 * S, [0]).len(), usize::from(outlier.ejected().next().is_some()));
    assert_eq!(outlier.ejected().count(), 0);
}

proptest! {
    /// Whatever happens: the cap holds, an endpoint alone is never out, and whoever is out gets a probe in the end.
    #[test]
    fn never_too_many_and_never_for_ever(
        members in 1u32..6,
        calls in proptest::collection::vec((0u32..6, 0u8..4, 0u64..4000), 1..300),
        seed: u64,
    ) {
        let mut outlier = Outlier::new(OutlierOptions::default());
        outlier.set_members(Moment::ZERO, 0..members);
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut now = Moment::ZERO;
        for (key, failure, wait_ms) in calls {
            now += Duration::from_millis(wait_ms);
            let key = key % members;
            let failure = [Failure::None, Failure::Busy, Failure::Status, Failure::Local][failure as usize];
            let probe = outlier.start_probe(now, &key);
            outlier.observe(now, &key, failure, probe, &mut rng);
            prop_assert!(outlier.ejected().count() <= members as usize / 2);
            prop_assert!(members > 1 || outlier.ejected().count() == 0);
        }
        now += OutlierOptions::default().max;
        for key in 0..members {
            prop_assert!(outlier.admission(now, &key) != Admission::Out);
        }
    }
}

fn two() -> (Outlier<u32>, fastrand::Rng) {
    outlier(2)
}
