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

use Otherwise::{Inner, None, Required, Value};

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

static LISTEN: Section = section(
    "`listen`",
    &[
        key(
            "ingress",
            Shape::Address,
            Value("127.0.0.1:8080", "this machine only, until it is opened on purpose"),
            "Where clients come in.",
        ),
        key(
            "console",
            Shape::Address,
            Value("127.0.0.1:9900", "this machine only: it can stop services"),
            "Dashboard and API.",
        ),
    ],
);

static SERVICE: Section = Section {
    what: "a service",
    keys: &[
        key(
            "run",
            Shape::Words,
            Required,
            "The program and its arguments, relative to the file's folder. $PORT says where to listen.",
        ),
        key(
            "dir",
            Shape::Folder,
            Value(".", "the file's folder, wherever Mainstay is started from"),
            "Working directory, relative to the file's folder.",
        ),
        key(
            "needs",
            Shape::ServiceNames,
            Value("[]", "it calls no other service"),
            "The services that it calls: start order, and a URL in the environment for each.",
        ),
        key(
            "replicas",
            Shape::Count { min: 1, max: REPLICAS_MAX },
            Value("1", "a second copy must be known to be harmless first"),
            "How many run.",
        ),
        key(
            "env",
            Shape::Texts,
            Value("{}", "nothing but $PORT, $MAINSTAY_REPLICA and a URL for each need is added"),
            "Extra environment.",
        ),
        key("policy", Shape::Text, Value("standard", "the built-in one"), "How calls to it are made."),
        key("probes", Shape::Section(&PROBES), Inner, "How its replicas are watched."),
        key("restart", Shape::Section(&RESTART), Inner, "How often a replica may be restarted."),
        key("stop", Shape::Section(&STOP), Inner, "How a replica is stopped."),
    ],
    one_of: &[],
    unbuilt: &["scale", "rollout", "limits", "remediate", "hooks", "zone", "protocol"],
};

static PROBES: Section = section(
    "`probes`",
    &[
        key(
            "startup",
            Shape::Section(&PROBE),
            None("`ready` alone decides when traffic may come"),
            "Until it succeeds the others do not run.",
        ),
        key(
            "ready",
            Shape::Section(&PROBE),
            Value(
                "{ tcp: true }",
                "all that is known of the service is its port; an HTTP path that asks its own database says more",
            ),
            "Decides about traffic.",
        ),
        key(
            "live",
            Shape::Section(&PROBE),
            None("an exit is seen at once, and a wrong live probe restarts healthy replicas"),
            "Decides about a restart. It must not ask other services.",
        ),
    ],
);

static PROBE: Section = Section {
    what: "a probe",
    keys: &[
        key("http", Shape::UrlPath, None(""), "GET this path; 200 to 399 is a success."),
        key("tcp", Shape::True, None(""), "A connection to the port is a success."),
        key("exec", Shape::Words, None(""), "Exit code 0 is a success."),
        key(
            "every",
            Shape::Span,
            Value("1s", "three failures are then noticed within three seconds"),
            "Time between two probes.",
        ),
        key(
            "timeout",
            Shape::Span,
            Value("1s", "an answer that takes longer helps no client either"),
            "A slower answer is a failure.",
        ),
        key(
            "fail_after",
            Shape::Count { min: 1, max: THRESHOLD_MAX },
            Value("3", "one lost packet is no outage"),
            "Failures in a row that count.",
        ),
        key(
            "ok_after",
            Shape::Count { min: 1, max: THRESHOLD_MAX },
            Value("1", "a service that answers is wanted back"),
            "Successes in a row that count.",
        ),
        key(
            "delay",
            Shape::SpanOrZero,
            Value("0s", "the first success opens the way as soon as it can"),
            "Wait before the first probe.",
        ),
    ],
    one_of: &["http", "tcp", "exec"],
    unbuilt: &["grpc"],
};

static RESTART: Section = Section {
    what: "`restart`",
    keys: &[
        key(
            "limit",
            Shape::Count { min: 0, max: THRESHOLD_MAX },
            Value("5", "what five restarts do not mend, a sixth will not"),
            "More restarts than this within `within`, and the replica counts as failed.",
        ),
        key(
            "within",
            Shape::Span,
            Value("60s", "long enough that a crash loop with back-off stays inside"),
            "The window for `limit`.",
        ),
    ],
    one_of: &[],
    unbuilt: &["strategy", "exit_codes"],
};

static STOP: Section = section(
    "`stop`",
    &[
        key(
            "drain",
            Shape::SpanOrZero,
            Value("10s", "requests in flight may finish before TERM"),
            "Longest wait for requests in flight.",
        ),
        key("grace", Shape::Span, Value("30s", "in all, before KILL"), "From the first step to KILL."),
    ],
);

pub(crate) static POLICY: Section = Section {
    what: "a policy",
    keys: &[
        key(
            "timeout",
            Shape::Span,
            Value("15s", "in all: retries, back-off and queueing; people have left by then"),
            "Everything together.",
        ),
        key(
            "per_try",
            Shape::Span,
            Value("5s", "leaves time for another attempt; never more than what remains of `timeout`"),
            "One attempt.",
        ),
        key("connect", Shape::Span, Value("1s", "a host that takes longer to accept is not there"), "One connection."),
        key(
            "body_idle",
            Shape::Span,
            Value("60s", "a body that stands still longer will not go on"),
            "Longest silence within a body.",
        ),
        key("retry", Shape::SectionOrOff(&RETRY), Inner, "When and how often an attempt is repeated; `off` for never."),
        key("eject", Shape::SectionOrOff(&EJECT), Inner, "When an endpoint is taken out of rotation; `off` for never."),
        key(
            "idempotent",
            Shape::Flag,
            Value("false", "a POST that is sent twice may pay twice"),
            "Every request may be sent twice without harm.",
        ),
    ],
    one_of: &[],
    unbuilt: &[
        "breaker",
        "bulkhead",
        "hedge",
        "rate_limit",
        "fallback",
        "adaptive",
        "priority",
        "balancer",
        "panic",
        "mirror",
        "split",
        "deadline",
    ],
};

static RETRY: Section = section(
    "`retry`",
    &[
        key(
            "attempts",
            Shape::Count { min: 1, max: ATTEMPTS_MAX },
            Value("2", "a third failure is no accident"),
            "Extra attempts after the first. Only what was never sent, or may be sent twice, is retried.",
        ),
        key(
            "backoff",
            Shape::SpanRange,
            Value(
                "25ms..250ms",
                "drawn from 0 to 25 ms, then 50 ms … 250 ms, so that clients do not come back in step",
            ),
            "First and longest pause.",
        ),
        key(
            "budget",
            Shape::Share,
            Value("20%", "in a total outage retries add a fifth to the load and not two thirds"),
            "Retries as a share of first attempts.",
        ),
        key(
            "floor",
            Shape::Rate,
            Value("3/s", "where there is little traffic a share of it is none"),
            "Retries that are always allowed.",
        ),
    ],
);

static EJECT: Section = section(
    "`eject`",
    &[
        key(
            "failures",
            Shape::Count { min: 1, max: THRESHOLD_MAX },
            Value("5", "few enough to be quick, more than bad luck"),
            "Failures in a row that eject an endpoint.",
        ),
        key("for", Shape::Span, Value("10s", "longer each time, up to 300 s"), "Time out of rotation, the first time."),
        key(
            "max",
            Shape::Share,
            Value("50%", "the rest must bear the load; rounded down, so one endpoint alone is never ejected"),
            "At most this share of the endpoints.",
        ),
    ],
);

static ROUTE: Section = Section {
    what: "a route",
    keys: &[
        key(
            "match",
            Shape::Match,
            Required,
            "`POST /checkout`, `GET|HEAD /stock/*`, or a path alone for every method.",
        ),
        key("to", Shape::ServiceName, None(""), "The service that answers."),
        key("transaction", Shape::Text, None(""), "The transaction that is started; the request's body is its input."),
        key_beside("policy", Shape::Text, None("the service's own"), "Instead of the service's own policy.", &["to"]),
    ],
    one_of: &["to", "transaction"],
    unbuilt: &["fallback", "split", "mirror", "rate_limit", "host", "headers", "priority", "idempotent", "idempotency"],
};

static TRANSACTION: Section = Section {
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

static INVARIANT: Section = Section {
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
        key("terminal_within", Shape::Span, None(""), "Every transaction is over this long after the faults are."),
    ],
    one_of: &["every", "at_most_once", "http", "terminal_within"],
    unbuilt: &["command", "sql", "equal_replies", "fail_means_no_effect"],
};

static DRILL: Section = Section {
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

impl Section {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}
