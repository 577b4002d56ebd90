//! A [`Breaker`] around a Tower service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::pass::Refusal;
use super::{Breaker, Pass};
use crate::profile::verdict;
use crate::{Judge, Plain, PolicyError};

/// Puts a [`Breaker`] around services. All services of one layer, and of its clones, share the breaker.
#[derive(Debug, Clone)]
pub struct BreakerLayer<J = Plain> {
    breaker: Breaker,
    judge: J,
}

impl BreakerLayer {
    /// Every `Err` is a failure.
    pub const fn new(breaker: Breaker) -> Self {
        Self { breaker, judge: Plain::new() }
    }
}

impl<J> BreakerLayer<J> {
    /// With another view of what is a failure.
    pub fn judged_by<K>(self, judge: K) -> BreakerLayer<K> {
        BreakerLayer { breaker: self.breaker, judge }
    }
}

impl<S, J: Clone> Layer<S> for BreakerLayer<J> {
    type Service = BreakerService<S, J>;
    fn layer(&self, inner: S) -> Self::Service {
        BreakerService { inner, breaker: self.breaker.clone(), judge: self.judge.clone(), asked: Asked::Nobody }
    }
}

/// A service behind a [`Breaker`].
#[derive(Debug)]
pub struct BreakerService<S, J = Plain> {
    inner: S,
    breaker: Breaker,
    judge: J,
    asked: Asked,
}

/// Who has said, since the last call, that the next one may come.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Nobody,
    Inner,
    Breaker(Refusal),
}

impl<S: Clone, J: Clone> Clone for BreakerService<S, J> {
    fn clone(&self) -> Self {
        // Readiness is the inner service's own and does not pass to its clone.
        Self {
            inner: self.inner.clone(),
            breaker: self.breaker.clone(),
            judge: self.judge.clone(),
            asked: Asked::Nobody,
        }
    }
}

impl<S, J, Req> Service<Req> for BreakerService<S, J>
where
    S: Service<Req>,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BreakerFuture<S::Future, J>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // An open breaker answers by itself; it does not wait for the service that it keeps calls from.
        if let Some(refusal) = self.breaker.would_refuse() {
            self.asked = Asked::Breaker(refusal);
            return Poll::Ready(Ok(()));
        }
        ready!(self.inner.poll_ready(cx))?;
        self.asked = Asked::Inner;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if let Asked::Breaker(refusal) = std::mem::replace(&mut self.asked, Asked::Nobody) {
            self.breaker.tell_refused();
            return BreakerFuture { kind: Kind::Refused { refusal } };
        }
        // Who calls without asking takes what the inner service makes of it.
        let pass = match self.breaker.pass() {
            Some(pass) => pass,
            None => match self.breaker.ask() {
                Ok(pass) => pass,
                Err(refusal) => return BreakerFuture { kind: Kind::Refused { refusal } },
            },
        };
        BreakerFuture { kind: Kind::Calling { call: self.inner.call(request), pass, judge: self.judge.clone() } }
    }
}

pin_project! {
    /// A call through a [`Breaker`]. Dropped early it counts nowhere, and gives its probe back.
    #[must_use = "futures do nothing unless polled"]
    pub struct BreakerFuture<F, J> {
        #[pin]
        kind: Kind<F, J>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, J> {
        Refused { refusal: Refusal },
        Calling { #[pin] call: F, pass: Pass, judge: J },
    }
}

impl<F, J, Res, Err> Future for BreakerFuture<F, J>
where
    F: Future<Output = Result<Res, Err>>,
    Err: PolicyError,
    J: Judge<Res, Err>,
{
    type Output = Result<Res, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Refused { refusal } => Poll::Ready(Err(Err::rejected((*refusal).into()))),
            KindProj::Calling { call, pass, judge } => {
                let outcome = ready!(call.poll(cx));
                pass.settle(verdict(judge, &outcome).health);
                Poll::Ready(outcome)
            }
        }
    }
}

impl<F, J> std::fmt::Debug for BreakerFuture<F, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BreakerFuture").finish_non_exhaustive()
    }
}
