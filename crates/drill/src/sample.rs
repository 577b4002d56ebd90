//! A made-up run for tests: five faults, as a demo has them, and a system that takes them well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Cause, EdgeEffect, Event, EventKind, FaultKind, ReplicaId, Share, Span, WallMs};
use serde_json::json;

use crate::faults::FaultRecord;
use crate::history::{Ending, History, Op};
use crate::invariant::{FinalState, Invariant, Rule, Source, TransactionState};
use crate::plan::{Action, PlannedFault};
use crate::progress::DrillPhase;
use crate::run::Settled;
use crate::spec::{Harm, Operation, Spec, TimedFault, Windows};
use crate::verdict::Evidence;

/// Wall time of the start.
pub(crate) const STARTED: WallMs = 1_795_464_387_000;

pub(crate) fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// An operation that was answered well after 10 ms.
pub(crate) fn op(index: u64, due: Duration) -> Op {
    Op {
        index,
        process: index % 8,
        name: Arc::from("checkout"),
        key: format!("d2a-1-{index:06}").into(),
        due,
        sent: Some(due),
        done: Some(due + Duration::from_micros(7_000 + index * 7919 % 9000)),
        ending: Ending::Done,
        status: Some(200),
        reply: Some(1),
        detail: None,
        good: true,
    }
}

/// An event so many seconds after the start.
pub(crate) fn event(seq: u64, at_s: f64, kind: EventKind) -> Event {
    Event { seq, boot: 1, at: STARTED + (at_s * 1000.0) as WallMs, kind }
}

pub(crate) fn replica(id: &str) -> ReplicaId {
    id.parse().unwrap()
}

/// A fault that was in force from `at` for `lasts` seconds.
pub(crate) fn fault(at: f64, lasts: f64, action: Action) -> (PlannedFault, FaultRecord) {
    let wall = |seconds: f64| Some(STARTED + (seconds * 1000.0) as WallMs);
    let planned = PlannedFault { at: secs(at), lasts: (lasts > 0.0).then(|| secs(lasts)), action };
    (planned, FaultRecord { from: wall(at), until: wall(at + lasts), error: None })
}

pub(crate) fn edge(share: u16) -> Action {
    Action::Fault(FaultKind::Edge {
        service: "payment".parse().unwrap(),
        replica: None,
        share: Share::percent(share),
        effect: EdgeEffect::Error { status: 503 },
    })
}

pub(crate) fn kill(id: &str) -> Action {
    Action::Fault(FaultKind::Kill { replica: replica(id) })
}

pub(crate) fn spec() -> Spec {
    let checkout = || vec!["checkout".to_owned()];
    let orders = || Source::Audit { service: "order".parse().unwrap(), path: "$.orders".into() };
    let (done, refused) = (vec!["completed".to_owned()], vec!["compensated".to_owned()]);
    let invariant = |name: &str, rule| Invariant { name: name.into(), rule };
    let mut operation = Operation::new("checkout", "POST", "/checkout");
    operation.objective = Span(secs(1.0));
    let mut spec = Spec::new("shop", "five-hurts", 42);
    spec.load.rate = "60/s".parse().unwrap();
    spec.load.duration = Span(secs(40.0));
    spec.load.mix = vec![operation];
    let payment = || "payment".parse().unwrap();
    spec.faults = vec![
        TimedFault::new(secs(6.0), None, Harm::Kill { service: payment(), replica: Some(2) }),
        TimedFault::new(secs(33.0), Some(secs(4.0)), Harm::Down { service: payment() }),
    ];
    spec.windows = Windows { window: Span(secs(1.0)), hold: Span(secs(2.0)), ..Windows::default() };
    spec.expect.availability = Some(Share::percent(90));
    spec.expect.detect_within = Some(Span(secs(3.0)));
    spec.expect.recover_within = Some(Span(secs(10.0)));
    spec.invariants = vec![
        invariant("no_lost_order", Rule::NoLost { operations: checkout(), source: orders(), done, refused }),
        invariant("no_phantom", Rule::NoPhantom { source: orders() }),
        invariant(
            "no_double_charge",
            Rule::AtMostOnce { service: "payment".parse().unwrap(), path: "$.effects.charges".into() },
        ),
        invariant(
            "stock_conserved",
            Rule::Conserved {
                left: "inventory:$.totals.initial".parse().unwrap(),
                right: "inventory:$.totals.available + inventory:$.totals.sold".parse().unwrap(),
            },
        ),
        invariant("terminal_within", Rule::TerminalWithin { limit: Span(secs(30.0)) }),
    ];
    spec
}

/// The whole run.
pub(crate) fn evidence() -> Evidence {
    let mut operations = Vec::new();
    let mut rng = fastrand::Rng::with_seed(42);
    let mut now = 0.0;
    for index in 0.. {
        now += -(1.0 - rng.f64()).ln() / 60.0;
        if now > 45.0 {
            break;
        }
        operations.push(hurt(op(index, secs(now)), now, rng.f64()));
    }
    let final_state = Ok(final_state(&operations));
    Evidence {
        spec: spec(),
        preflight: Ok(()),
        faults: vec![
            fault(6.0, 0.0, kill("payment-2")),
            fault(13.0, 4.0, Action::Fault(FaultKind::Freeze { replica: replica("inventory-1") })),
            fault(20.0, 4.0, edge(30)),
            fault(27.0, 0.0, Action::KillMainstay),
            fault(33.0, 4.0, Action::Fault(FaultKind::Down { service: "payment".parse().unwrap() })),
        ],
        started: STARTED,
        cleared: secs(40.1),
        ended: secs(45.0),
        aborted: false,
        load_broke: false,
        history: History { operations },
        events: events(),
        events_dropped: 0,
        settled: Settled { served_well: Some(true), missing: vec![], open: Some(0) },
        final_state,
        residue: Ok(vec![]),
        history_error: None,
        phases: [
            (DrillPhase::Preflight, -0.2),
            (DrillPhase::Baseline, 0.0),
            (DrillPhase::Faults, 6.0),
            (DrillPhase::Clear, 40.0),
            (DrillPhase::Settle, 40.1),
        ]
        .map(|(phase, at)| (phase, STARTED + (at * 1000.0) as WallMs))
        .to_vec(),
    }
}

/// What an operation that was due at `now` met.
fn hurt(mut op: Op, now: f64, draw: f64) -> Op {
    let wait = |op: &mut Op, seconds: f64| op.done = Some(op.due + secs(seconds));
    if (6.0..6.1).contains(&now) {
        wait(&mut op, 0.08);
    } else if (13.0..13.8).contains(&now) && draw < 0.4 {
        wait(&mut op, 0.75);
    } else if (20.0..24.0).contains(&now) && draw < 0.3 {
        wait(&mut op, 0.03 + draw / 10.0);
    } else if (27.0..27.7).contains(&now) {
        op.ending = Ending::NotConnected;
        (op.status, op.reply, op.good) = (None, None, false);
        op.detail = Some("tcp connect error: Connection refused (os error 111)".into());
    } else if (33.0..37.6).contains(&now) {
        op.ending = if draw < 0.7 { Ending::Accepted } else { Ending::Unknown };
        (op.status, op.good) = (Some(if draw < 0.7 { 202 } else { 504 }), draw < 0.7);
        wait(&mut op, 0.9 + draw / 2.0);
    }
    op
}

fn final_state(operations: &[Op]) -> FinalState {
    let kept = || operations.iter().filter(|op| op.ending != Ending::NotConnected);
    let orders: BTreeMap<&str, &str> =
        kept().map(|op| (&*op.key, if op.ending == Ending::Done { "completed" } else { "compensated" })).collect();
    let charges: BTreeMap<&str, u32> = kept().filter(|op| op.ending == Ending::Done).map(|op| (&*op.key, 1)).collect();
    let sold = charges.len();
    let transaction = |op: &Op| TransactionState {
        id: format!("tx-{}", op.index),
        name: "checkout".into(),
        key: op.key.to_string(),
        status: "completed".into(),
        started_ms: STARTED + op.due.as_millis() as WallMs,
        finished_ms: Some(STARTED + op.due.as_millis() as WallMs + 900),
    };
    FinalState {
        audits: BTreeMap::from([
            ("order".parse().unwrap(), json!({ "orders": orders })),
            ("payment".parse().unwrap(), json!({"effects": {"charges": charges}})),
            (
                "inventory".parse().unwrap(),
                json!({"totals": {"initial": 5000, "available": 5000 - sold, "sold": sold}}),
            ),
        ]),
        transactions: kept().map(transaction).collect(),
    }
}

fn events() -> Vec<Event> {
    let payment = || replica("payment-2");
    let inventory = || replica("inventory-1");
    let exit = Cause::Exit;
    let mut list = vec![
        (6.008, EventKind::ReplicaExited { replica: payment(), pid: 4127, status: "signal 9".into() }),
        (6.009, EventKind::ReplicaNotReady { replica: payment(), cause: exit }),
        (6.010, EventKind::ReplicaRestarting { replica: payment(), cause: exit, attempt: 1, backoff_ms: 250 }),
        (6.262, EventKind::ReplicaStarting { replica: payment(), pid: 4188 }),
        (6.904, EventKind::ReplicaReady { replica: payment(), after_ms: 640 }),
        (
            13.52,
            EventKind::ProbeFailing {
                replica: inventory(),
                probe: "ready".into(),
                error: "no answer within 500ms".into(),
            },
        ),
        (
            13.71,
            EventKind::EndpointEjected {
                replica: inventory(),
                cause: Cause::ConsecutiveFailures,
                failures: 5,
                for_ms: 5000,
            },
        ),
        (15.04, EventKind::ReplicaNotReady { replica: inventory(), cause: Cause::ReadyProbe }),
        (17.9, EventKind::ReplicaReady { replica: inventory(), after_ms: 2860 }),
        (27.64, EventKind::Started { app: "shop".into(), adopted: 6 }),
        (27.69, EventKind::TransactionsRecovered { count: 11 }),
        (33.01, EventKind::ReplicaNotReady { replica: replica("payment-1"), cause: exit }),
        (33.02, EventKind::ReplicaNotReady { replica: payment(), cause: exit }),
        (37.4, EventKind::ReplicaReady { replica: replica("payment-1"), after_ms: 380 }),
        (37.5, EventKind::ReplicaReady { replica: payment(), after_ms: 480 }),
    ];
    list.extend((0..90).map(|n| {
        let kind = EventKind::TransactionCompensating {
            transaction: mainstay_core::TransactionId::generate(STARTED, n),
            name: "checkout".into(),
            step: "charge".into(),
            why: "no replica of payment is ready".into(),
        };
        (33.4 + n as f64 * 0.04, kind)
    }));
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    list.into_iter().enumerate().map(|(n, (at, kind))| event(n as u64 + 1, at, kind)).collect()
}
