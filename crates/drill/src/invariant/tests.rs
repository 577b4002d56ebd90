use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::history::Ending;
use crate::sample::{op, secs};

const DONE: Ending = Ending::Done;

/// Operations with these keys and endings, against orders with these states.
fn check(rule: &Rule, ops: &[(&str, Ending)], orders: Value, expected: (Standing, u64, u64)) -> Outcome {
    let one = |(n, (key, ending)): (usize, &(&str, Ending))| {
        let mut op = op(n as u64, secs(n as f64));
        op.key = Arc::from(format!("d1-1-{key}"));
        op.ending = *ending;
        op
    };
    let history = History { operations: ops.iter().enumerate().map(one).collect() };
    let transactions = vec![TransactionState {
        id: "tx-9".into(),
        name: "checkout".into(),
        key: "d1-1-a".into(),
        status: "completed".into(),
        started_ms: 1000,
        finished_ms: Some(3000),
    }];
    let state = FinalState { audits: BTreeMap::from([("order".parse().unwrap(), orders)]), transactions };
    let outcome = Invariant { name: "it".into(), rule: rule.clone() }.check(&history, &state);
    assert_eq!((outcome.standing, outcome.checked, outcome.broken), expected, "{outcome:#?}");
    outcome
}

fn source() -> Source {
    Source::Audit { service: "order".parse().unwrap(), path: "$.orders".into() }
}

fn no_lost() -> Rule {
    let (done, refused) = (vec!["completed".into()], vec!["compensated".into()]);
    Rule::NoLost { operations: vec!["checkout".into()], source: source(), done, refused }
}

fn orders(pairs: &[(&str, &str)]) -> Value {
    let map: BTreeMap<String, &str> = pairs.iter().map(|(key, state)| (format!("d1-1-{key}"), *state)).collect();
    json!({ "orders": map })
}

#[test]
fn an_answer_is_held_to_what_it_said() {
    use Ending::{Accepted, NotConnected, Refused, Unknown};
    use Standing::{Broken, Held, Vacuous};
    let cases: [(Ending, Option<&str>, Standing); 12] = [
        (DONE, Some("completed"), Held),
        (DONE, Some("compensated"), Broken),
        (DONE, Some("placed"), Broken),
        (DONE, None, Broken),
        (Accepted, Some("completed"), Held),
        (Accepted, Some("compensated"), Held),
        (Accepted, Some("placed"), Broken),
        (Accepted, None, Broken),
        (Refused, Some("completed"), Broken),
        (Refused, None, Vacuous),
        (Unknown, Some("placed"), Vacuous),
        (NotConnected, None, Vacuous),
    ];
    for (ending, held, standing) in cases {
        let state = held.map_or(json!({"orders": {}}), |held| orders(&[("a", held)]));
        let broken = u64::from(standing == Broken);
        check(&no_lost(), &[("a", ending)], state, (standing, u64::from(ending.is_right()), broken));
    }
}

#[test]
fn the_counterexample_is_the_smallest_and_names_its_transaction() {
    let ops = [("b", DONE), ("b", DONE), ("a", DONE), ("c", DONE)];
    let outcome = check(&no_lost(), &ops, json!({"orders": {}}), (Standing::Broken, 3, 3));
    let example = outcome.counterexample.unwrap();
    assert_eq!((example.key.as_deref(), example.transaction.as_deref()), (Some("d1-1-a"), Some("tx-9")));
    assert_eq!(example.operations, ["#2 checkout → 200, done at 2.014 s"]);
}

#[test]
fn contradicting_answers_to_one_key_cannot_both_hold() {
    let ops = [("a", DONE), ("a", Ending::Refused)];
    check(&no_lost(), &ops, orders(&[("a", "completed")]), (Standing::Broken, 1, 1));
    check(&no_lost(), &ops, orders(&[("a", "compensated")]), (Standing::Broken, 1, 1));
}

#[test]
fn a_phantom_is_what_nobody_sent() {
    let rule = Rule::NoPhantom { source: source() };
    let held = orders(&[("a", "completed"), ("b", "placed")]);
    check(&rule, &[("a", DONE), ("b", Ending::Unknown)], held.clone(), (Standing::Held, 2, 0));
    check(&rule, &[("a", DONE), ("b", Ending::NotConnected)], held.clone(), (Standing::Broken, 2, 1));
    check(&rule, &[("a", DONE)], held, (Standing::Broken, 2, 1));
    let others = json!({"orders": {"somebody-elses": "completed"}});
    check(&rule, &[("a", DONE)], others, (Standing::Vacuous, 0, 0));
}

#[test]
fn effects_are_counted_per_key() {
    let rule = |path: &str| Rule::AtMostOnce { service: "order".parse().unwrap(), path: path.into() };
    let audit = json!({"counts": {"d1-1-a": 1, "d1-1-b": 2}, "lists": {"d1-1-a": [1, 2]}, "texts": {"d1-1-a": "x"}});
    let ops = [("a", DONE), ("b", DONE)];
    check(&rule("$.counts"), &ops, audit.clone(), (Standing::Broken, 2, 1));
    check(&rule("$.counts"), &ops[..1], audit.clone(), (Standing::Held, 1, 0));
    check(&rule("$.lists"), &ops, audit.clone(), (Standing::Broken, 1, 1));
    check(&rule("$.texts"), &ops, audit.clone(), (Standing::Unreadable, 0, 0));
    check(&rule("$.nothing"), &ops, audit, (Standing::Unreadable, 0, 0));
}

#[test]
fn sums_are_compared_across_paths() {
    let audit = json!({"a": 5, "b": 3, "c": {"x": {"n": 1}, "y": {"n": 1}}, "t": "text"});
    let rule = |right: &str| Rule::Conserved { left: "order:$.a".parse().unwrap(), right: right.parse().unwrap() };
    check(&rule("order:$.b + order:$.c.*.n"), &[], audit.clone(), (Standing::Held, 1, 0));
    check(&rule("order:$.b - order:$.c.x.n + 3"), &[], audit.clone(), (Standing::Held, 1, 0));
    let broken = check(&rule("order:$.b"), &[], audit.clone(), (Standing::Broken, 1, 1));
    assert!(broken.counterexample.unwrap().what.ends_with("off by 2"));
    check(&rule("order:$.nothing"), &[], audit.clone(), (Standing::Unreadable, 0, 0));
    check(&rule("order:$.t"), &[], audit.clone(), (Standing::Unreadable, 0, 0));
    check(&rule("payment:$.a"), &[], audit, (Standing::Unreadable, 0, 0));
    for bad in ["", "order:$.a order:$.b", "$.a", "order:a", "order:$.a +"] {
        assert!(bad.parse::<Sum>().is_err(), "{bad}");
    }
}

#[test]
fn no_number_may_fall_below_the_minimum() {
    let rule = Rule::AtLeast { service: "order".parse().unwrap(), path: "$.stock.*.n".into(), min: 0 };
    check(&rule, &[], json!({"stock": {"x": {"n": 0}, "y": {"n": 7}}}), (Standing::Held, 2, 0));
    check(&rule, &[], json!({"stock": {"x": {"n": -1}, "y": {"n": 7}}}), (Standing::Broken, 2, 1));
    check(&rule, &[], json!({"stock": {}}), (Standing::Unreadable, 0, 0));
}

#[test]
fn transactions_end_and_in_time() {
    let rule = |limit: f64| Rule::TerminalWithin { limit: Span(secs(limit)) };
    check(&rule(2.0), &[("a", DONE)], json!({}), (Standing::Held, 1, 0));
    check(&rule(1.9), &[("a", DONE)], json!({}), (Standing::Broken, 1, 1));
    check(&rule(2.0), &[("b", DONE)], json!({}), (Standing::Vacuous, 0, 0));
}

#[test]
fn what_failed_has_no_effect() {
    let rule = Rule::FailMeansNoEffect {
        operations: vec!["checkout".into()],
        source: source(),
        done: vec!["completed".into()],
    };
    let held = orders(&[("a", "completed"), ("b", "compensated")]);
    check(&rule, &[("b", Ending::Refused)], held.clone(), (Standing::Held, 1, 0));
    check(&rule, &[("a", Ending::Rejected)], held.clone(), (Standing::Broken, 1, 1));
    check(&rule, &[("a", Ending::Rejected), ("a", Ending::Unknown)], held, (Standing::Vacuous, 0, 0));
}
