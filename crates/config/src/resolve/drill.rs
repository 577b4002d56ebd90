//! Drills: load, faults, expectations, and whether they can go together.

use std::collections::BTreeMap;

use mainstay_core::{Share, Span};

use super::{Context, fault, lint, named};
use crate::plan::{Drill, Expect, Load, Operation, Route, Transaction};
use crate::reader::{At, Reader};
use crate::table::{APP, Shape};
use crate::value;

/// Every drill, in the order of the file.
pub(super) fn all(
    context: &Context<'_>,
    app: &Reader<'_>,
    routes: &[Route],
    transactions: &[Transaction],
) -> Vec<Drill> {
    let Some(Shape::Sections(section)) = APP.key("drills").map(|key| key.shape) else { return Vec::new() };
    let mut drills = Vec::new();
    for (name, node) in named(app, "drills") {
        let reader = Reader::open(section, name.spot, Some(node), None, context.report);
        let load = load(context, &reader.section("load"), routes);
        let faults = fault::all(context, &reader);
        let baseline = reader.span("baseline");
        let expect = expect(&reader.section("expect"));
        for fault in &faults {
            check_time(context, &fault.value, fault.spot, baseline, &load);
        }
        let drill = Drill {
            name: name.value,
            load,
            baseline,
            settle: reader.span("settle"),
            seed: reader.maybe_count("seed").map(|at| at.value),
            faults: faults.into_iter().map(|fault| fault.value).collect(),
            expect,
        };
        lint::hopeless_expectation(context, &reader, &drill, routes, transactions);
        drills.push(drill);
    }
    drills
}

fn check_time(
    context: &Context<'_>,
    fault: &crate::plan::TimedFault,
    spot: crate::source::Spot,
    baseline: std::time::Duration,
    load: &Load,
) {
    let (at, end) = (fault.at, fault.at + fault.what.duration());
    if at < baseline {
        let message = format!("{} lies within the baseline, which lasts {}", Span(at), Span(baseline));
        context.report.error(spot, message, format!("write {} or later, or a shorter `baseline`", Span(baseline)));
    } else if at >= load.duration {
        let message = format!("at {} the load is over", Span(at));
        context.report.error(spot, message, format!("write a time before {}", Span(load.duration)));
    } else if end > load.duration {
        context.report.warn(
            spot,
            format!("the fault lasts until {}, the load only until {}", Span(end), Span(load.duration)),
            "a recovery that nobody waits for is not measured: make `load.for` longer",
        );
    }
}

fn expect(reader: &Reader<'_>) -> Expect {
    Expect {
        availability: reader.maybe_share("availability").map(|at| at.value),
        p99: reader.maybe_span("p99"),
        detect_within: reader.maybe_span("detect_within"),
        recover_within: reader.maybe_span("recover_within"),
    }
}

fn load(context: &Context<'_>, reader: &Reader<'_>, routes: &[Route]) -> Load {
    let (rate, duration) = (reader.rate("rate"), reader.span("for"));
    let mut mix = Vec::new();
    if reader.has("mix") {
        let items = reader.items("mix");
        if items.is_empty() {
            context.report.error(reader.key_spot("mix"), "no request is named", "add `- { route: POST /checkout }`");
        }
        let shares: Vec<Option<At<Share>>> = items.iter().map(|item| item.maybe_share("share")).collect();
        let shares = split(context, reader, &shares);
        for (item, share) in items.iter().zip(shares) {
            mix.extend(operation(context, item, share, routes));
        }
    } else {
        mix.extend(operation(context, reader, Share::ALL, routes));
    }
    Load { rate, duration, mix }
}

/// What is left by those that name a share goes to the others in equal parts.
fn split(context: &Context<'_>, reader: &Reader<'_>, shares: &[Option<At<Share>>]) -> Vec<Share> {
    let whole = u64::from(Share::ALL.points());
    let named: u64 = shares.iter().flatten().map(|at| u64::from(at.value.points())).sum();
    let open = shares.iter().filter(|share| share.is_none()).count() as u64;
    let percent = named as f64 / 100.0;
    if named > whole || (open == 0 && named < whole && !shares.is_empty()) {
        let fix = "leave out one `share`: it gets what remains";
        context.report.error(reader.key_spot("mix"), format!("the shares make {percent}%, not 100%"), fix);
    } else if open > 0 && named == whole {
        let fix = "lower another, or remove the entries without a share";
        context.report.error(reader.key_spot("mix"), "nothing is left for the entries without a `share`", fix);
    }
    let rest = whole.saturating_sub(named);
    let mut given = 0;
    let part = |share: &Option<At<Share>>| match share {
        Some(at) => at.value,
        None => {
            // The first ones get the basis points that do not divide.
            let points = rest / open + u64::from(given < rest % open);
            given += 1;
            Share::basis_points(points as u16).unwrap_or(Share::ALL)
        }
    };
    shares.iter().map(part).collect()
}

fn operation(context: &Context<'_>, item: &Reader<'_>, share: Share, routes: &[Route]) -> Option<Operation> {
    let request = item.scalar("route", value::request);
    let body = item.node("body").filter(|node| !node.is_null()).map(|node| match node.as_scalar() {
        Some(text) => At { value: text.to_owned(), spot: node.spot },
        None => At { value: node.to_json().to_string(), spot: node.spot },
    });
    if let Some(body) = &body
        && serde_json::from_str::<serde_json::Value>(&body.value).is_err()
    {
        context.report.error(body.spot, "`body` is no JSON", "write it as a mapping: body: { order_id: \"{key}\" }");
    }
    let headers: BTreeMap<_, _> =
        item.pairs("headers").into_iter().map(|(k, v)| (header(context, k), v.value)).collect();
    let At { value: (method, path), spot } = request?;
    if Route::taken(routes, &method, &path).is_none() {
        let fix = "every answer would be 404: add it under `routes`";
        context.report.error(spot, format!("no route matches `{method} {path}`"), fix);
    }
    Some(Operation { method, path, share, body: body.map(|at| at.value), headers })
}

fn header(context: &Context<'_>, name: At<String>) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.value.is_empty() || !name.value.chars().all(good) {
        context.report.error(name.spot, "this is no name of a header", "use letters, digits and dashes");
    }
    name.value
}
