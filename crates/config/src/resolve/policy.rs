//! Policies: `standard`, and what others change of it.

use std::collections::BTreeMap;

use super::named;
use crate::plan::{Eject, Policy, Retry};
use crate::reader::Reader;
use crate::table::POLICY;
use crate::tree::Node;
use crate::value;

/// The policy that every other builds upon.
pub(crate) const STANDARD: &str = "standard";

/// Every policy by name, `standard` among them.
pub(super) fn all(app: &Reader<'_>) -> BTreeMap<String, Policy> {
    let written = named(app, "policies");
    let standard: Option<&Node> = written.iter().find(|(name, _)| name.value == STANDARD).map(|(_, node)| *node);
    let mut policies = BTreeMap::new();
    if !written.iter().any(|(name, _)| name.value == STANDARD) {
        policies.insert(STANDARD.to_owned(), one(STANDARD, &Reader::open(&POLICY, app.at, None, None, app.report)));
    }
    for (name, node) in &written {
        let below = standard.filter(|_| name.value != STANDARD);
        let reader = Reader::open(&POLICY, name.spot, Some(*node), below, app.report);
        policies.insert(name.value.clone(), one(&name.value, &reader));
    }
    policies
}

fn one(name: &str, reader: &Reader<'_>) -> Policy {
    let timeout = reader.span("timeout");
    let per_try = reader.span("per_try");
    let connect = reader.span("connect");
    let retry = (!reader.is_off("retry")).then(|| retry(&reader.section("retry")));
    if reader.has("per_try") && per_try >= timeout && retry.is_some() {
        reader.report.warn(
            reader.spot("per_try"),
            "one attempt may use up the whole `timeout`, so a slow answer is never retried",
            "make `per_try` half of `timeout` or less, or write `retry: off`",
        );
    }
    if reader.has("connect") && connect > per_try.min(timeout) {
        reader.report.warn(
            reader.spot("connect"),
            "`connect` is longer than the attempt that it is part of",
            "make it shorter than `per_try`",
        );
    }
    Policy {
        name: name.to_owned(),
        timeout,
        per_try: per_try.min(timeout),
        connect: connect.min(timeout),
        body_idle: reader.span("body_idle"),
        retry,
        eject: (!reader.is_off("eject")).then(|| eject(&reader.section("eject"))),
        idempotent: reader.flag("idempotent"),
    }
}

fn retry(reader: &Reader<'_>) -> Retry {
    let backoff = reader.scalar("backoff", value::span_range).map(|at| at.value).unwrap_or_default();
    Retry {
        attempts: reader.count_u32("attempts"),
        backoff_base: backoff.0,
        backoff_max: backoff.1,
        budget: reader.share("budget"),
        floor: reader.rate("floor"),
    }
}

fn eject(reader: &Reader<'_>) -> Eject {
    Eject { failures: reader.count_u32("failures"), time: reader.span("for"), max: reader.share("max") }
}
