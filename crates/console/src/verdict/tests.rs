use std::sync::Arc;

use mainstay_core::{Cause, Clock, EventBus, WallMs};

use super::*;
use crate::view::{EdgeView, ReplicaView, TransactionsView};

const NOW: WallMs = 1_700_000_031_000;

struct Fixed;

impl Clock for Fixed {
    fn wall_ms(&self) -> WallMs {
        NOW - 31_000
    }
}

fn service(name: &str, success: f64, states: &[ReplicaState]) -> ServiceView {
    let replicas = states.iter().enumerate().map(|(i, state)| ReplicaView {
        name: format!("{name}-{}", i + 1),
        state: *state,
        ..ReplicaView::default()
    });
    ServiceView {
        name: name.to_owned(),
        success: Some(success),
        replicas: replicas.collect(),
        ..ServiceView::default()
    }
}

fn view(services: Vec<ServiceView>) -> View {
    View { app: "shop".to_owned(), now: NOW, rate: 10.0, services, ..View::default() }
}

fn check(view: &View, kinds: &[EventKind], level: Level, headline: &str, detail: &str) {
    let bus = EventBus::new(Arc::new(Fixed));
    kinds.iter().cloned().for_each(|kind| bus.publish(kind));
    let verdict = verdict(view, &bus.recent());
    assert_eq!((verdict.level, verdict.headline.as_str(), verdict.detail.as_str()), (level, headline, detail));
}

fn exited() -> Vec<EventKind> {
    let replica = || "payment-1".parse().unwrap();
    vec![
        EventKind::ReplicaExited { replica: replica(), pid: 42, status: "signal 9".to_owned() },
        EventKind::ReplicaNotReady { replica: replica(), cause: Cause::Exit },
        EventKind::ReplicaRestarting { replica: replica(), cause: Cause::Exit, attempt: 1, backoff_ms: 250 },
    ]
}

use ReplicaState::{Down, Failed, Ready, Starting};

#[test]
fn nothing_yet_names_the_next_command() {
    let detail = "Name a service in mainstay.yaml, or see a whole shop run with: mainstay demo";
    check(&view(vec![]), &[], Level::Idle, "Nothing runs yet.", detail);
}

#[test]
fn who_is_hurt_since_when_why_and_what_was_done() {
    let mut view = view(vec![service("order", 1.0, &[Ready]), service("payment", 0.974, &[Down, Ready, Ready])]);
    let detail = "Why: payment-1 ended (pid 42, signal 9). \
                  Done: payment-1 out of rotation (exit); payment-1 restart #1 in 250 ms (exit).";
    let headline = "payment fails 2.6% of its requests — its callers are affected for 31 s.";
    check(&view, &exited(), Level::Bad, headline, detail);
    view.edges =
        vec![EdgeView { caller: "ingress".into(), callee: "order".into(), success: Some(0.98), ..EdgeView::default() }];
    check(&view, &exited(), Level::Bad, "payment fails 2.6% of its requests — users are affected for 31 s.", detail);
}

#[test]
fn a_loss_that_retries_hide_hurts_nobody() {
    let mut payment = service("payment", 1.0, &[Down, Ready]);
    payment.retries = 2.0;
    let fault = EventKind::FaultInjected {
        lease: "l".to_owned(),
        fault: "kill payment-1".to_owned(),
        service: "payment".parse().unwrap(),
        replica: None,
    };
    check(
        &view(vec![payment]),
        &[fault],
        Level::Warn,
        "payment runs on 1 of 2 replicas — nobody is hurt.",
        "2.0 retries/s keep failures from callers. A drill does this on purpose: kill payment-1.",
    );
}

#[test]
fn a_service_that_is_gone_is_worse_than_one_that_fails_a_little() {
    let view = view(vec![service("order", 0.995, &[Ready]), service("payment", 1.0, &[Failed])]);
    check(
        &view,
        &[],
        Level::Bad,
        "payment has no ready replica — every call to it fails or waits.",
        "It is left down after too many restarts. Look at: .mainstay/logs/payment-*.log",
    );
}

#[test]
fn a_start_is_no_harm() {
    let mut order = service("order", 1.0, &[Starting]);
    order.success = None;
    let headline = "order is starting: it takes no traffic yet.";
    check(&view(vec![order]), &[], Level::Warn, headline, "See: mainstay events");
}

#[test]
fn stuck_transactions_call_for_a_person() {
    let mut view = view(vec![service("order", 1.0, &[Ready])]);
    view.transactions = Some(TransactionsView { stuck: 1, ..TransactionsView::default() });
    check(
        &view,
        &[],
        Level::Bad,
        "1 transaction needs a person: nothing more is tried by itself.",
        "See which step refuses, and why: GET /v1/transactions?status=stuck",
    );
}

#[test]
fn all_is_well_remembers_the_last_time_it_was_not() {
    let mut view = view(vec![service("order", 1.0, &[Ready]), service("payment", 1.0, &[Ready, Ready])]);
    let headline = "All is well: 2 services, 3 replicas, all ready.";
    let mut events = exited();
    events.push(EventKind::ReplicaReady { replica: "payment-1".parse().unwrap(), after_ms: 2100 });
    let detail = "Last: payment-1 ended (pid 42, signal 9); healed by itself 0.0 s later, 31 s ago.";
    check(&view, &events, Level::Good, headline, detail);
    view.uptime = std::time::Duration::from_secs(300);
    let detail = "Nothing went wrong in 5 min. To prove that it would be handled: mainstay drill";
    check(&view, &[], Level::Good, headline, detail);
    view.rate = 0.0;
    view.ingress = Some("127.0.0.1:8080".to_owned());
    check(&view, &[], Level::Good, headline, "No traffic yet. Send some to http://127.0.0.1:8080");
}
