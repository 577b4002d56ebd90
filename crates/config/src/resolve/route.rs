//! Routes, and where everything goes when there are none.

use super::Context;
use crate::plan::{Route, RouteTarget, Service};
use crate::reader::Reader;
use crate::tree::shown;
use crate::{reader, value};

/// Matches everything.
const EVERYTHING: &str = "/*";

/// Every route, in the order of the file, or the one by default.
pub(super) fn all(context: &Context<'_>, app: &Reader<'_>, services: &[Service]) -> Vec<Route> {
    let items = app.items("routes");
    if items.is_empty() && !app.has("routes") {
        return by_default(context, services);
    }
    let mut routes: Vec<(Route, usize)> = Vec::new();
    for item in &items {
        let matched = item.scalar("match", value::route_match);
        let target = target(context, item);
        let policy = if item.has("policy") { context.policy(item) } else { None };
        let (Some(matched), Some(target)) = (matched, target) else { continue };
        let (methods, pattern) = matched.value;
        if let Some(line) = routes.iter().find_map(|(other, line)| alike(other, &methods, &pattern).then_some(*line)) {
            context.report.error(
                matched.spot,
                format!("the route in line {line} matches the same requests"),
                "remove one, or give them different methods",
            );
        }
        if matches!(target, RouteTarget::Transaction(_)) && methods.as_deref() != Some(&["POST".to_owned()]) {
            context.report.warn(
                matched.spot,
                "every method starts a transaction here",
                format!("write `POST {pattern}`: a GET should change nothing"),
            );
        }
        routes.push((Route { methods, pattern, target, policy }, context.report.line(matched.spot)));
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

fn alike(other: &Route, methods: &Option<Vec<String>>, pattern: &str) -> bool {
    let shared = match (&other.methods, methods) {
        (None, None) => true,
        (Some(a), Some(b)) => a.iter().any(|method| b.contains(method)),
        // A route for one method is more exact than one for all.
        _ => false,
    };
    shared && other.pattern == pattern
}

fn target(context: &Context<'_>, item: &Reader<'_>) -> Option<RouteTarget> {
    if let Some(name) = item.scalar("to", |text| Ok(text.to_owned())) {
        return context.service(&name.value, name.spot).map(RouteTarget::Service);
    }
    let name = item.scalar("transaction", |text| Ok(text.to_owned()))?;
    if context.transactions.contains(&name.value) {
        return Some(RouteTarget::Transaction(name.value));
    }
    let fix = match reader::nearest(&name.value, context.transactions.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it under `transactions`".to_owned(),
    };
    context.report.error(name.spot, format!("there is no transaction `{}`", shown(&name.value)), fix);
    None
}

/// Everything goes to the one service that no other needs.
fn by_default(context: &Context<'_>, services: &[Service]) -> Vec<Route> {
    let mut roots = services.iter().filter(|s| !services.iter().any(|other| other.needs.contains(&s.name)));
    match (roots.next(), roots.next()) {
        (Some(root), None) => vec![Route {
            methods: None,
            pattern: EVERYTHING.to_owned(),
            target: RouteTarget::Service(root.name.clone()),
            policy: None,
        }],
        (Some(one), Some(other)) => {
            context.report.warn(
                crate::source::Spot::default(),
                format!("no route: `{}` and `{}` could both be meant, so every request gets 404", one.name, other.name),
                format!("add `routes: [{{ match: /*, to: {} }}]`", one.name),
            );
            Vec::new()
        }
        _ => Vec::new(),
    }
}
