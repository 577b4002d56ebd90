//! Every request policy as a Tower layer, and as a plain state machine for those who have no Tower.

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
