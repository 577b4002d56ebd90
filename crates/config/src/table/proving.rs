//! Keys of what keeps data right, and of what proves it: transactions, invariants, drills.

use super::Otherwise::{Inner, None, Required, Value};
use super::{REPLICAS_MAX, Section, Shape, key, key_beside, section};

pub(super) static TRANSACTION: Section = Section {
    what: "a transaction",
    keys: &[
        key(
            "kind",
            Shape::Choice(&["saga"], &["tcc", "two_phase"]),
            Value("saga", "asks the least of the services: a call and its undo"),
            "How it is made all or nothing.",
        ),
        key(
            "key",
            Shape::JsonPath,
            None("every request starts a transaction of its own, a repeated one too"),
            "Where the idempotency key stands in the input, such as `$.order_id`.",
        ),
        key("deadline", Shape::Span, Value("30s", "passed before the pivot, everything is undone"), "From acceptance."),
        key(
            "stuck_after",
            Shape::Span,
            Value("5m", "a dead service is usually back by then; after it a person is asked"),
            "An undo that is not done by then needs a person.",
        ),
        key("steps", Shape::List(&STEP), Required, "In this order."),
    ],
    one_of: &[],
    unbuilt: &["isolation", "parallel", "retention"],
};

static STEP: Section = Section {
    what: "a step",
    keys: &[
        key("name", Shape::Text, Required, "Unique within the transaction."),
        key(
            "call",
            Shape::Call,
            Required,
            "`POST inventory/reservations`: method, service, path; `{key}` is the transaction's key.",
        ),
        key("undo", Shape::Call, None("nothing is called to undo it"), "How `call` is undone."),
        key("pivot", Shape::Flag, Value("false", "it can still be undone"), "After this step there is only forward."),
    ],
    one_of: &[],
    unbuilt: &["after", "try", "confirm", "cancel", "timeout", "retry"],
};

pub(super) static INVARIANT: Section = Section {
    what: "an invariant",
    keys: &[
        key("every", Shape::Choice(&["acked"], &[]), None(""), "Every operation that was acknowledged …"),
        key_beside("ends_in", Shape::Names, Required, "… ends in one of these states.", &["every"]),
        key_beside(
            "in",
            Shape::Place,
            None("Mainstay's own record of the transaction"),
            "Where the states stand: `order/audit` asks GET /audit of order.",
            &["every"],
        ),
        key(
            "at_most_once",
            Shape::Place,
            None(""),
            "`payment/charges`: no key has more than one effect `charges` in GET /audit of payment.",
        ),
        key_beside(
            "at",
            Shape::JsonPath,
            None("`$.orders` for `in`, `$.effects.<name>` for `at_most_once`"),
            "Where in the answer the object from key to state or count stands.",
            &["in", "at_most_once"],
        ),
        key("http", Shape::Call, None(""), "`GET inventory/audit`: a call whose answer is looked at."),
        key_beside(
            "equals",
            Shape::SumPairs,
            None(""),
            "Sums of the answer that must be the same: `$.a + $.b: $.c`.",
            &["http"],
        ),
        key_beside(
            "at_least",
            Shape::SumFloors,
            None(""),
            "Sums of the answer that must not be smaller: `$.min: 0`.",
            &["http"],
        ),
        key(
            "terminal_within",
            Shape::Span,
            None(""),
            "Every transaction is over this long after its start; give it more than the deadline.",
        ),
    ],
    one_of: &["every", "at_most_once", "http", "terminal_within"],
    unbuilt: &["command", "sql", "equal_replies", "fail_means_no_effect"],
};

pub(super) static DRILL: Section = Section {
    what: "a drill",
    keys: &[
        key("load", Shape::Section(&LOAD), Required, "What clients do meanwhile."),
        key(
            "baseline",
            Shape::SpanOrZero,
            Value("5s", "what is normal must be measured before it is disturbed"),
            "First part of the load, without faults.",
        ),
        key(
            "settle",
            Shape::Span,
            Value("30s", "as long as a transaction's deadline"),
            "Longest wait for rest after the load.",
        ),
        key(
            "seed",
            Shape::Count { min: 0, max: u64::MAX },
            None("a new one each time; the report prints it"),
            "Repeats arrivals, keys and targets.",
        ),
        key("faults", Shape::List(&FAULT), None("only the load is run"), "What is done to the system, and when."),
        key("expect", Shape::Section(&EXPECT), Inner, "What must hold beside the invariants."),
    ],
    one_of: &[],
    unbuilt: &["fired", "repeat", "approve", "abort_if"],
};

static LOAD: Section = Section {
    what: "`load`",
    keys: &[
        key(
            "rate",
            Shape::Rate,
            Value("50/s", "enough to see a second of trouble, little enough for a laptop"),
            "Arrivals, whether or not earlier ones are answered.",
        ),
        key(
            "for",
            Shape::Span,
            Value("60s", "time for a few faults and the recovery from each"),
            "From the first arrival to the last, baseline included.",
        ),
        key("route", Shape::Match, None(""), "`POST /checkout`: what is sent; `{key}` in the path is fresh for each."),
        key_beside("body", Shape::Json, None("no body"), "Sent as JSON; `{key}` within is fresh for each.", &["route"]),
        key_beside(
            "headers",
            Shape::Texts,
            Value("{}", "none but those that HTTP needs"),
            "Extra headers.",
            &["route"],
        ),
        key("mix", Shape::List(&OPERATION), None(""), "Several kinds of requests and their shares."),
    ],
    one_of: &["route", "mix"],
    unbuilt: &["ramp", "users"],
};

static OPERATION: Section = section(
    "an operation of the load",
    &[
        key("route", Shape::Match, Required, "`GET /stock/{key}`: method and path."),
        key("share", Shape::Share, None("what the others leave, in equal parts"), "Of all arrivals."),
        key("body", Shape::Json, None("no body"), "Sent as JSON; `{key}` within is fresh for each."),
        key("headers", Shape::Texts, Value("{}", "none but those that HTTP needs"), "Extra headers."),
    ],
);

const EDGE_FAULTS: &[&str] = &["delay", "error", "lose_response"];

static FAULT: Section = Section {
    what: "a fault",
    keys: &[
        key("at", Shape::SpanOrZero, Required, "From the first arrival of the load."),
        key("kill", Shape::ServiceName, None(""), "SIGKILL to replicas of this service."),
        key("freeze", Shape::ServiceName, None(""), "SIGSTOP to replicas of this service, later SIGCONT."),
        key("down", Shape::ServiceName, None(""), "All replicas of this service are killed and stay away."),
        key("delay", Shape::ServiceName, None(""), "Calls to this service wait."),
        key("error", Shape::ServiceName, None(""), "Calls to this service are answered with an error."),
        key("lose_response", Shape::ServiceName, None(""), "This service acts, but its answers are lost."),
        key("kill_mainstay", Shape::True, None(""), "SIGKILL to Mainstay itself, which is then started again."),
        key_beside(
            "replicas",
            Shape::Count { min: 1, max: REPLICAS_MAX },
            None("one, the smallest hurt"),
            "How many replicas, drawn by the seed.",
            &["kill", "freeze"],
        ),
        key_beside(
            "replica",
            Shape::Count { min: 1, max: REPLICAS_MAX },
            None("any"),
            "Just this one, counted from 1.",
            &["kill", "freeze", "delay", "error", "lose_response"],
        ),
        key_beside("by", Shape::Span, Required, "How long calls wait.", &["delay"]),
        key_beside(
            "status",
            Shape::Count { min: 400, max: 599 },
            Value("503", "what an overloaded service says"),
            "The status of the answers.",
            &["error"],
        ),
        key_beside(
            "share",
            Shape::Share,
            Value("100%", "unless it is said that only some are hit"),
            "Of the calls.",
            EDGE_FAULTS,
        ),
        key_beside(
            "for",
            Shape::Span,
            Required,
            "How long it lasts.",
            &["freeze", "down", "delay", "error", "lose_response"],
        ),
    ],
    one_of: &["kill", "freeze", "down", "delay", "error", "lose_response", "kill_mainstay"],
    unbuilt: &[
        "reset",
        "refuse",
        "truncate",
        "corrupt",
        "throttle",
        "duplicate",
        "nth",
        "partition",
        "loss",
        "cpu",
        "memory",
    ],
};

static EXPECT: Section = section(
    "`expect`",
    &[
        key("availability", Shape::Share, None("measured, not judged"), "Right answers in time, of all arrivals."),
        key("p99", Shape::Span, None("measured, not judged"), "99 of 100 answers are faster."),
        key(
            "detect_within",
            Shape::Span,
            None("measured, not judged"),
            "From each fault to the first event that names its target.",
        ),
        key("recover_within", Shape::Span, None("measured, not judged"), "From each fault's end to service as before."),
    ],
);
