//! The same jobs done by the libraries that people use now, set up as their documentation shows and to be fast.

use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use governor::{Quota, RateLimiter};
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::budget::{Budget, TpsBudget};
use tower::{Layer, ServiceBuilder};
use tower_resilience::bulkhead::BulkheadLayer;
use tower_resilience::circuitbreaker::CircuitBreakerLayer;
use tower_resilience::ratelimiter::RateLimiterLayer;
use tower_resilience::retry::{RetryBudgetBuilder, RetryLayer};
use tower_resilience::timelimiter::TimeLimiterLayer;

use crate::harness::{Failure, KEYS, Nothing, Subject};

const HOUR: Duration = Duration::from_secs(3600);

/// The same rule as ours: half of at least 20 calls within ten seconds.
pub(crate) fn resilience_breaker(open: bool) -> Subject {
    let layer = CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .minimum_number_of_calls(20)
        .wait_duration_in_open(HOUR)
        .build()
        .unwrap();
    let service = layer.layer_fn(Nothing);
    if open {
        tokio::runtime::Handle::current().block_on(service.force_open());
    }
    let subject = Subject::service("tower-resilience", service);
    // Open, tasks that meet sleep for a millisecond by a timer, which nobody turns here.
    if open { subject } else { subject.in_pairs() }
}

/// Its own default for the window is 30 s; what it costs does not depend on it.
pub(crate) fn failsafe(open: bool) -> Subject {
    let policy =
        failure_policy::success_rate_over_time_window(0.5, 20, Duration::from_secs(10), backoff::constant(HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    while open && breaker.is_call_permitted() {
        let _ = breaker.call(|| Err::<(), _>(Failure));
    }
    Subject::function("failsafe (no service, a call)", move || {
        let breaker = breaker.clone();
        move |request| breaker.call(|| Ok::<u64, Failure>(request))
    })
    .in_pairs()
}

/// At most two retries, 20 % of the calls and 3 in a second, without a wait between.
#[derive(Clone)]
struct Twice {
    budget: Arc<TpsBudget>,
    left: u8,
}

impl Twice {
    fn new() -> Self {
        Self { budget: Arc::new(TpsBudget::new(Duration::from_secs(10), 3, 0.2)), left: 2 }
    }
}

impl tower::retry::Policy<u64, u64, Failure> for Twice {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, Failure>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.withdraw().then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

pub(crate) fn tower_retry() -> Subject {
    Subject::service("tower, TpsBudget", tower::retry::RetryLayer::new(Twice::new()).layer(Nothing)).in_pairs()
}

pub(crate) fn resilience_retry() -> Subject {
    let budget = RetryBudgetBuilder::new().token_bucket().tokens_per_second(3.0).build().unwrap();
    let layer = RetryLayer::<u64, u64, Failure>::builder()
        .max_attempts(3)
        .exponential_backoff(Duration::from_millis(25))
        .budget(budget)
        .build();
    Subject::service("tower-resilience", layer.layer(Nothing)).in_pairs()
}

const TRY: Duration = Duration::from_secs(5);

pub(crate) fn tower_timeout() -> Subject {
    Subject::service("tower", tower::timeout::TimeoutLayer::new(TRY).layer(Nothing)).in_pairs()
}

fn time_limiter() -> TimeLimiterLayer<tower_resilience::timelimiter::FixedTimeout> {
    TimeLimiterLayer::builder().timeout_duration(TRY).cancel_running_future(true).build()
}

pub(crate) fn resilience_timeout() -> Subject {
    Subject::service("tower-resilience", time_limiter().layer(Nothing)).in_pairs()
}

pub(crate) fn tower_limit() -> Subject {
    Subject::service("tower", ConcurrencyLimitLayer::new(1024).layer(Nothing)).in_pairs()
}

fn resilience_bulkhead_layer() -> BulkheadLayer {
    BulkheadLayer::builder().max_concurrent_calls(1024).build().unwrap()
}

pub(crate) fn resilience_bulkhead() -> Subject {
    Subject::service("tower-resilience", resilience_bulkhead_layer().layer(Nothing)).in_pairs()
}

/// As much as it can count: no call of a run is turned away.
fn plenty() -> Quota {
    Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap()).allow_burst(NonZeroU32::new(1_000_000_000).unwrap())
}

pub(crate) fn governor_direct() -> Subject {
    let limiter = Arc::new(RateLimiter::direct(plenty()));
    Subject::function("governor (no service, a check)", move || {
        let limiter = limiter.clone();
        move |_| limiter.check()
    })
    .in_pairs()
}

pub(crate) fn resilience_rate_limit() -> Subject {
    let layer = RateLimiterLayer::builder().limit_for_period(usize::MAX / 2).build().unwrap();
    Subject::service("tower-resilience (a layer)", layer.layer(Nothing))
}

pub(crate) fn governor_keyed() -> Subject {
    let limiter = Arc::new(RateLimiter::keyed(plenty()));
    Subject::function("governor (no service, a check)", move || {
        let limiter = limiter.clone();
        move |request| limiter.check_key(&(request % KEYS))
    })
    .in_pairs()
}

/// Three layers where our stack has five.
pub(crate) fn resilience_stack() -> Subject {
    let breaker = CircuitBreakerLayer::builder().failure_rate_threshold(0.5).minimum_number_of_calls(20).build();
    let service = ServiceBuilder::new()
        .layer(resilience_bulkhead_layer())
        .layer(breaker.unwrap())
        .layer(time_limiter())
        .service(Nothing);
    Subject::service("tower-resilience: bulkhead, breaker, timeout", service)
}

/// What Tower has of it: no deadline and no breaker.
pub(crate) fn tower_stack() -> Subject {
    let service = ServiceBuilder::new()
        .layer(ConcurrencyLimitLayer::new(1024))
        .layer(tower::retry::RetryLayer::new(Twice::new()))
        .service(Nothing);
    let service = tower::timeout::TimeoutLayer::new(TRY).layer(service);
    Subject::service("tower: timeout, limit, retry + budget", service)
}
