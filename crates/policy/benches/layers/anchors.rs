//! The same jobs done by the libraries that people use now, set up as their documentation shows and to be fast.

use std::time::Duration;

use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use tower_resilience::circuitbreaker::CircuitBreakerLayer;

use crate::harness::{Failure, Nothing, Subject};

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
