//! Drills of the real thing, and the proof that they can fail: each protection is taken away once.

use serde_json::Value;

use crate::app::{Folder, SHOP, command, said, turn};

/// Runs the drill `name` and gives exit code and report.
async fn drill(folder: &Folder, name: &str, mutation: Option<&str>) -> (i32, Value) {
    let mut command = command(folder.path(), &["drill", name, "--json", "--seed", "7"]);
    if let Some(mutation) = mutation {
        command.env("MAINSTAY_TEST_MUTATION", mutation);
    }
    let output = command.output().await.unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&output)));
    assert!(folder.pids().is_empty(), "a drill ends what it started");
    (output.status.code().unwrap(), report)
}

/// The shop with one drill: `faults` as they stand in the file.
fn shop(faults: &str, expect: &str) -> Folder {
    let drill = format!(
        r#"
drills:
  proof:
    load:
      rate: 30/s
      for: 10s
      mix:
        - {{ route: "POST /checkout", share: 60%, body: {{ order_id: "{{key}}", sku: "{{pick:tea|cup|last-one}}", quantity: 1, card: "{{pick:visa-1|visa-2|limit-9}}", amount_cents: "{{int:500..9000}}" }} }}
        - {{ route: "GET /stock/tea", share: 40% }}
    baseline: 2s
    settle: 45s
    faults: [{faults}]
    expect: {{ {expect} }}
"#
    );
    Folder::new(&(SHOP.to_owned() + &drill))
}

fn invariant<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["invariants"].as_array().unwrap();
    all.iter().find(|i| i["name"] == name).unwrap_or_else(|| panic!("{name} is not in {all:?}"))
}

const LOSES_ANSWERS: &str = "{ at: 3s, lose_response: payment, share: 50%, for: 5s }";
const KILLS_MAINSTAY: &str = "{ at: 4s, down: payment, for: 3s }, { at: 5s, kill_mainstay: true }";
const ERRORS: &str = "{ at: 3s, error: inventory, status: 503, share: 25%, for: 6s }";
const ONE_BAD_REPLICA: &str = "{ at: 3s, error: inventory, replica: 1, status: 503, share: 100%, for: 6s }";

/// With every protection in place all of it passes.
#[tokio::test]
async fn the_shop_passes() {
    let _turn = turn().await;
    let all = "{ at: 3s, lose_response: payment, share: 50%, for: 2s }, { at: 6s, kill_mainstay: true }, \
               { at: 7s, down: payment, for: 2s }";
    let (code, report) = drill(&shop(all, "availability: 30%"), "proof", None).await;
    assert_eq!((code, &report["verdict"]), (0, &Value::from("PASS")), "{:#}", report["reasons"]);
    for name in ["no_lost_order", "no_double_charge", "stock_conserved", "all_terminal"] {
        assert_eq!(invariant(&report, name)["standing"], "held", "{name}");
    }
}

/// What a newcomer runs first: it passes, says what it proved, and leaves nothing but its own folder.
#[tokio::test]
async fn the_demo_passes_and_leaves_only_its_folder() {
    let _turn = turn().await;
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path(), &["demo"]).output().await.unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for words in ["PASS", "0 lost, 0 double, 0 stuck", "kill Mainstay itself", "console   http://127.0.0.1:"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [".mainstay"]);
    let records = std::fs::read_dir(dir.path().join(".mainstay/demo/.mainstay/run/replicas")).unwrap();
    assert_eq!(records.count(), 0, "every replica was stopped");
}

#[tokio::test]
async fn without_stable_keys_a_lost_answer_is_a_double_charge() {
    let _turn = turn().await;
    let (code, report) = drill(&shop(LOSES_ANSWERS, ""), "proof", Some("idempotency_off")).await;
    assert_eq!((code, &report["verdict"]), (1, &Value::from("FAIL")));
    assert_eq!(invariant(&report, "no_double_charge")["standing"], "broken");
}

#[tokio::test]
async fn without_recovery_open_transactions_stay_open() {
    let _turn = turn().await;
    let folder = shop(KILLS_MAINSTAY, "");
    let (code, report) = drill(&folder, "proof", Some("recovery_off")).await;
    assert_eq!((code, &report["verdict"]), (1, &Value::from("FAIL")));
    assert_eq!(invariant(&report, "all_terminal")["standing"], "broken");
}

/// Availability of one drill under two sets of mutations, same seed, same faults.
async fn availability(faults: &str, one: Option<&str>, other: &str) -> (f64, f64) {
    let _turn = turn().await;
    let one = drill(&shop(faults, ""), "proof", one).await.1;
    let other = drill(&shop(faults, ""), "proof", Some(other)).await.1;
    let of =
        |report: &Value| report["levels"]["faults"]["availability"].as_f64().unwrap_or_else(|| panic!("{report:#}"));
    (of(&one), of(&other))
}

#[tokio::test]
async fn without_retries_errors_reach_the_users() {
    let (with, without) = availability(ERRORS, None, "retries_off").await;
    assert!(with > without + 0.03, "availability {with} with retries, {without} without");
}

/// Retries and the balancer's own caution hide a bad replica from users too; they are away in both runs.
#[tokio::test]
async fn without_ejection_a_bad_replica_goes_on_hurting() {
    let others = "retries_off,failure_penalty_off";
    let (with, without) = availability(ONE_BAD_REPLICA, Some(others), &format!("{others},ejection_off")).await;
    assert!(with > without + 0.03, "availability {with} with ejection, {without} without");
}
