//! Warnings of what is allowed but cannot work as its writer hopes.

use std::time::Duration;

use mainstay_core::ServiceName;

use super::policy::STANDARD;
use super::{Context, named};
use crate::plan::{Drill, FaultPlan, Route, RouteTarget, Service, Transaction, Whom};
use crate::reader::Reader;

/// Policies that nobody uses.
pub(super) fn unused(context: &Context<'_>, app: &Reader<'_>, services: &[Service], routes: &[Route]) {
    for (name, _) in named(app, "policies") {
        let by_service = services.iter().any(|service| service.policy.name == name.value);
        let by_route = routes.iter().any(|route| route.policy.as_ref().is_some_and(|p| p.name == name.value));
        // After an error the users of a policy may be missing from the plan.
        if !by_service && !by_route && name.value != STANDARD && context.report.errors() == 0 {
            let fix = format!("add `policy: {}` to a service or a route, or remove it", name.value);
            context.report.warn(name.spot, format!("policy `{}` is used nowhere", name.value), fix);
        }
    }
}

/// Calls at the end of a chain for each one at its start, above which retries feed an outage.
const AMPLIFICATION_MAX: f64 = 3.0;
/// Longest chain that is looked at.
const CHAIN_LEN_MAX: usize = 32;

/// Every hop of a chain of `needs` retries what fails behind it, so retries multiply from hop to hop.
pub(super) fn amplification(context: &Context<'_>, app: &Reader<'_>, services: &[Service]) {
    let hop = |service: &Service| match service.policy.retry {
        Some(retry) => 1.0 + f64::from(retry.attempts).min(retry.budget.ratio()),
        None => 1.0,
    };
    // The worst chain that ends in each service: callers hand on what they got, once per pass.
    let mut worst: Vec<f64> = services.iter().map(hop).collect();
    for _ in 0..CHAIN_LEN_MAX {
        let before = worst.clone();
        for (caller, multiplied) in services.iter().zip(&before) {
            for (i, callee) in services.iter().enumerate().filter(|(_, callee)| caller.needs.contains(&callee.name)) {
                worst[i] = worst[i].max(multiplied * hop(callee));
            }
        }
        if worst == before {
            break;
        }
    }
    for (service, worst) in services.iter().zip(worst) {
        // After an error the chain may be no chain but a circle.
        if worst > AMPLIFICATION_MAX && context.report.errors() == 0 {
            let written = app.sections("services");
            let spot = written.iter().find(|(name, _)| name.text == service.name.as_str()).map(|(name, _)| name.spot);
            context.report.warn(
                spot.unwrap_or_default(),
                format!("retries along the chain to `{}` can make {worst:.1} calls out of one", service.name),
                "lower `retry.budget` in the policies of the chain, or write `retry: off` for the inner hops",
            );
        }
    }
}

/// The share of the load, at most, that goes right while the faults do what they say. Only what nothing can mask is
/// counted: the whole service away, and requests that go straight to it, or transactions that give up before it is back.
fn best_availability(
    drill: &Drill,
    routes: &[Route],
    transactions: &[Transaction],
    replicas: impl Fn(&ServiceName) -> u16,
) -> f64 {
    let mut bad = 0.0;
    for fault in &drill.faults {
        let (service, duration) = match &fault.what {
            FaultPlan::Down { service, duration } => (service, *duration),
            FaultPlan::Freeze { whom: Whom::Any { service, count }, duration } if *count >= replicas(service) => {
                (service, *duration)
            }
            _ => continue,
        };
        let duration = duration.min(drill.load.duration.saturating_sub(fault.at));
        for operation in &drill.load.mix {
            let Some(route) = Route::taken(routes, &operation.method, &operation.path) else { continue };
            let lost: Duration = match &route.target {
                RouteTarget::Service(target) if target == service => duration,
                RouteTarget::Transaction(name) => {
                    let Some(t) = transactions.iter().find(|t| t.name == *name) else { continue };
                    let calls = t.steps.iter().any(|step| step.call.service == *service);
                    if calls { duration.saturating_sub(t.deadline) } else { Duration::ZERO }
                }
                RouteTarget::Service(_) => continue,
            };
            bad += operation.share.ratio() * lost.as_secs_f64() / drill.load.duration.as_secs_f64().max(f64::EPSILON);
        }
    }
    (1.0 - bad).max(0.0)
}

/// A drill whose faults alone break its expectations says nothing about the app.
pub(super) fn hopeless_expectation(
    context: &Context<'_>,
    reader: &Reader<'_>,
    drill: &Drill,
    routes: &[Route],
    transactions: &[Transaction],
) {
    let Some(expected) = drill.expect.availability else { return };
    let best = best_availability(drill, routes, transactions, |name| context.services.get(name).copied().unwrap_or(1));
    if best < expected.ratio() {
        let best = (best * 1000.0).floor() / 10.0;
        context.report.warn(
            reader.section("expect").spot("availability"),
            format!("the faults alone leave {best}% at best: a whole service is away while requests go straight to it"),
            format!("expect {best}% or less, or make the faults shorter"),
        );
    }
}
