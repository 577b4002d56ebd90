//! The plan: what a file means, with every default filled in and every name resolved.
//!
//! It is plain data over the core's types, so that the assembly can map it to the options of the gateway, the
//! supervisor, the transaction engine and the drill without knowing anything of YAML. Whoever holds a [`Plan`] holds a
//! valid one: every service, policy and transaction that it names exists, `needs` has no cycle, every share is a
//! share and every address an address.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::{Rate, ServiceName, Share};

use crate::file::Origin;

mod drill;

pub use drill::{Drill, Expect, FaultPlan, Invariant, Load, Operation, Place, Rule, TimedFault, Whom};

/// All that a file means.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Name of the app.
    pub app: String,
    /// The folder of the file, absolute where the file was loaded by an absolute path or by `load`.
    pub dir: PathBuf,
    /// Addresses that Mainstay itself listens on.
    pub listen: Listen,
    /// Where durable state lives.
    pub store: Store,
    /// In the order of the file.
    pub services: Vec<Service>,
    /// Every policy by name; `standard` is always there.
    pub policies: BTreeMap<String, Policy>,
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// In the order of the file.
    pub transactions: Vec<Transaction>,
    /// In the order of the file; every drill checks all of them.
    pub invariants: Vec<Invariant>,
    /// In the order of the file.
    pub drills: Vec<Drill>,
    /// The file as it was written, for `explain` and for messages that point into it.
    pub(crate) origin: Origin,
}

impl Plan {
    /// The service of that name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The transaction of that name.
    pub fn transaction(&self, name: &str) -> Option<&Transaction> {
        self.transactions.iter().find(|transaction| transaction.name == name)
    }

    /// The drill of that name.
    pub fn drill(&self, name: &str) -> Option<&Drill> {
        self.drills.iter().find(|drill| drill.name == name)
    }
}

/// Addresses that Mainstay itself listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// Where clients come in.
    pub ingress: SocketAddr,
    /// Console and API.
    pub console: SocketAddr,
}

/// Where durable state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// `.mainstay/mainstay.db` beside the file.
    Sqlite,
}

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Program and arguments; never empty. A program with a slash is absolute or joined to the file's folder.
    pub command: Vec<String>,
    /// Working directory, joined to the file's folder.
    pub dir: PathBuf,
    /// The services that it calls: start order, and an edge each.
    pub needs: Vec<ServiceName>,
    /// How many replicas run, at least 1.
    pub replicas: u16,
    /// Extra environment.
    pub env: BTreeMap<String, String>,
    /// How calls to it are made.
    pub policy: Policy,
    /// How its replicas are watched.
    pub probes: Probes,
    /// How often a replica may be restarted.
    pub restart: Restart,
    /// How a replica is stopped.
    pub stop: Stop,
}

/// How the replicas of a service are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    /// Until it succeeds the others do not run.
    pub startup: Option<Probe>,
    /// Decides about traffic.
    pub ready: Probe,
    /// Decides about a restart.
    pub live: Option<Probe>,
}

/// One probe. Thresholds are at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is asked.
    pub check: Check,
    /// Time between two probes.
    pub every: Duration,
    /// An answer that takes longer is a failure.
    pub timeout: Duration,
    /// Failures in a row that change the state.
    pub fail_after: u32,
    /// Successes in a row that change the state.
    pub ok_after: u32,
    /// Wait before the first probe.
    pub delay: Duration,
}

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// GET this path: 200 to 399 is a success.
    Http {
        /// Starts with `/`.
        path: String,
    },
    /// A connection to the port is a success.
    Tcp,
    /// Exit code 0 is a success.
    Exec {
        /// Program and arguments; never empty.
        command: Vec<String>,
    },
}

/// Intensity of restarts: more than `limit` within `within` and the replica counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Restarts.
    pub limit: u32,
    /// The window.
    pub within: Duration,
}

/// How a replica is stopped: out of rotation, drain, TERM, grace, KILL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Longest wait for requests in flight.
    pub drain: Duration,
    /// From the first step to KILL, in all.
    pub grace: Duration,
}

/// How calls to an upstream are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name: `standard`, or the key under `policies`.
    pub name: String,
    /// Everything together: retries, back-off and queueing.
    pub timeout: Duration,
    /// One attempt.
    pub per_try: Duration,
    /// One connection.
    pub connect: Duration,
    /// Longest silence within a body.
    pub body_idle: Duration,
    /// None: never retried.
    pub retry: Option<Retry>,
    /// None: never ejected.
    pub eject: Option<Eject>,
    /// Every request of it may be sent twice without harm.
    pub idempotent: bool,
}

/// When and how often an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Extra attempts after the first, 1 to 10.
    pub attempts: u32,
    /// The first pause is drawn from 0 to this; each further one from twice that.
    pub backoff_base: Duration,
    /// No pause is longer.
    pub backoff_max: Duration,
    /// Retries at most as a share of first attempts …
    pub budget: Share,
    /// … and always this many.
    pub floor: Rate,
}

/// When an endpoint is taken out of rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row.
    pub failures: u32,
    /// For how long, the first time.
    pub time: Duration,
    /// At most this share of the endpoints, rounded down.
    pub max: Share,
}

/// A request that comes in and where it goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// None: every method.
    pub methods: Option<Vec<String>>,
    /// `/checkout` matches itself, `/orders/*` matches `/orders` and all below it, `/*` everything.
    pub pattern: String,
    /// Where it goes.
    pub target: RouteTarget,
    /// Instead of the service's own.
    pub policy: Option<Policy>,
}

impl Route {
    /// The route that a request takes, as the gateway chooses it: an exact path before a prefix, a longer prefix before a
    /// shorter one, and of equal ones the first. A query is left out of account; `{key}` counts as plain text.
    pub fn taken<'a>(routes: &'a [Route], method: &str, path: &str) -> Option<&'a Route> {
        let path = path.split('?').next().unwrap_or(path);
        let fits = |route: &Route| {
            let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|r| r.is_empty() || r.starts_with('/'));
            let by_method = route.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| m == method));
            by_method && route.pattern.strip_suffix("/*").map_or(path == route.pattern, below)
        };
        let rank = |route: &Route| match route.pattern.strip_suffix("/*") {
            Some(prefix) => prefix.len(),
            None => usize::MAX,
        };
        // Of equal ones `max_by_key` gives the last, so the order is turned round.
        routes.iter().rev().filter(|route| fits(route)).max_by_key(|route| rank(route))
    }
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteTarget {
    /// To a replica of the service.
    Service(ServiceName),
    /// Its body is the input of a new transaction.
    Transaction(String),
}

/// A transaction: steps that are all done, or all undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Transaction {
    /// Its name.
    pub name: String,
    /// How it is made all or nothing.
    pub kind: TransactionKind,
    /// Where its idempotency key stands in the input.
    pub key: Option<JsonPath>,
    /// From acceptance; passed before the pivot, it is undone.
    pub deadline: Duration,
    /// An undo that is still not done after this needs a person.
    pub stuck_after: Duration,
    /// In order; never empty.
    pub steps: Vec<Step>,
}

/// How a transaction is made all or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionKind {
    /// Steps in order, undone in reverse order.
    Saga,
}

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, unique within the transaction.
    pub name: String,
    /// What it does.
    pub call: Call,
    /// How that is undone.
    pub undo: Option<Call>,
    /// After it there is only forward. At most one step is the pivot.
    pub pivot: bool,
}

/// A call to a service: `POST inventory/reservations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Upper case.
    pub method: String,
    /// Whom.
    pub service: ServiceName,
    /// Starts with `/`; may hold `{key}`.
    pub path: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.service, self.path)
    }
}

/// A path into a JSON value: `$.totals.available`. `$` alone is the whole value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPath(pub(crate) Vec<String>);

impl JsonPath {
    /// The keys from the outside in.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// What stands there, if anything does.
    pub fn find<'a>(&self, value: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
        self.0.iter().try_fold(value, |value, key| value.get(key))
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|key| write!(f, ".{key}"))
    }
}

/// A sum of numbers in a JSON value: `$.totals.available + $.totals.reserved`, or a number itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Sum {
    /// The values at these paths together; never empty.
    Paths(Vec<JsonPath>),
    /// This number.
    Number(f64),
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Paths(paths) => paths.iter().enumerate().try_for_each(|(i, path)| {
                let plus = if i == 0 { "" } else { " + " };
                write!(f, "{plus}{path}")
            }),
        }
    }
}
