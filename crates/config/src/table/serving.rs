//! Keys of what serves requests: addresses, services, policies, routes.

use super::Otherwise::{Inner, None, Required, Value};
use super::{ATTEMPTS_MAX, REPLICAS_MAX, Section, Shape, THRESHOLD_MAX, key, key_beside, section};

pub(super) static LISTEN: Section = section(
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

pub(super) static SERVICE: Section = Section {
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
            Value(
                "{}",
                "$PORT, $MAINSTAY_REPLICA, $MAINSTAY_GATEWAY, $MAINSTAY_OWNER and a URL for each need are added",
            ),
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

pub(super) static ROUTE: Section = Section {
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
