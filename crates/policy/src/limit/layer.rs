//! A [`Limit`] around a Tower service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Limit, LimitAcquire, LimitPermit};
use crate::profile::verdict;
use crate::{Judge, Plain, PolicyError, Profile};

/// Puts a [`Limit`] around services. All services of one layer, and of its clones, share the limit.
#[derive(Debug, Clone)]
pub struct LimitLayer<J = Plain, P = Plain> {
    limit: Limit,
    judge: J,
    profile: P,
}

impl LimitLayer {
    /// Every `Err` is a failure, and nothing is known of the requests.
    pub const fn new(limit: Limit) -> Self {
        Self { limit, judge: Plain::new(), profile: Plain::new() }
    }
}

impl<J, P> LimitLayer<J, P> {
    /// With another view of what is a failure.
    pub fn judged_by<K>(self, judge: K) -> LimitLayer<K, P> {
        LimitLayer { limit: self.limit, judge, profile: self.profile }
    }

    /// For requests that `profile` knows: their priority, tenant and deadline.
    pub fn profiled_by<Q>(self, profile: Q) -> LimitLayer<J, Q> {
        LimitLayer { limit: self.limit, judge: self.judge, profile }
    }
}

impl<S, J: Clone, P: Clone> Layer<S> for LimitLayer<J, P> {
    type Service = LimitService<S, J, P>;
    fn layer(&self, inner: S) -> Self::Service {
        LimitService { inner, limit: self.limit.clone(), judge: self.judge.clone(), profile: self.profile.clone() }
    }
}

/// A service behind a [`Limit`].
///
/// It is ready when its inner service is: calls queue in their futures, so that waiting counts towards the deadline,
/// and a rejection is an answer like any other. A call that waits takes the inner service with it, and leaves a clone.
#[derive(Debug, Clone)]
pub struct LimitService<S, J = Plain, P = Plain> {
    inner: S,
    limit: Limit,
    judge: J,
    profile: P,
}

impl<S, J, P, Req> Service<Req> for LimitService<S, J, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
    P: Profile<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LimitFuture<S, Req, J>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let context = self.profile.context(&request);
        let kind = match self.limit.knock(&context) {
            Ok(permit) => Kind::Calls { call: self.inner.call(request), permit },
            Err(entry) => {
                let acquire = self.limit.wait(entry, &context);
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                Kind::Waits { acquire, next: Some((inner, request)) }
            }
        };
        LimitFuture { kind, judge: self.judge.clone() }
    }
}

pin_project! {
    /// A call through a [`Limit`]. Dropped, it leaves the queue or gives its permit back, and nothing is learnt of it.
    #[must_use = "futures do nothing unless polled"]
    pub struct LimitFuture<S: Service<Req>, Req, J> {
        #[pin]
        kind: Kind<S, Req>,
        judge: J,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S: Service<Req>, Req> {
        Waits { #[pin] acquire: LimitAcquire, next: Option<(S, Req)> },
        Calls { #[pin] call: S::Future, permit: LimitPermit },
    }
}

impl<S, Req, J> Future for LimitFuture<S, Req, J>
where
    S: Service<Req>,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut kind = this.kind;
        if let KindProj::Waits { acquire, next } = kind.as_mut().project() {
            let permit = match ready!(acquire.poll(cx)) {
                Ok(permit) => permit,
                Err(rejection) => return Poll::Ready(Err(S::Error::rejected(rejection))),
            };
            let (mut inner, request) = next.take().expect("a call waits once");
            kind.set(Kind::Calls { call: inner.call(request), permit });
        }
        let KindProj::Calls { call, permit } = kind.project() else { unreachable!("who has waited calls") };
        let outcome = ready!(call.poll(cx));
        permit.settle(verdict(this.judge, &outcome).health);
        Poll::Ready(outcome)
    }
}

impl<S: Service<Req>, Req, J> std::fmt::Debug for LimitFuture<S, Req, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LimitFuture").finish_non_exhaustive()
    }
}
