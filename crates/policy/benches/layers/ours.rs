//! Our policies around a service that does nothing.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_policy::{
    Algorithm, Breaker, BreakerLayer, BreakerSettings, Bulkhead, BulkheadLayer, BulkheadSettings, CallContext,
    Deadline, DeadlineLayer, DeadlineSettings, Env, Error, Health, KeyedRateLimit, Limit, LimitLayer, LimitSettings,
    Mode, Plain, Profile, Rate, RateLimit, RateLimitLayer, RateLimitSettings, Repeatable, Retry, RetryLayer,
    RetrySettings, Timeout, TimeoutSettings, TryTimeoutLayer,
};
use tower::{Layer, Service, ServiceBuilder};

use crate::harness::{Failure, KEYS, Nothing, Subject};

/// [`Nothing`], with the error that a stack of policies has.
#[derive(Debug, Clone, Copy)]
struct Inner;

impl<R: Numbered> Service<R> for Inner {
    type Response = u64;
    type Error = Error<Failure>;
    type Future = Ready<Result<u64, Error<Failure>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: R) -> Self::Future {
        ready(Ok(request.number()))
    }
}

trait Numbered {
    fn number(&self) -> u64;
}

impl Numbered for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

/// A request with room for what the layers tell each other.
#[derive(Debug, Clone, Copy)]
struct Request {
    number: u64,
    context: CallContext,
}

impl Numbered for Request {
    fn number(&self) -> u64 {
        self.number
    }
}

#[derive(Debug, Clone, Copy)]
struct Known;

impl Profile<Request> for Known {
    fn repeatable(&self, _: &Request) -> Repeatable {
        Repeatable::ByDeclaration
    }

    fn duplicate(&self, request: &Request) -> Option<Request> {
        Some(*request)
    }

    fn context(&self, request: &Request) -> CallContext {
        request.context
    }

    fn stamp(&self, request: &mut Request, context: &CallContext) {
        request.context = *context;
    }
}

fn env() -> Env {
    Env::new("bench").with_seed(1)
}

pub(crate) fn nothing() -> Subject {
    Subject::service("the bare service", Nothing)
}

pub(crate) fn breaker_closed() -> Subject {
    let breaker = Breaker::new(BreakerSettings::default(), &env()).unwrap();
    Subject::service("ours", BreakerLayer::new(breaker).layer(Inner)).in_pairs()
}

pub(crate) fn breaker_open() -> Subject {
    let hour = Duration::from_secs(3600);
    let settings = BreakerSettings { open_for: hour, open_max: hour, ..BreakerSettings::default() };
    let breaker = Breaker::new(settings, &env()).unwrap();
    while let Ok(pass) = breaker.try_acquire() {
        pass.record(Health::Failed);
    }
    Subject::service("ours", BreakerLayer::new(breaker).layer(Inner))
}

pub(crate) fn retry() -> Subject {
    let retry = Retry::new(RetrySettings::default(), &env()).unwrap();
    Subject::service("ours", RetryLayer::new(retry).profiled_by(Plain::repeatable()).layer(Inner)).in_pairs()
}

pub(crate) fn timeout() -> Subject {
    let timeout = Timeout::new(TimeoutSettings::default(), &env()).unwrap();
    Subject::service("ours", TryTimeoutLayer::new(timeout).layer(Inner)).in_pairs()
}

pub(crate) fn bulkhead() -> Subject {
    let bulkhead = Bulkhead::new(BulkheadSettings::default(), &env()).unwrap();
    Subject::service("ours", BulkheadLayer::new(bulkhead).layer(Inner)).in_pairs()
}

fn adaptive() -> Limit {
    let settings = LimitSettings { mode: Mode::Enforce, algorithm: Algorithm::Gradient2, ..LimitSettings::default() };
    Limit::new(settings, &env()).unwrap()
}

pub(crate) fn limit() -> Subject {
    Subject::service("ours", LimitLayer::new(adaptive()).layer(Inner)).in_pairs()
}

/// So many that no call of a run is turned away: the path measured is that of a call that passes.
fn plenty() -> RateLimitSettings {
    RateLimitSettings::new(Rate::per_second(1_000_000_000), 1_000_000)
}

pub(crate) fn rate_limit() -> Subject {
    let limit = RateLimit::new(plenty(), &env()).unwrap();
    Subject::function("ours (no service, a check)", move || {
        let limit = limit.clone();
        move |_| limit.try_acquire()
    })
    .in_pairs()
}

pub(crate) fn rate_limit_layer() -> Subject {
    Subject::service("ours (the layer)", RateLimitLayer::new(RateLimit::new(plenty(), &env()).unwrap()).layer(Inner))
}

pub(crate) fn rate_limit_keyed() -> Subject {
    let limit = KeyedRateLimit::<u64>::new(plenty(), &env()).unwrap();
    Subject::function("ours (no service, a check)", move || {
        let limit = limit.clone();
        move |request| limit.try_acquire(&(request % KEYS))
    })
    .in_pairs()
}

/// From the outside in: deadline, adaptive limit, retry within its budget, breaker, timeout of the try.
pub(crate) fn stack() -> Subject {
    let env = env();
    let service = ServiceBuilder::new()
        .layer(DeadlineLayer::new(Deadline::new(DeadlineSettings::default(), &env).unwrap()).profiled_by(Known))
        .layer(LimitLayer::new(adaptive()).profiled_by(Known))
        .layer(RetryLayer::new(Retry::new(RetrySettings::default(), &env).unwrap()).profiled_by(Known))
        .layer(BreakerLayer::new(Breaker::new(BreakerSettings::default(), &env).unwrap()))
        .layer(TryTimeoutLayer::new(Timeout::new(TimeoutSettings::default(), &env).unwrap()).profiled_by(Known))
        .service(Inner);
    let service = tower::util::MapRequest::new(service, |number| Request { number, context: CallContext::default() });
    Subject::service("ours: deadline, limit, retry + budget, breaker, timeout", service).in_pairs()
}
