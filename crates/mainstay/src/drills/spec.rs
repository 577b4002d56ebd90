//! Plan → drill: what the file says in its words, in the words of the drill crate.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use mainstay_config::{self as config, FaultPlan, Place, Plan, Route, RouteTarget, Rule, Whom};
use mainstay_core::{ServiceName, Share, Span};
use mainstay_drill::{
    self as drill, Expect, Harm, Invariant, Load, Meaning, Operation, Source, Spec, Sum, TimedFault, Windows,
};

/// Drills shorter than this are judged by narrower windows: a window of 5 s that must hold for 15 s says nothing about
/// a drill of half a minute.
const LONG: std::time::Duration = std::time::Duration::from_secs(120);

/// Part of the arrivals at a transaction that repeat a recent one.
const RESEND: Share = Share::percent(5);

/// The drill `name` of the plan, ready to run.
pub(crate) fn spec(plan: &Plan, name: &str, seed: u64, replay: &str) -> anyhow::Result<Spec> {
    let Some(planned) = plan.drill(name) else {
        let known: Vec<&str> = plan.drills.iter().map(|d| d.name.as_str()).collect();
        bail!("there is no drill '{name}' in the file\n  fix: use one of: {}", known.join(", "));
    };
    let mut spec = Spec::new(&plan.app, name, seed);
    spec.replay = replay.to_owned();
    spec.load = Load {
        rate: planned.load.rate,
        duration: Span(planned.load.duration),
        mix: planned.load.mix.iter().map(|op| operation(plan, op)).collect(),
        ..Load::default()
    };
    spec.faults = planned.faults.iter().flat_map(faults).collect();
    for invariant in &plan.invariants {
        spec.invariants.extend(invariants(plan, planned, invariant)?);
    }
    spec.expect = Expect {
        availability: planned.expect.availability,
        p99: planned.expect.p99.map(Span),
        detect_within: planned.expect.detect_within.map(Span),
        recover_within: planned.expect.recover_within.map(Span),
    };
    spec.needs = plan.services.iter().map(|s| (s.name.clone(), s.needs.clone())).collect();
    spec.settle_max = Span(planned.settle);
    if planned.load.duration < LONG {
        spec.windows = Windows {
            window: Span(std::time::Duration::from_secs(1)),
            hold: Span(std::time::Duration::from_secs(2)),
            ..Windows::default()
        };
    }
    Ok(spec)
}

/// How an operation is called in history and report, and what its answers mean: a route that starts a transaction says
/// 200 done, 409 undone, 202 taken on; everything else says 200.
fn operation(plan: &Plan, planned: &config::Operation) -> Operation {
    let mut operation = Operation::new(&operation_name(planned), &planned.method, &planned.path);
    operation.body = planned.body.as_deref().map(numbers);
    operation.headers = planned.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    operation.share = u32::from(planned.share.points());
    if starts_transaction(plan, planned) {
        // Some clients are not sure and send again: the same key must not have its effect twice.
        operation.resend = RESEND;
        operation.answers = vec![(200, Meaning::Done), (409, Meaning::Refused), (202, Meaning::Accepted)];
        operation.objective = Span(std::time::Duration::from_secs(2));
        operation.timeout = Span(std::time::Duration::from_secs(15));
    }
    operation
}

/// A value that is nothing but `{int:…}` stands in the file as a text, because JSON and YAML know no templates; what is
/// sent is the number.
fn numbers(body: &str) -> String {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find("\"{int:") {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        match from[1..].split_once("}\"") {
            Some((template, after)) if !template.contains('"') => {
                out.push_str(template);
                out.push('}');
                rest = after;
            }
            _ => {
                out.push('"');
                rest = &from[1..];
            }
        }
    }
    out + rest
}

fn operation_name(planned: &config::Operation) -> String {
    format!("{} {}", planned.method, planned.path)
}

fn starts_transaction(plan: &Plan, operation: &config::Operation) -> bool {
    let route = Route::taken(&plan.routes, &operation.method, &operation.path);
    route.is_some_and(|route| matches!(route.target, RouteTarget::Transaction(_)))
}

fn faults(planned: &config::TimedFault) -> Vec<TimedFault> {
    let duration = planned.what.duration();
    let lasts = (!duration.is_zero()).then_some(duration);
    let harms = match &planned.what {
        FaultPlan::Kill { whom } => targets(whom, |service, replica| Harm::Kill { service, replica }),
        FaultPlan::Freeze { whom, .. } => targets(whom, |service, replica| Harm::Freeze { service, replica }),
        FaultPlan::Down { service, .. } => vec![Harm::Down { service: service.clone() }],
        FaultPlan::Edge { service, replica, share, effect, .. } => vec![Harm::Edge {
            service: service.clone(),
            replica: replica.as_ref().map(|r| r.index),
            share: *share,
            effect: effect.clone(),
        }],
        FaultPlan::KillMainstay => vec![Harm::KillMainstay],
    };
    harms.into_iter().map(|harm| TimedFault::new(planned.at, lasts, harm)).collect()
}

fn targets(whom: &Whom, harm: impl Fn(ServiceName, Option<u16>) -> Harm) -> Vec<Harm> {
    match whom {
        Whom::Any { service, count } => (0..*count).map(|_| harm(service.clone(), None)).collect(),
        Whom::Replica(replica) => vec![harm(replica.service.clone(), Some(replica.index))],
    }
}

/// One of the file may be several of the drill: each pair and each floor is checked by itself.
fn invariants(plan: &Plan, planned: &config::Drill, invariant: &config::Invariant) -> anyhow::Result<Vec<Invariant>> {
    let rules = match &invariant.rule {
        Rule::NoLost { ends_in, place } => {
            let mix = planned.load.mix.iter().filter(|op| starts_transaction(plan, op));
            // The first state is where what was confirmed to a client ends, the others where what was refused may.
            let (done, undone) = ends_in.split_first().context("ends_in names a state")?;
            let (source, done, refused) = match place {
                Some(place) => {
                    let service = place.call.service.clone();
                    (Source::Audit { service, path: place.at.to_string() }, done.clone(), undone.to_vec())
                }
                None => (Source::Transactions { name: None }, "committed".to_owned(), vec!["rolled_back".to_owned()]),
            };
            let operations = mix.map(operation_name).collect();
            vec![drill::Rule::NoLost { operations, source, done: vec![done], refused }]
        }
        Rule::AtMostOnce { place } => {
            vec![drill::Rule::AtMostOnce { service: place.call.service.clone(), path: place.at.to_string() }]
        }
        Rule::Equal { call, pairs } => {
            let side = |side: &config::Sum| sum(&call.service, side);
            let rule = |(left, right)| Ok(drill::Rule::Conserved { left: side(left)?, right: side(right)? });
            pairs.iter().map(|(left, right)| rule((left, right))).collect::<anyhow::Result<_>>()?
        }
        Rule::AtLeast { call, floors } => {
            let rule = |what: &config::Sum, floor: f64| match what {
                config::Sum::Paths(paths) if paths.len() == 1 => {
                    let path = paths[0].to_string();
                    Ok(drill::Rule::AtLeast { service: call.service.clone(), path, min: floor.ceil() as i64 })
                }
                other => bail!("invariant {}: at_least wants one path, not {other}", invariant.name),
            };
            floors.iter().map(|(what, floor)| rule(what, *floor)).collect::<anyhow::Result<_>>()?
        }
        Rule::TerminalWithin(limit) => vec![drill::Rule::TerminalWithin { limit: Span(*limit) }],
    };
    let several = rules.len() > 1;
    let named = |(i, rule)| {
        let name = if several { format!("{}-{}", invariant.name, i + 1) } else { invariant.name.clone() };
        Invariant { name, rule }
    };
    Ok(rules.into_iter().enumerate().map(named).collect())
}

fn sum(service: &ServiceName, sum: &config::Sum) -> anyhow::Result<Sum> {
    let text = match sum {
        config::Sum::Number(number) => number.to_string(),
        config::Sum::Paths(paths) => {
            paths.iter().map(|path| format!("{service}:{path}")).collect::<Vec<_>>().join(" + ")
        }
    };
    text.parse().with_context(|| format!("the sum {sum}"))
}

/// What is asked of each service at the end: the path of its audit.
pub(crate) fn audits(plan: &Plan) -> anyhow::Result<BTreeMap<ServiceName, String>> {
    let mut audits = BTreeMap::new();
    for invariant in &plan.invariants {
        let call = match &invariant.rule {
            Rule::NoLost { place: Some(Place { call, .. }), .. }
            | Rule::AtMostOnce { place: Place { call, .. } }
            | Rule::Equal { call, .. }
            | Rule::AtLeast { call, .. } => call,
            Rule::NoLost { place: None, .. } | Rule::TerminalWithin(_) => continue,
        };
        if let Some(other) = audits.insert(call.service.clone(), call.path.clone())
            && other != call.path
        {
            bail!(
                "invariant {}: {} is read at {other} already\n  fix: one audit path a service",
                invariant.name,
                call.service
            );
        }
    }
    Ok(audits)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn whole_numbers_lose_their_quotes() {
        assert_eq!(
            numbers(r#"{"n":"{int:1..3}","s":"a {int:1..3}","k":"{key}"}"#),
            r#"{"n":{int:1..3},"s":"a {int:1..3}","k":"{key}"}"#
        );
        assert_eq!(numbers(r#"{"n":"{int:1"}"#), r#"{"n":"{int:1"}"#);
    }
}
