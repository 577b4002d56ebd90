//! Every key of the file: its shape, its default, and the reason for that default.
//!
//! This is the only place where a key or a default is written down. The reader refuses what is not here, the plan
//! takes its defaults from here, `explain` prints them with their reasons, and the JSON Schema is made from it: so the
//! four can never tell different stories. A default is written as a user would write it.

/// A mapping with fixed keys.
#[derive(Debug)]
pub(crate) struct Section {
    /// For messages: "a service".
    pub(crate) what: &'static str,
    pub(crate) keys: &'static [Key],
    /// Exactly one of these keys is written; empty: no such rule.
    pub(crate) one_of: &'static [&'static str],
    /// Keys of other tools, or planned ones, and what to do instead.
    pub(crate) unbuilt: &'static [&'static str],
}

/// One key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) default: Otherwise,
    /// What it means, for the schema.
    pub(crate) doc: &'static str,
    /// It means something only beside one of these; empty: always.
    pub(crate) beside: &'static [&'static str],
}

/// What holds where nothing is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Otherwise {
    /// Something must be written.
    Required,
    /// This value, for this reason.
    Value(&'static str, &'static str),
    /// Nothing, for this reason.
    None(&'static str),
    /// The section's own defaults.
    Inner,
}

/// What may stand under a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Text,
    Span,
    /// A duration that may be zero.
    SpanOrZero,
    Share,
    Rate,
    Count {
        min: u64,
        max: u64,
    },
    Flag,
    /// The only value is `true`.
    True,
    /// One of the first; the second are known but not built yet.
    Choice(&'static [&'static str], &'static [&'static str]),
    /// `25ms..250ms`
    SpanRange,
    /// A program and its arguments, as a line or as a list.
    Words,
    Folder,
    Address,
    /// `POST /checkout`
    Match,
    /// `POST inventory/reservations`
    Call,
    /// `payment/charges`
    Place,
    /// `/health`
    UrlPath,
    JsonPath,
    ServiceName,
    ServiceNames,
    Names,
    /// Text to text.
    Texts,
    /// Sum to sum.
    SumPairs,
    /// Sum to number.
    SumFloors,
    /// Anything; goes out as JSON.
    Json,
    Section(&'static Section),
    /// Or `off`.
    SectionOrOff(&'static Section),
    /// Name to section.
    Sections(&'static Section),
    List(&'static Section),
}

const fn key(name: &'static str, shape: Shape, default: Otherwise, doc: &'static str) -> Key {
    Key { name, shape, default, doc, beside: &[] }
}

const fn key_beside(
    name: &'static str,
    shape: Shape,
    default: Otherwise,
    doc: &'static str,
    beside: &'static [&'static str],
) -> Key {
    Key { name, shape, default, doc, beside }
}

const fn section(what: &'static str, keys: &'static [Key]) -> Section {
    Section { what, keys, one_of: &[], unbuilt: &[] }
}

mod proving;
mod serving;

use Otherwise::{Inner, None, Required, Value};

use proving::{DRILL, INVARIANT, TRANSACTION};
pub(crate) use serving::POLICY;
use serving::{LISTEN, ROUTE, SERVICE};

/// Most replicas of one service on one machine.
pub(crate) const REPLICAS_MAX: u64 = 100;
/// Most extra attempts; more only multiply an outage.
pub(crate) const ATTEMPTS_MAX: u64 = 10;
/// Most steps of one transaction.
pub(crate) const STEPS_MAX: usize = 256;
const THRESHOLD_MAX: u64 = 1000;

pub(crate) static APP: Section = Section {
    what: "the file",
    keys: &[
        key("app", Shape::Text, Required, "Name of the app."),
        key("services", Shape::Sections(&SERVICE), Required, "The programs that make up the app, by name."),
        key(
            "policies",
            Shape::Sections(&POLICY),
            None("every service has the policy `standard`"),
            "Named ways to call a service. What one leaves open comes from `standard`.",
        ),
        key(
            "routes",
            Shape::List(&ROUTE),
            None("everything goes to the service that no other needs, where there is just one"),
            "Which request goes where; the most exact match wins.",
        ),
        key(
            "transactions",
            Shape::Sections(&TRANSACTION),
            None("nothing is tied together until it is said how it is undone"),
            "Work across services that is done in whole or undone, by name.",
        ),
        key(
            "invariants",
            Shape::Sections(&INVARIANT),
            None("only the app's owner knows what must never be broken"),
            "What must hold after every drill, by name.",
        ),
        key(
            "drills",
            Shape::Sections(&DRILL),
            None("`mainstay drill` needs one"),
            "Experiments that prove that the app bears faults, by name.",
        ),
        key("listen", Shape::Section(&LISTEN), Inner, "Addresses that Mainstay itself listens on."),
        key(
            "store",
            Shape::Choice(&["sqlite"], &["postgres"]),
            Value("sqlite", "needs nothing installed, and survives kill -9 and power loss"),
            "Where transactions are kept.",
        ),
    ],
    one_of: &[],
    unbuilt: &["guard", "observe", "backup", "schedule", "jobs", "secrets", "notify"],
};

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
