//! Every request policy, as Tower layers and as plain values for those who have no Tower: deadlines, timeouts, retries
//! with a budget, breakers, bulkheads, adaptive limits with shedding, rate limits, hedges, fallbacks, injected faults,
//! ejection and panic of endpoints.
//!
//! # All of it in one layer
//!
//! ```
//! use mainstay_policy::{Env, Error, Policy, RetrySafety};
//! use tower::{Layer, Service, ServiceExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), mainstay_policy::SettingsError> {
//! let layer = Policy::standard().layer(&Env::new("payment"))?;
//! let mut payment = layer.layer(tower::service_fn(|cents: u32| async move {
//!     if cents == 0 { Err("nothing to charge") } else { Ok(cents) }
//! }));
//!
//! match payment.ready().await.expect("a breaker that is closed").call(0).await {
//!     Ok(cents) => println!("charged {cents}"),
//!     Err(Error::Failed { error, .. }) => println!("payment says: {error}"),
//!     Err(Error::Rejected(rejection)) if rejection.retry_safety == RetrySafety::Safe => println!("not sent: {rejection}"),
//!     Err(Error::Rejected(rejection)) => println!("given up: {rejection}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Policy`] has the policies in the order in which they belong. What they must know of requests and answers they ask
//! of a [`Profile`] and a [`Judge`]; for HTTP and gRPC the feature `http` has `Http`, which is both.
//!
//! # Or one by one
//!
//! | policy | against | value | layer |
//! |---|---|---|---|
//! | deadline | work for callers who have gone | [`Deadline`] | [`DeadlineLayer`] |
//! | timeout | a service that hangs | [`Timeout`] | [`TotalTimeoutLayer`], [`TryTimeoutLayer`] |
//! | retry, within a budget | single failures; not outages | [`Retry`], [`RetryBudget`] | [`RetryLayer`] |
//! | breaker | a service that is down | [`Breaker`] | [`BreakerLayer`] |
//! | bulkhead | one service using up the caller | [`Bulkhead`] | [`BulkheadLayer`] |
//! | adaptive limit, shedding | overload of unknown size | [`Limit`] | [`LimitLayer`] |
//! | rate limit | too much from one client | [`RateLimit`], [`KeyedRateLimit`] | [`RateLimitLayer`], [`KeyedRateLimitLayer`] |
//! | hedge | rare slow answers | [`Hedge`] | [`HedgeLayer`] |
//! | fallback | having nothing to say | [`Fallback`] | [`FallbackLayer`] |
//! | fault | not knowing whether all this works | [`Fault`] | [`FaultLayer`] |
//! | ejection, panic | one bad endpoint among good ones | [`Outlier`] | for balancers |
//!
//! Each follows one pattern. `XSettings` says how, and `check`s itself. `X::new(settings, &env)` refuses settings that
//! cannot work, each with its field and the reason; clones of an `X` are the same policy. `XLayer::new(x)` puts it
//! around services. [`Env`] brings what comes from outside: a name, a [`Clock`], a seed, an [`Observer`]. A [`Mode`]
//! makes each of them act, only look on, or not exist.
//!
//! # What holds for all of them
//!
//! - **Nothing is lost.** Permits, probes and budget are held by futures, and come back when those are dropped.
//! - **Nothing is allocated** and no lock is taken for a call that passes; none is ever held across an await.
//! - **What every call counts is counted on its thread's own cache line**, so that cores do not wait for each other.
//! - **Errors say whose decision it was** ([`Error::reason`]) **and whether to send again** ([`Error::retry_safety`]).
//! - **Time and randomness come from outside**, so that a test pauses them and a run repeats.
//! - Services must be polled within a tokio runtime with time enabled as soon as something has to wait.
//!
//! # What it costs
//!
//! Nanoseconds for a call that passes, on one core, beside others in the same run; `cargo bench -p mainstay-policy`
//! repeats it on your machine.
//!
//! | | ours | others |
//! |---|---|---|
//! | breaker, closed | 26 | tower-resilience 235, failsafe 81 |
//! | breaker, open | 13 | tower-resilience 145, failsafe 36 |
//! | retry + budget | 11 | tower 34, tower-resilience 122 |
//! | timeout | 4 | tower 32, tower-resilience 174 |
//! | bulkhead | 16 | tower 16, tower-resilience 204 |
//! | rate limit, direct and by 1000 keys | 11, 18 | governor 13, 35 |
//! | deadline, limit, retry + budget, breaker, timeout | 162 | tower-resilience, three of them: 656 |
//!
//! None of ours allocates.
//!
//! # Features
//!
//! `serde`: settings as the configuration file writes them. `http`: `Http`, a body that can be sent twice, answers made
//! of rejections. `metrics`, `prometheus-client`: observers that count.

#![deny(missing_docs)]

mod adapt;
mod backoff;
mod balance;
mod breaker;
mod budget;
mod bulkhead;
mod call;
mod deadline;
mod error;
mod fallback;
mod fault;
mod hedge;
#[cfg(feature = "http")]
mod http;
mod keys;
mod limit;
mod observe;
#[cfg(any(feature = "metrics", feature = "prometheus-client"))]
mod observers;
mod outlier;
mod policy;
mod profile;
mod rate_limit;
mod retry;
mod settings;
mod stripe;
mod sync;
mod time;
mod timeout;
mod unit;
mod window;

pub use adapt::{Adapt, Adapted, AdaptedFuture};
pub use backoff::Backoff;
pub use balance::{PeakEwma, better_of_two, pick_two};
pub use breaker::{
    Breaker, BreakerFuture, BreakerLayer, BreakerService, BreakerSettings, BreakerState, Manual, Pass, SlowCalls,
};
pub use budget::{Active, BudgetSettings, RetryBudget, RetryPermit};
pub use bulkhead::{Acquire, Bulkhead, BulkheadFuture, BulkheadLayer, BulkheadService, BulkheadSettings, Permit};
pub use call::{Call, Carried, Enter, Leave, Within};
pub use deadline::{
    DEADLINE_MARGIN, DEADLINE_MIN, Deadline, DeadlineFuture, DeadlineLayer, DeadlineService, DeadlineSettings,
};
pub use error::{BoxError, Error, PolicyError, Reason, Rejection, RetrySafety};
#[cfg(feature = "http")]
pub use fallback::FallbackHeader;
pub use fallback::{
    Canned, Elsewhere, ElsewhereFuture, Fallback, FallbackFuture, FallbackLayer, FallbackPermit, FallbackService,
    FallbackSettings, LastGood, LastGoodSettings, Mark, Substitute, Unmarked,
};
#[cfg(feature = "http")]
pub use fault::FaultStatus;
pub use fault::{
    Delay, Everything, Fault, FaultAnswer, FaultFuture, FaultKind, FaultLayer, FaultMatch, FaultService, FaultSettings,
    Injected, NoAnswer,
};
pub use hedge::{Hedge, HedgeFuture, HedgeLayer, HedgePermit, HedgeService, HedgeSettings, HedgeTimer};
#[cfg(feature = "http")]
pub use http::{
    AnyError, Duplicate, ErrorEvidence, Http, REPLAY_BYTES_MAX, Replay, ReplayError, SentOnce, rejection_response,
};
pub use limit::{Algorithm, Limit, LimitAcquire, LimitFuture, LimitLayer, LimitPermit, LimitService, LimitSettings};
pub use observe::{Env, Event, Mode, Observer, PolicyKind};
#[cfg(feature = "metrics")]
pub use observers::MetricsObserver;
#[cfg(feature = "prometheus-client")]
pub use observers::PrometheusObserver;
pub use outlier::{
    Admission, Change, EjectionCause, Failure, FailureRateRule, LatencyRule, Member, OnPanic, Outcome, Outlier,
    OutlierSettings, PanicSettings, Pool, Probe, SuccessRateRule, Tally,
};
pub use policy::{Policy, PolicyLayer, PolicyService, PolicySettings};
pub use profile::{CallContext, Health, Judge, Plain, Priority, Profile, Verdict};
pub use rate_limit::{
    KeyedRateLimit, KeyedRateLimitLayer, KeyedRateLimitService, Quota, RateLimit, RateLimitFuture, RateLimitLayer,
    RateLimitService, RateLimitSettings,
};
pub use retry::{
    Attempts, Denied, Evidence, Repeatable, Retry, RetryClass, RetryFuture, RetryLayer, RetryService, RetrySettings,
    classify, status_may_be_retried,
};
pub use settings::{Problem, SettingsError};
pub use time::{Clock, Hand, Moment};
pub use timeout::{
    Timeout, TimeoutFuture, TimeoutSettings, TotalTimeout, TotalTimeoutLayer, TryTimeout, TryTimeoutLayer,
};
pub use unit::{NotARate, NotAShare, Rate, Share};
