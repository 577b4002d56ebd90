//! What the control plane tells the data plane: listeners, routes, policies, faults. Each is plain data, published
//! whole and replaced whole, so that a worker never sees half of a change.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use mainstay_core::{EdgeEffect, LeaseId, ReplicaId, ServiceName, Share};
use tokio::time::Instant;

/// Which door a request came in by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenerId {
    /// From outside, by the routes.
    Ingress,
    /// From a caller to the service that it needs; no routes, everything goes to `callee`.
    Edge {
        /// The service that answers.
        callee: ServiceName,
        /// The service that asks, where the listener is its own.
        caller: Option<ServiceName>,
    },
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenerId::Ingress => f.write_str("ingress"),
            ListenerId::Edge { callee, caller: Some(caller) } => write!(f, "edge {caller} → {callee}"),
            ListenerId::Edge { callee, caller: None } => write!(f, "edge → {callee}"),
        }
    }
}

/// A door and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Which door.
    pub id: ListenerId,
    /// Where; port 0 takes a free one, which [`crate::Handle::addresses`] tells.
    pub addr: SocketAddr,
}

/// Where requests with a path (and method) go.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    /// `/checkout` matches exactly that path; `/orders/*` matches `/orders` and everything below it. An exact route
    /// wins over a prefix, a longer prefix over a shorter one.
    pub pattern: String,
    /// Only these methods; `None` is all.
    pub methods: Option<Vec<Method>>,
    /// Who answers.
    pub target: Target,
    /// What differs from the policy of the service on this route.
    pub policy: RoutePolicy,
}

/// What a route changes in the policy of its service; `None` keeps what the service has. The budget, the ejection and the
/// balancer belong to the service as a whole: they judge endpoints, not requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoutePolicy {
    /// How long what may take.
    pub timeouts: Option<Timeouts>,
    /// What is sent again.
    pub retries: Option<Retries>,
}

/// Who answers.
#[derive(Clone)]
pub enum Target {
    /// A service, by way of its endpoints.
    Service(ServiceName),
    /// Code in this process, such as the start of a transaction.
    Local(Arc<dyn LocalHandler>),
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Service(name) => write!(f, "Service({name})"),
            Target::Local(_) => f.write_str("Local"),
        }
    }
}

/// Longest body that is collected for a local handler; above it the answer is `body_too_large`.
pub const LOCAL_BODY_BYTES_MAX: usize = 64 * 1024;

/// A request to code in this process, body included.
#[derive(Debug, Clone)]
pub struct LocalRequest {
    /// Method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// Headers as the client sent them, without those of the connection.
    pub headers: HeaderMap,
    /// The whole body, at most [`LOCAL_BODY_BYTES_MAX`].
    pub body: Bytes,
    /// The client's address.
    pub peer: IpAddr,
}

/// An answer of code in this process.
#[derive(Debug, Clone)]
pub struct LocalResponse {
    /// Status.
    pub status: StatusCode,
    /// Headers; the length and those of the connection are added.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The future of a [`LocalHandler`].
pub type LocalFuture = Pin<Box<dyn Future<Output = LocalResponse> + Send>>;

/// Code in this process that answers requests. It must not block: it runs on a worker of the data plane.
pub trait LocalHandler: Send + Sync {
    /// Answers `request`. Dropped when the client goes away.
    fn call(&self, request: LocalRequest) -> LocalFuture;
}

/// Routes and policies, whole.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The routes of the ingress.
    pub routes: Vec<RouteSpec>,
    /// How each service is called. A service that is missing here has `UpstreamPolicy::default()`.
    pub upstreams: BTreeMap<ServiceName, UpstreamPolicy>,
}

/// How a service is called. The defaults are those that `mainstay explain` prints.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpstreamPolicy {
    /// How long what may take.
    pub timeouts: Timeouts,
    /// What is sent again.
    pub retries: Retries,
    /// How many retries there may be.
    pub budget: Budget,
    /// Which endpoints are left alone for a while.
    pub ejection: Ejection,
    /// Which endpoint is asked.
    pub balancer: Balancer,
}

/// Which endpoint is asked: the better of two, by response time and requests in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    /// A failure counts as an answer that took this long, so that failing fast attracts no traffic. With zero only
    /// ejection keeps traffic away from an endpoint that fails fast: for proofs that ejection matters.
    pub failure_penalty: Duration,
}

impl Default for Balancer {
    fn default() -> Self {
        Self { failure_penalty: Duration::from_secs(5) }
    }
}

/// How long what may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// For a new connection.
    pub connect: Duration,
    /// For one try, from the moment the request is sent whole; the last possible try gets all that remains.
    pub per_try: Duration,
    /// For all tries and waits together, until the head of the answer.
    pub total: Duration,
    /// Between two pieces of a body, either way.
    pub body_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(1),
            per_try: Duration::from_secs(5),
            total: Duration::from_secs(15),
            body_idle: Duration::from_secs(60),
        }
    }
}

/// What is sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Off: every request is tried once. For proofs that retries matter.
    pub enabled: bool,
    /// Most retries of one request.
    pub max: u32,
    /// First step of the back-off, which doubles and is jittered in full.
    pub backoff_base: Duration,
    /// Longest back-off.
    pub backoff_max: Duration,
    /// Every request to this service may be sent twice.
    pub idempotent: bool,
    /// A POST or PATCH with an `Idempotency-Key` may be sent twice.
    pub idempotency_key: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            enabled: true,
            max: 2,
            backoff_base: Duration::from_millis(25),
            backoff_max: Duration::from_millis(250),
            idempotent: false,
            idempotency_key: false,
        }
    }
}

/// How many retries there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Off: retries are not limited. For proofs that the budget matters.
    pub enabled: bool,
    /// Share of the first attempts that may be repeated.
    pub share: Share,
    /// Retries per second that are allowed however few the requests.
    pub floor_per_s: u32,
    /// Retries at once that are allowed however few the requests.
    pub concurrent_min: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { enabled: true, share: Share::percent(20), floor_per_s: 3, concurrent_min: 3 }
    }
}

/// Which endpoints are left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// Off: a failing endpoint keeps its traffic. For proofs that ejection matters.
    pub enabled: bool,
    /// Failures in a row that eject.
    pub consecutive: u32,
    /// First ejection; the n-th lasts n times as long.
    pub base: Duration,
    /// Longest ejection.
    pub max: Duration,
    /// Most of the ready endpoints that may be out.
    pub cap: Share,
    /// How long a returning endpoint takes to get its full share again.
    pub slow_start: Duration,
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive: 5,
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            cap: Share::percent(50),
            slow_start: Duration::from_secs(10),
        }
    }
}

/// A fault on the calls to a service, at the upstream side: retries, timeouts and ejection meet it as a real one.
#[derive(Debug, Clone, PartialEq)]
pub struct EdgeFault {
    /// Its name; a fault with the same name replaces it.
    pub lease: LeaseId,
    /// Whose answers are spoilt.
    pub service: ServiceName,
    /// Only calls to this replica.
    pub replica: Option<ReplicaId>,
    /// Share of the attempts that are hit.
    pub share: Share,
    /// What happens to them.
    pub effect: EdgeEffect,
    /// When it ends by itself.
    pub until: Instant,
}
