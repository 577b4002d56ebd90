//! Whole drills against a toy system: each bug must make the right invariant fail, and a drill that proves nothing must
//! say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod toy;

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{EdgeEffect, Rate, Share, Shutdown, Span, SystemClock};
use mainstay_drill::{
    Detection, Drill, DrillError, DrillPhase, Harm, Invariant, Load, Meaning, Operation, Progress, Report, Rule,
    Source, Spec, Standing, TimedFault, Verdict, Windows, run,
};
use tokio::sync::{mpsc, watch};
use toy::{Bug, Toy};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn invariant(rule: Rule) -> Invariant {
    let name = serde_json::to_value(&rule).unwrap()["rule"].as_str().unwrap().to_owned();
    Invariant { name, rule }
}

fn words(all: &[&str]) -> Vec<String> {
    all.iter().map(|w| (*w).to_owned()).collect()
}

fn invariants() -> Vec<Invariant> {
    let checkout = || words(&["checkout"]);
    let orders = || Source::Audit { service: "order".parse().unwrap(), path: "$.orders".into() };
    let (done, refused) = (|| words(&["completed"]), || words(&["compensated"]));
    [
        Rule::NoLost { operations: checkout(), source: orders(), done: done(), refused: refused() },
        Rule::NoPhantom { source: orders() },
        Rule::AtMostOnce { service: "payment".parse().unwrap(), path: "$.effects.charges".into() },
        Rule::Conserved {
            left: "payment:$.totals.charged".parse().unwrap(),
            right: "payment:$.totals.captured".parse().unwrap(),
        },
        Rule::AtLeast { service: "inventory".parse().unwrap(), path: "$.stock.*.available".into(), min: 0 },
        Rule::TerminalWithin { limit: Span(ms(5000)) },
        Rule::EqualReplies { operations: checkout() },
        Rule::FailMeansNoEffect { operations: checkout(), source: orders(), done: done() },
    ]
    .map(invariant)
    .into()
}

fn spec() -> Spec {
    let mut checkout = Operation::new("checkout", "POST", "/checkout");
    checkout.body = Some(r#"{"order_id":"{key}","quantity":{int:1..3},"card":"{pick:good|good|empty}"}"#.into());
    checkout.answers = vec![(200, Meaning::Done), (202, Meaning::Accepted), (409, Meaning::Refused)];
    checkout.objective = Span(ms(3000));
    checkout.timeout = Span(ms(5000));
    checkout.resend = Share::percent(20);
    let fault = |at, lasts: Option<u64>, harm| TimedFault::new(ms(at), lasts.map(ms), harm);
    let payment = || "payment".parse().unwrap();
    let edge = Harm::Edge {
        service: payment(),
        replica: None,
        share: Share::percent(30),
        effect: EdgeEffect::Error { status: 503 },
    };
    Spec {
        load: Load {
            rate: Rate::new(120.0).unwrap(),
            warm_up: Span(ms(100)),
            duration: Span(ms(1600)),
            in_flight_max: 256,
            mix: vec![checkout],
        },
        faults: vec![
            fault(300, None, Harm::Kill { service: payment(), replica: None }),
            fault(500, Some(200), Harm::Freeze { service: "inventory".parse().unwrap(), replica: Some(2) }),
            fault(800, Some(200), edge),
            fault(1100, None, Harm::KillMainstay),
            fault(1300, Some(200), Harm::Down { service: payment() }),
        ],
        invariants: invariants(),
        windows: Windows { window: Span(ms(250)), hold: Span(ms(250)), ..Windows::default() },
        preflight_max: Span(ms(1000)),
        settle_max: Span(ms(5000)),
        lease_ttl: Span(ms(300)),
        ..Spec::new("toy", "five-hurts", 42)
    }
}

fn drill(toy: &Toy, events: mpsc::Receiver<mainstay_core::Event>, spec: Spec) -> Drill {
    Drill {
        spec,
        target: toy.url.clone(),
        injector: toy.ports(),
        events,
        state: toy.ports(),
        clock: Arc::new(SystemClock),
        progress: None,
        history: None,
    }
}

async fn run_with(bug: Bug, spec: Spec) -> Report {
    let (toy, events) = Toy::start(bug).await;
    run(drill(&toy, events, spec), Shutdown::new()).await.unwrap()
}

/// Runs the drill against a toy with `bug`; just the invariants named in `broken` must break.
async fn check_bug(bug: Bug, broken: &[&str]) -> Report {
    let report = run_with(bug, spec()).await;
    assert_eq!(report.verdict, Verdict::Fail, "{:#?}", report.reasons);
    let standing = |wanted: Standing| -> Vec<&str> {
        report.invariants.iter().filter(|i| i.standing == wanted).map(|i| i.name.as_str()).collect()
    };
    assert_eq!(standing(Standing::Broken), broken, "{}", report.text(false));
    report
}

#[tokio::test]
async fn a_sound_system_passes_and_everything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let history = folder.path().join("deep/history.jsonl");
    let (toy, events) = Toy::start(Bug::None).await;
    let (progress, shown) = watch::channel(Progress::default());
    let mut drill = drill(&toy, events, spec());
    drill.history = Some(history.clone());
    drill.progress = Some(progress);
    let report = run(drill, Shutdown::new()).await.unwrap();
    assert_eq!(report.verdict, Verdict::Pass, "{}", report.text(false));
    assert_eq!((report.exit_code(), report.reasons.len(), report.residue.clone()), (0, 0, Some(vec![])));
    assert!(report.invariants.iter().all(|i| i.checked > 0), "{:#?}", report.invariants);
    let detected: Vec<bool> = report.faults.iter().map(|f| matches!(f.detected, Detection::After(_))).collect();
    assert_eq!(detected, [true, true, false, true, true], "{:#?}", report.faults);
    assert_eq!(report.faults[2].detected, Detection::Missed, "errors reached the users, so nothing masked them");
    assert!(report.faults[4].redundancy_ms.is_some(), "{:#?}", report.faults[4]);
    assert!(report.levels.faults.availability.unwrap() < report.levels.baseline.availability.unwrap());
    let shown = shown.borrow().clone();
    assert_eq!(shown.phase, DrillPhase::Over);
    assert!(shown.sent > 100 && shown.last_event.is_some(), "{shown:?}");
    check_history(&std::fs::read_to_string(&history).unwrap(), &report);
    report.write(folder.path()).await.unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(json["verdict"], "PASS");
    // For a look at the page: DRILL_REPORT_DIR=/tmp/x cargo test -p mainstay-drill a_sound_system
    if let Ok(keep) = std::env::var("DRILL_REPORT_DIR") {
        report.write(keep.as_ref()).await.unwrap();
        std::fs::write(format!("{keep}/report.txt"), report.text(true)).unwrap();
    }
}

/// Every invocation has one ending, and no process does two things at once.
fn check_history(text: &str, report: &Report) {
    let mut busy = std::collections::BTreeMap::new();
    let mut endings = 0;
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let (process, kind) = (line["process"].as_u64().unwrap(), line["type"].as_str().unwrap().to_owned());
        let key = line["value"]["key"].as_str().unwrap().to_owned();
        match kind.as_str() {
            "invoke" => assert_eq!(busy.insert(process, key), None, "process {process} does two things at once"),
            "ok" | "fail" => {
                assert_eq!(busy.remove(&process), Some(key));
                endings += 1;
            }
            "info" => {
                assert_eq!(busy.insert(process, "retired".into()), Some(key));
                endings += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(endings, report.load.sent);
}

#[tokio::test]
async fn a_lost_order_fails_the_drill() {
    let report = check_bug(Bug::LosesOrders, &["no_lost"]).await;
    let example = report.invariants[0].counterexample.as_ref().unwrap();
    assert!(example.what.contains("does not know it"), "{example:?}");
    assert_eq!(example.operations.len(), 1, "the smallest counterexample is one operation: {example:?}");
    assert!(report.sentence().contains("lost"), "{}", report.sentence());
}

#[tokio::test]
async fn a_double_charge_fails_the_drill() {
    let report = check_bug(Bug::ChargesTwice, &["at_most_once"]).await;
    assert!(report.invariants[2].counterexample.as_ref().unwrap().what.contains("2 times"));
}

#[tokio::test]
async fn a_phantom_fails_the_drill() {
    check_bug(Bug::InventsOrders, &["no_phantom"]).await;
}

#[tokio::test]
async fn selling_what_is_not_there_fails_the_drill() {
    check_bug(Bug::Oversells, &["at_least"]).await;
}

#[tokio::test]
async fn money_that_disappears_fails_the_drill() {
    let report = check_bug(Bug::LosesMoney, &["conserved"]).await;
    assert!(report.invariants[3].note.as_ref().unwrap().contains('≠'));
}

#[tokio::test]
async fn a_transaction_that_never_ends_fails_the_drill() {
    let mut short = spec();
    short.settle_max = Span(ms(1500));
    let report = run_with(Bug::NeverEnds, short).await;
    assert_eq!(report.verdict, Verdict::Fail);
    assert_eq!(report.invariants[5].standing, Standing::Broken);
    assert!(report.reasons.iter().any(|r| r.text.contains("still open")), "{:#?}", report.reasons);
}

#[tokio::test]
async fn different_answers_to_one_key_fail_the_drill() {
    check_bug(Bug::AnswersDifferently, &["equal_replies"]).await;
}

#[tokio::test]
async fn acting_on_what_was_refused_fails_the_drill() {
    check_bug(Bug::ActsOnRefusal, &["no_lost", "fail_means_no_effect"]).await;
}

#[tokio::test]
async fn a_fault_that_is_left_over_fails_the_drill() {
    let mut short = spec();
    short.settle_max = Span(ms(1500));
    let report = run_with(Bug::KeepsFaults, short).await;
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.residue.is_some_and(|left| !left.is_empty()));
}

#[tokio::test]
async fn a_replica_that_does_not_come_back_fails_the_drill() {
    let mut short = spec();
    short.settle_max = Span(ms(1500));
    let report = run_with(Bug::StaysDead, short).await;
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.reasons.iter().any(|r| r.text.starts_with("not ready again")), "{:#?}", report.reasons);
    assert_eq!(report.faults[0].redundancy_ms, None);
}

#[tokio::test]
async fn a_system_that_stays_sick_after_healing_fails_the_drill() {
    let mut short = spec();
    short.settle_max = Span(ms(1500));
    let report = run_with(Bug::StaysSick, short).await;
    assert_eq!(report.verdict, Verdict::Fail);
    assert!(report.reasons.iter().any(|r| r.text.contains("not served well again")), "{:#?}", report.reasons);
}

async fn check_inconclusive(bug: Bug, spec: Spec, reason: &str) -> Report {
    let report = run_with(bug, spec).await;
    assert_eq!(report.verdict, Verdict::Inconclusive, "{:#?}", report.reasons);
    assert!(report.reasons.iter().any(|r| r.text.contains(reason)), "{:#?}", report.reasons);
    report
}

#[tokio::test]
async fn faults_that_cannot_be_put_in_prove_nothing() {
    let mut one = spec();
    one.faults.truncate(1);
    check_inconclusive(Bug::RefusesFaults, one, "could not be put in: the toy is not to be hurt").await;
}

#[tokio::test]
async fn an_invariant_with_nothing_to_check_is_vacuous() {
    let mut never_twice = spec();
    never_twice.load.mix[0].resend = Share::ZERO;
    let report = check_inconclusive(Bug::None, never_twice, "equal_replies: vacuous").await;
    assert_eq!(report.exit_code(), 2);
}

#[tokio::test]
async fn an_audit_that_cannot_be_read_proves_nothing() {
    let mut elsewhere = spec();
    elsewhere.invariants[2].rule =
        Rule::AtMostOnce { service: "shipping".parse().unwrap(), path: "$.effects.parcels".into() };
    check_inconclusive(Bug::None, elsewhere, "the audit of shipping could not be read").await;
}

#[tokio::test]
async fn load_that_cannot_be_sent_proves_nothing() {
    let mut narrow = spec();
    narrow.load.in_flight_max = 1;
    narrow.load.rate = Rate::new(400.0).unwrap();
    narrow.faults = vec![TimedFault::new(
        ms(300),
        Some(ms(1200)),
        Harm::Freeze { service: "inventory".parse().unwrap(), replica: None },
    )];
    let report = check_inconclusive(Bug::None, narrow, "the load was not held").await;
    assert!(report.load.unsent > 0);
}

#[tokio::test]
async fn an_abort_removes_all_faults_and_reports_what_there_is() {
    let (toy, events) = Toy::start(Bug::None).await;
    let (progress, mut shown) = watch::channel(Progress::default());
    let mut drill = drill(&toy, events, spec());
    drill.progress = Some(progress);
    let shutdown = Shutdown::new();
    let running = tokio::spawn(run(drill, shutdown.clone()));
    shown.wait_for(|p| !p.active_faults.is_empty()).await.unwrap();
    shutdown.cancel();
    let report = running.await.unwrap().unwrap();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert!(report.reasons.iter().any(|r| r.text.contains("aborted")), "{:#?}", report.reasons);
    assert!(report.load.due > 0 && report.residue.is_some_and(|left| left.is_empty()));
    assert_eq!(mainstay_drill::Injector::inspect(&*toy.ports()).await.unwrap().leases, []);
}

#[tokio::test]
async fn the_same_seed_again_on_the_same_state_takes_new_keys() {
    let (toy, events) = Toy::start(Bug::None).await;
    let first = run(drill(&toy, events, spec()), Shutdown::new()).await.unwrap();
    let (_sender, silent) = mpsc::channel(1);
    let second = run(drill(&toy, silent, spec()), Shutdown::new()).await.unwrap();
    for report in [&first, &second] {
        assert!(report.invariants.iter().all(|i| i.standing == Standing::Held), "{}", report.text(false));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_spec_is_told_before_anything_is_touched() {
    let (toy, events) = Toy::start(Bug::None).await;
    let mut wrong = spec();
    wrong.load.mix[0].path = "checkout".into();
    wrong.faults[0].at = Span(ms(50));
    wrong.faults[1].lasts = None;
    let error = run(drill(&toy, events, wrong), Shutdown::new()).await.unwrap_err();
    let DrillError::Spec(error) = error else { panic!("{error}") };
    assert_eq!(error.problems.len(), 3, "{error}");
}

#[tokio::test]
async fn a_target_that_is_no_address_is_refused() {
    let (toy, events) = Toy::start(Bug::None).await;
    let mut drill = drill(&toy, events, spec());
    drill.target = "ftp://nowhere".into();
    assert!(matches!(run(drill, Shutdown::new()).await, Err(DrillError::Target(_))));
}

#[tokio::test]
async fn a_drill_does_not_begin_while_another_hurts_the_system() {
    let (toy, events) = Toy::start(Bug::None).await;
    toy.leave_a_fault();
    let report = run(drill(&toy, events, spec()), Shutdown::new()).await.unwrap();
    assert_eq!(report.verdict, Verdict::Inconclusive);
    assert_eq!(report.load.due, 0);
    assert!(report.sentence().contains("preflight"), "{}", report.sentence());
    assert!(report.html().contains("INCONCLUSIVE"));
}
