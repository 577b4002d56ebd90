use mainstay_core::{Cause, LeaseId, Share, Span};

use super::*;
use crate::history::Ending;
use crate::sample::{event, evidence, replica, secs};

/// Judges the sample after `change`; `reason` must be among the reasons.
fn check(verdict: Verdict, reason: &str, change: impl FnOnce(&mut Evidence)) -> Report {
    let mut evidence = evidence();
    change(&mut evidence);
    let report = judge(evidence);
    assert_eq!(report.verdict, verdict, "{:#?}", report.reasons);
    let found = report.reasons.iter().any(|r| r.text.contains(reason));
    assert!(found || reason.is_empty() && report.reasons.is_empty(), "{:#?}", report.reasons);
    report
}

#[test]
fn the_sample_passes_with_every_number_in_its_place() {
    let report = check(Verdict::Pass, "", |_| {});
    let faults = &report.faults;
    let detected: Vec<Detection> = faults.iter().map(|f| f.detected).collect();
    use Detection::{After, Masked};
    assert_eq!(detected, [After(8), After(520), Masked, After(640), After(10)]);
    let isolated: Vec<Option<u64>> = faults.iter().map(|f| f.isolated_ms).collect();
    assert_eq!(isolated, [Some(8), Some(710), None, None, Some(20)]);
    let whole: Vec<Option<u64>> = faults.iter().map(|f| f.redundancy_ms).collect();
    assert_eq!(whole, [Some(904), Some(4900), None, None, Some(4500)]);
    assert_eq!(faults[0].recovered, Recovery::NoHarm);
    assert_eq!(faults[3].recovered, Recovery::After(750), "refused until 27.7 s, seen in steps of 250 ms");
    assert_eq!(report.false_detections, 0);
    assert!(report.invariants.iter().all(|i| i.standing == Standing::Held), "{:#?}", report.invariants);
    assert_eq!(report.exit_code(), 0);
}

#[test]
fn what_is_broken_fails_however_little_happened() {
    check(Verdict::Fail, "residue", |e| e.residue = Ok(vec![LeaseId("l-1".into())]));
    check(Verdict::Fail, "not ready again", |e| e.settled.missing = vec![replica("payment-1")]);
    check(Verdict::Fail, "3 transactions are still open", |e| e.settled.open = Some(3));
    check(Verdict::Fail, "1 lost of", |e| {
        e.events_dropped = 5;
        lose_an_order(e);
    });
}

fn lose_an_order(e: &mut Evidence) {
    let orders = e.final_state.as_mut().unwrap().audits.get_mut(&"order".parse().unwrap()).unwrap();
    orders["orders"].as_object_mut().unwrap().remove("d2a-1-000007");
}

#[test]
fn what_was_measured_worse_than_expected_fails() {
    check(Verdict::Fail, "availability under faults", |e| e.spec.expect.availability = Some(Share::percent(99)));
    check(Verdict::Fail, "p99 under faults", |e| e.spec.expect.p99 = Some(Span(secs(0.5))));
    check(Verdict::Fail, "freeze inventory-1: detected after 520 ms", |e| {
        e.spec.expect.detect_within = Some(Span(secs(0.5)));
    });
    check(Verdict::Fail, "kill Mainstay itself: users served well after 750 ms", |e| {
        e.spec.expect.recover_within = Some(Span(secs(0.5)));
    });
    check(Verdict::Fail, "kill payment-2: never detected", |e| e.events.drain(..5).for_each(drop));
    check(Verdict::Fail, "not served well again", |e| e.settled.served_well = Some(false));
}

#[test]
fn too_little_to_say_anything_is_inconclusive() {
    check(Verdict::Inconclusive, "the load was not held", |e| {
        for op in e.history.operations.iter_mut().step_by(5) {
            op.sent = Some(op.due + secs(0.2));
        }
        // Measures of a load that was not held are no failures either.
        e.spec.expect.p99 = Some(Span(secs(0.001)));
    });
    check(Verdict::Inconclusive, "operations met a fault", |e| e.spec.met_min = 1_000_000);
    check(Verdict::Inconclusive, "vacuous", |e| e.final_state.as_mut().unwrap().transactions.clear());
    check(Verdict::Inconclusive, "not checked: gone", |e| e.final_state = Err("gone".into()));
    check(Verdict::Inconclusive, "could not be put in: no", |e| {
        e.faults[2].1 = FaultRecord { error: Some("no".into()), ..FaultRecord::default() };
    });
    check(Verdict::Inconclusive, "its lease was lost", |e| e.faults[1].1.error = Some("its lease was lost".into()));
    check(Verdict::Inconclusive, "nobody knows whether transactions are open", |e| e.settled.open = None);
    check(Verdict::Inconclusive, "no fault was planned", |e| e.faults.clear());
    check(Verdict::Inconclusive, "no invariant", |e| e.spec.invariants.clear());
    check(Verdict::Inconclusive, "7 events", |e| e.events_dropped = 7);
    check(Verdict::Inconclusive, "history could not be written", |e| e.history_error = Some("disk full".into()));
    check(Verdict::Inconclusive, "load generator broke", |e| e.load_broke = true);
}

#[test]
fn an_aborted_drill_is_inconclusive_even_when_something_broke() {
    check(Verdict::Inconclusive, "aborted", |e| {
        e.aborted = true;
        lose_an_order(e);
    });
}

#[test]
fn an_expectation_that_cannot_be_measured_is_a_doubt() {
    check(Verdict::Inconclusive, "payment down: recovery not measurable", |e| {
        e.ended = secs(33.5);
        e.cleared = secs(33.4);
        e.spec.expect.detect_within = None;
    });
}

#[test]
fn a_detection_that_no_fault_explains_is_counted() {
    let stray = |kind| {
        let report = check(Verdict::Pass, "", |e| e.events.push(event(500, 30.0, kind)));
        (report.false_detections, report.events.last().unwrap().fault)
    };
    let not_ready = |id, cause| EventKind::ReplicaNotReady { replica: replica(id), cause };
    assert_eq!(stray(not_ready("order-1", Cause::ReadyProbe)), (1, None));
    assert_eq!(stray(not_ready("order-1", Cause::Requested)), (0, None), "somebody asked for it");
    assert_eq!(stray(not_ready("inventory-1", Cause::ReadyProbe)), (0, Some(2)), "the freeze explains it");
    assert_eq!(stray(not_ready("inventory-2", Cause::ReadyProbe)), (1, None), "the freeze was of another replica");
    let report = check(Verdict::Pass, "", |e| {
        let service = |name: &str| name.parse::<mainstay_core::ServiceName>().unwrap();
        e.spec.needs =
            [(service("order"), vec![service("stock")]), (service("stock"), vec![service("inventory")])].into();
        e.events.push(event(500, 30.0, not_ready("order-1", Cause::ReadyProbe)));
    });
    assert_eq!(report.false_detections, 0, "its callee's callee was frozen");
}

#[test]
fn an_edge_fault_that_users_felt_is_missed_not_masked() {
    let report = check(Verdict::Fail, "payment: 503 to 30%: never detected", |e| {
        let felt = |op: &&mut crate::history::Op| (20.0..24.0).contains(&op.due.as_secs_f64());
        for op in e.history.operations.iter_mut().filter(felt).step_by(4) {
            (op.ending, op.good) = (Ending::Unknown, false);
        }
    });
    assert_eq!(report.faults[2].detected, Detection::Missed);
}

#[test]
fn faults_that_start_together_are_judged_together() {
    let edge = crate::sample::fault(6.2, 1.0, crate::sample::edge(5));
    let report = check(Verdict::Pass, "", |e| e.faults.insert(1, edge));
    let recovered: Vec<Recovery> = report.faults[..2].iter().map(|f| f.recovered).collect();
    assert_eq!(recovered, [Recovery::NoHarm; 2], "the first is not cut off by the second");
}
