//! The data plane: listeners, HTTP/1.1, routing, balancing, pools, policies, drain.
//!
//! A request enters by the ingress or by the loopback listener of an edge, is matched to a service, and is sent to
//! one of its ready endpoints: P2C picks, a pooled connection carries, timeouts bound, and what failed is sent again
//! only when that is provably harmless and the budget allows. The answer is streamed back while it arrives.
//!
//! **One core, one worker.** Each worker is a thread with a current-thread runtime, its own listeners
//! (`SO_REUSEPORT`), pools, timers and counters. Nothing on the request path takes a lock that another core holds,
//! allocates for a policy, or hops between threads. Routes, endpoints, policies and faults are immutable values that
//! a worker compiles for itself when they change. What the workers must know together — which endpoint is ejected —
//! is touched only when something fails.
//!
//! **Our own HTTP/1.1.** `http` holds a codec that does no I/O: heads are parsed by `httparse` and then checked
//! again more strictly, bodies are passed on by length or chunk without being put together. There is exactly one way
//! to read every message, or it is refused.

mod answer;
mod attempt;
mod buffer;
mod call;
mod caller;
mod client;
mod codec;
mod core;
mod counters;
mod exchange;
mod gateway;
mod handle;
mod health;
mod in_hand;
mod local;
mod net;
mod options;
mod relay;
mod router;
mod shard;
mod snapshot;
mod stats;
mod timer;
mod upload;
mod upstream;
mod worker;

pub use caller::{CALL_BODY_BYTES_MAX, CallError, Caller, Request, Response};
pub use gateway::{BindError, Gateway};
pub use handle::{FAULTS_MAX, Handle, InjectError};
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
pub use options::{Limits, Options, OptionsError};
pub use snapshot::{
    Balancer, Budget, EdgeFault, Ejection, LOCAL_BODY_BYTES_MAX, Listener, ListenerId, LocalFuture, LocalHandler,
    LocalRequest, LocalResponse, Retries, RoutePolicy, RouteSpec, Snapshot, Target, Timeouts, UpstreamPolicy,
};
pub use stats::{
    Attempts, Histogram, LATENCY_BUCKETS, LATENCY_BUCKETS_US, Outcomes, ReplicaStats, ServiceStats, Stats,
};

/// What a simulation needs to run a worker inside a simulated host.
#[doc(hidden)]
pub mod sim {
    pub use crate::core::{Core, WorkerSeat};
    pub use crate::net::{Net, TokioNet};
    pub use crate::worker::Worker;
}
