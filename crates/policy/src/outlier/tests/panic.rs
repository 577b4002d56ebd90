//! When too few are left.

use super::*;

fn settings(on_panic: OnPanic) -> OutlierSettings {
    let panic = PanicSettings { on_panic, ..PanicSettings::default() };
    // A cap that lets all go, so that ejections alone can lead to panic.
    OutlierSettings { max: Share::ALL, panic, ..OutlierSettings::default() }
}

fn panics(changes: &[Change<u32>]) -> Vec<(bool, usize, usize, bool)> {
    let panics = changes.iter().filter_map(|change| match change {
        Change::Panic { on, usable, of, enforced } => Some((*on, *usable, *of, *enforced)),
        _ => None,
    });
    panics.collect()
}

fn asked(rig: &Rig, now: Moment) -> Vec<u32> {
    let pool = rig.outlier.pool(now);
    let full: Vec<_> = pool.iter().filter(|(_, a)| *a == Admission::Full).map(|(key, _)| *key).collect();
    assert_eq!(pool.usable(), full.len());
    full
}

#[test]
fn with_half_of_the_pool_there_is_no_panic_and_with_less_ejections_are_ignored() {
    let mut rig = Rig::with(settings(OnPanic::All), 4);
    rig.eject(T, 0);
    rig.eject(T, 1);
    assert!(!rig.outlier.is_panic());
    assert_eq!(asked(&rig, T), [2, 3]);
    assert_eq!(panics(&rig.fail(T, 2, 5)), [(true, 1, 4, true)]);
    assert!(rig.outlier.is_panic() && rig.outlier.pool(T).is_panic());
    assert_eq!(asked(&rig, T), [0, 1, 2, 3]);
    // Probes go on; the first that is well again ends it.
    let due = T + 12 * S;
    assert_eq!(rig.admission(due, 0), Admission::ProbeDue);
    let probe = rig.outlier.start_probe(due, &0).unwrap();
    assert_eq!(rig.admission(due, 0), Admission::Full, "while one probes, the others need not wait");
    assert_eq!(panics(&rig.probed(due, 0, Failure::None, probe)), [(false, 2, 4, true)]);
    assert_eq!(rig.admission(due, 0), Admission::Share(100));
}

#[test]
fn on_panic_fail_asks_nobody_but_probes() {
    let mut rig = Rig::with(settings(OnPanic::Fail), 2);
    rig.eject(T, 0);
    assert_eq!(asked(&rig, T), [1]);
    rig.fail(T, 1, 5);
    assert_eq!(asked(&rig, T), [0; 0]);
    let due = T + 12 * S;
    let probe = rig.outlier.start_probe(due, &0).unwrap();
    rig.probed(due, 0, Failure::None, probe);
    assert!(!rig.outlier.is_panic());
    assert_eq!(rig.admission(due + 10 * S, 0), Admission::Full);
}

#[test]
fn who_fails_active_checks_stays_out_unless_none_is_left() {
    let mut rig = Rig::with(settings(OnPanic::All), 3);
    assert_eq!(rig.outlier.set_passing(T, &0, false), []);
    assert_eq!(asked(&rig, T), [1, 2]);
    assert_eq!(panics(&rig.outlier.set_passing(T, &1, false)), [(true, 1, 3, true)]);
    assert_eq!(asked(&rig, T), [2], "there is one that passes");
    assert_eq!(rig.outlier.set_passing(T, &2, false), []);
    assert_eq!(asked(&rig, T), [0, 1, 2], "there is none");
    rig.outlier.set_passing(T, &1, true);
    assert_eq!(panics(&rig.outlier.set_passing(T, &0, true)), [(false, 2, 3, true)]);
    assert_eq!(asked(&rig, T), [0, 1]);
    assert!(!rig.outlier.is_calm(), "a balancer must go on asking");
}

#[test]
fn on_panic_fail_holds_for_active_checks_too() {
    let mut rig = Rig::with(settings(OnPanic::Fail), 3);
    rig.outlier.set_passing(T, &0, false);
    rig.outlier.set_passing(T, &1, false);
    assert_eq!(asked(&rig, T), [0; 0]);
    rig.outlier.set_passing(T, &2, false);
    assert_eq!(asked(&rig, T), [0; 0]);
}

#[test]
fn panic_in_shadow_is_told_and_nothing_else() {
    let panic = PanicSettings { mode: Mode::Shadow, ..PanicSettings::default() };
    let mut rig = Rig::with(OutlierSettings { panic, ..settings(OnPanic::All) }, 2);
    rig.eject(T, 0);
    assert_eq!(panics(&rig.fail(T, 1, 5)), [(true, 0, 2, false)]);
    assert!(rig.outlier.is_panic() && !rig.outlier.pool(T).is_panic());
    assert_eq!(asked(&rig, T), [0; 0]);
    for panic in [
        PanicSettings { mode: Mode::Off, ..PanicSettings::default() },
        PanicSettings { below: Share::NONE, ..PanicSettings::default() },
    ] {
        let mut rig = Rig::with(OutlierSettings { panic, ..settings(OnPanic::All) }, 2);
        rig.eject(T, 0);
        assert_eq!(panics(&rig.fail(T, 1, 5)), []);
    }
}

#[test]
fn ejections_alone_do_not_lead_to_panic_under_the_usual_cap() {
    for members in 1..10 {
        let mut rig = Rig::new(members);
        for key in 0..members {
            rig.fail(T, key, 50);
        }
        assert!(!rig.outlier.is_panic(), "{members}");
    }
}

#[test]
fn an_empty_pool_is_no_panic() {
    let mut rig = Rig::new(0);
    assert!(!rig.outlier.is_panic());
    assert_eq!(rig.outlier.pool(T).usable(), 0);
    assert_eq!(rig.outlier.tick(T + 10 * S, &mut rig.rng), []);
    assert_eq!(rig.outlier.set_members(T, [0; 0]), []);
    assert_eq!(rig.admission(T, 7), Admission::Full, "unknown");
}
