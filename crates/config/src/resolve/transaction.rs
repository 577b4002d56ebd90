//! Transactions: steps, their undoing, and the pivot.

use super::{Context, named};
use crate::plan::{Step, Transaction, TransactionKind};
use crate::reader::{At, Reader};
use crate::table::{APP, STEPS_MAX, Shape};
use crate::value;

/// Every transaction, in the order of the file.
pub(super) fn all(context: &Context<'_>, app: &Reader<'_>) -> Vec<Transaction> {
    let Some(Shape::Sections(section)) = APP.key("transactions").map(|key| key.shape) else { return Vec::new() };
    let mut transactions = Vec::new();
    for (name, node) in named(app, "transactions") {
        let reader = Reader::open(section, name.spot, Some(node), None, context.report);
        reader.choice("kind");
        let key = reader.json_path("key");
        if !reader.has("key") {
            context.report.warn(
                name.spot,
                format!("`{}` has no `key`: a client that repeats a request starts a second one", name.value),
                "add `key: $.order_id`, or whatever names the request in its body",
            );
        }
        let steps = steps(context, &reader, key.is_some() || reader.has("key"));
        transactions.push(Transaction {
            name: name.value,
            kind: TransactionKind::Saga,
            key,
            deadline: reader.span("deadline"),
            stuck_after: reader.span("stuck_after"),
            steps,
        });
    }
    transactions
}

fn steps(context: &Context<'_>, transaction: &Reader<'_>, has_key: bool) -> Vec<Step> {
    let report = context.report;
    let items = transaction.items("steps");
    if transaction.has("steps") && (items.is_empty() || items.len() > STEPS_MAX) {
        report.error(
            transaction.key_spot("steps"),
            format!("{} steps", items.len()),
            format!("write 1 to {STEPS_MAX}"),
        );
    }
    let pivot = items.iter().position(|item| item.flag("pivot"));
    let mut steps = Vec::new();
    let mut names: Vec<At<String>> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let name = item.scalar("name", value::name);
        let call = context.call(item, "call");
        let undo = context.call(item, "undo");
        for (key, call) in [("call", &call), ("undo", &undo)] {
            if call.as_ref().is_some_and(|call| call.path.contains("{key}")) && !has_key {
                report.error(item.spot(key), "`{key}` stands for nothing", "add `key: $.order_id` to the transaction");
            }
        }
        if let Some(name) = &name {
            if let Some(first) = names.iter().find(|other| other.value == name.value) {
                let line = report.line(first.spot);
                report.error(
                    name.spot,
                    format!("a step `{}` stands in line {line} already", name.value),
                    "give it another name",
                );
            }
            names.push(name.clone());
        }
        let is_pivot = item.flag("pivot");
        match pivot {
            Some(at) if is_pivot && i > at => {
                report.error(item.spot("pivot"), "a second pivot", "after the first there is only forward: keep one");
            }
            Some(at) if i > at && item.has("undo") => {
                report.warn(item.spot("undo"), "this never runs: after the pivot nothing is undone", "remove `undo`");
            }
            _ => {}
        }
        // The last step needs no undo where there is no pivot: nothing after it can fail.
        let must_undo = pivot.map_or(i + 1 < items.len(), |at| i < at);
        if must_undo && !item.has("undo") && item.has("call") {
            report.warn(
                item.spot("call"),
                "a later step may still fail, and this one cannot be undone",
                "add `undo`, or make this the pivot if nothing after it may be refused",
            );
        }
        if let (Some(name), Some(call)) = (name, call) {
            steps.push(Step { name: name.value, call, undo, pivot: is_pivot });
        }
    }
    steps
}
