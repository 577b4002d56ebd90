//! Our policies around a service that does nothing.

use std::future::{Ready, ready};
use std::task::{Context, Poll};
use std::time::Duration;

use mainstay_policy::{Breaker, BreakerLayer, BreakerSettings, Env, Error, Health};
use tower::{Layer, Service};

use crate::harness::{Failure, Nothing, Subject};

/// [`Nothing`], with the error that a stack of policies has.
#[derive(Debug, Clone, Copy)]
struct Inner;

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Error<Failure>;
    type Future = Ready<Result<u64, Error<Failure>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(Ok(request))
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
