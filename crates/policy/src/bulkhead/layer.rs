//! A [`Bulkhead`] around a Tower service.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Acquire, Bulkhead, Permit};
use crate::{Plain, PolicyError, Profile};

/// Puts a [`Bulkhead`] around services. All services of one layer, and of its clones, share the bulkhead.
#[derive(Debug, Clone)]
pub struct BulkheadLayer<P = Plain> {
    bulkhead: Bulkhead,
    profile: P,
}

impl BulkheadLayer {
    /// For requests of which nothing is known; they wait for as long as the settings say.
    pub const fn new(bulkhead: Bulkhead) -> Self {
        Self { bulkhead, profile: Plain::new() }
    }
}

impl<P> BulkheadLayer<P> {
    /// For requests that `profile` knows: they wait no longer than until their deadline.
    pub fn profiled_by<Q>(self, profile: Q) -> BulkheadLayer<Q> {
        BulkheadLayer { bulkhead: self.bulkhead, profile }
    }
}

impl<S, P: Clone> Layer<S> for BulkheadLayer<P> {
    type Service = BulkheadService<S, P>;
    fn layer(&self, inner: S) -> Self::Service {
        BulkheadService { inner, bulkhead: self.bulkhead.clone(), profile: self.profile.clone() }
    }
}

/// A service behind a [`Bulkhead`].
///
/// It is ready when its inner service is: calls queue in their futures, so that waiting counts towards the deadline,
/// and a rejection is an answer like any other. A call that waits takes the inner service with it, and leaves a clone.
#[derive(Debug, Clone)]
pub struct BulkheadService<S, P = Plain> {
    inner: S,
    bulkhead: Bulkhead,
    profile: P,
}

impl<S, P, Req> Service<Req> for BulkheadService<S, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    P: Profile<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<S, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let kind = match self.bulkhead.knock() {
            Ok(permit) => Kind::Calls { call: self.inner.call(request), permit },
            Err(entry) => {
                let acquire = self.bulkhead.wait(entry, &self.profile.context(&request));
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                Kind::Waits { acquire, next: Some((inner, request)) }
            }
        };
        BulkheadFuture { kind }
    }
}

pin_project! {
    /// A call through a [`Bulkhead`]. Dropped, it leaves the queue or gives its permit back.
    #[must_use = "futures do nothing unless polled"]
    pub struct BulkheadFuture<S: Service<Req>, Req> {
        #[pin]
        kind: Kind<S, Req>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<S: Service<Req>, Req> {
        Waits { #[pin] acquire: Acquire, next: Option<(S, Req)> },
        Calls { #[pin] call: S::Future, permit: Permit },
    }
}

impl<S, Req> Future for BulkheadFuture<S, Req>
where
    S: Service<Req>,
    S::Error: PolicyError,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
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
        // The answer is there; whoever keeps the future a little longer keeps nobody else out.
        permit.release();
        Poll::Ready(outcome)
    }
}

impl<S: Service<Req>, Req> std::fmt::Debug for BulkheadFuture<S, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BulkheadFuture").finish_non_exhaustive()
    }
}
