//! Invariants: what must hold after every drill, and where that is looked up.

use super::{Context, named};
use crate::plan::{Call, Invariant, JsonPath, Place, Rule};
use crate::reader::{At, Reader};
use crate::table::{APP, Shape};
use crate::value;

/// Where a service tells what it did, unless `in` says otherwise.
const AUDIT_PATH: &str = "/audit";

/// Every invariant, in the order of the file.
pub(super) fn all(context: &Context<'_>, app: &Reader<'_>) -> Vec<Invariant> {
    let Some(Shape::Sections(section)) = APP.key("invariants").map(|key| key.shape) else { return Vec::new() };
    let mut invariants = Vec::new();
    for (name, node) in named(app, "invariants") {
        let reader = Reader::open(section, name.spot, Some(node), None, context.report);
        if let Some(rule) = rule(context, &reader) {
            invariants.push(Invariant { name: name.value, rule });
        }
    }
    invariants
}

fn rule(context: &Context<'_>, reader: &Reader<'_>) -> Option<Rule> {
    if reader.has("every") {
        reader.choice("every");
        let ends_in: Vec<String> = reader.list("ends_in").into_iter().map(|at| at.value).collect();
        if ends_in.is_empty() && reader.has("ends_in") {
            context.report.error(reader.spot("ends_in"), "no state is named", "write [completed, compensated]");
        }
        let place = match reader.scalar("in", value::place) {
            Some(At { value: (service, path), spot }) => {
                let service = context.service(&service, spot)?;
                let at = reader.json_path("at").unwrap_or_else(|| JsonPath(vec!["orders".to_owned()]));
                Some(Place { call: get(service, format!("/{path}")), at })
            }
            None => None,
        };
        return Some(Rule::NoLost { ends_in, place });
    }
    if let Some(At { value: (service, effect), spot }) = reader.scalar("at_most_once", value::place) {
        let call = get(context.service(&service, spot)?, AUDIT_PATH.to_owned());
        let at = reader.json_path("at").unwrap_or_else(|| JsonPath(vec!["effects".to_owned(), effect]));
        return Some(Rule::AtMostOnce { place: Place { call, at } });
    }
    if reader.has("http") {
        return http(context, reader);
    }
    reader.maybe_span("terminal_within").map(Rule::TerminalWithin)
}

fn get(service: mainstay_core::ServiceName, path: String) -> Call {
    Call { method: "GET".to_owned(), service, path }
}

fn http(context: &Context<'_>, reader: &Reader<'_>) -> Option<Rule> {
    let call = context.call(reader, "http");
    if let Some(call) = &call
        && call.method != "GET"
    {
        context.report.error(
            reader.spot("http"),
            "looking must change nothing",
            format!("write `GET {}{}`", call.service, call.path),
        );
    }
    match (reader.has("equals"), reader.has("at_least")) {
        (true, false) => {
            let pairs = sides(reader, "equals", value::sum, value::sum);
            Some(Rule::Equal { call: call?, pairs })
        }
        (false, true) => {
            let floors = sides(reader, "at_least", value::sum, value::number);
            Some(Rule::AtLeast { call: call?, floors })
        }
        (false, false) => {
            context.report.error(
                reader.at,
                "nothing is compared",
                "add `equals: { $.a: $.b }` or `at_least: { $.a: 0 }`",
            );
            None
        }
        (true, true) => {
            let spot = reader.key_spot("at_least");
            context.report.error(spot, "`equals` and `at_least` exclude each other", "write two invariants");
            None
        }
    }
}

/// Both sides of every pair under `key`.
fn sides<L, R>(
    reader: &Reader<'_>,
    key: &str,
    left: impl Fn(&str) -> value::Read<L>,
    right: impl Fn(&str) -> value::Read<R>,
) -> Vec<(L, R)> {
    let refuse = |spot, e: value::Wrong| reader.report.error(spot, format!("`{key}`: {}", e.message), e.fix);
    let pairs = reader.pairs(key);
    if pairs.is_empty() && reader.node(key).is_some_and(|node| node.kind() == "a mapping") {
        reader.report.error(reader.spot(key), "nothing is compared", "write a path and what it is compared with");
    }
    let read = pairs.into_iter().filter_map(|(l, r)| {
        let l = left(&l.value).map_err(|e| refuse(l.spot, e)).ok();
        let r = right(&r.value).map_err(|e| refuse(r.spot, e)).ok();
        l.zip(r)
    });
    read.collect()
}
