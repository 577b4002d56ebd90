//! Rate limits around Tower services.
//!
//! A request is judged when it is called, for only then is there one: a service that is asked whether it is ready and
//! then not called has taken nothing.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{KeyedRateLimit, RateLimit};
use crate::{PolicyError, Rejection};

/// Puts a [`RateLimit`] around services. All services of one layer, and of its clones, share the limit.
#[derive(Debug, Clone)]
pub struct RateLimitLayer {
    limit: RateLimit,
}

impl RateLimitLayer {
    /// All requests count.
    pub const fn new(limit: RateLimit) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;
    fn layer(&self, inner: S) -> Self::Service {
        RateLimitService { inner, limit: self.limit.clone() }
    }
}

/// A service behind a [`RateLimit`].
#[derive(Debug, Clone)]
pub struct RateLimitService<S> {
    inner: S,
    limit: RateLimit,
}

impl<S, Req> Service<Req> for RateLimitService<S>
where
    S: Service<Req>,
    S::Error: PolicyError,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.limit.try_acquire() {
            Ok(()) => RateLimitFuture::calling(self.inner.call(request)),
            Err(rejection) => RateLimitFuture::rejected(rejection),
        }
    }
}

/// Puts a [`KeyedRateLimit`] around services. All services of one layer, and of its clones, share the limits.
///
/// `F` says whose request it is: any `Fn(&Req) -> Option<K>`. A request without a key is not limited. Keys are made
/// for each request, so they should be cheap: an address, an `Arc<str>`, a hash.
pub struct KeyedRateLimitLayer<K, F> {
    limit: KeyedRateLimit<K>,
    key: F,
}

impl<K, F> KeyedRateLimitLayer<K, F> {
    /// Each key that `key` gives has its own limit.
    pub const fn new(limit: KeyedRateLimit<K>, key: F) -> Self {
        Self { limit, key }
    }
}

impl<K, F: Clone> Clone for KeyedRateLimitLayer<K, F> {
    fn clone(&self) -> Self {
        Self { limit: self.limit.clone(), key: self.key.clone() }
    }
}

impl<K, F> fmt::Debug for KeyedRateLimitLayer<K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitLayer").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl<S, K, F: Clone> Layer<S> for KeyedRateLimitLayer<K, F> {
    type Service = KeyedRateLimitService<S, K, F>;
    fn layer(&self, inner: S) -> Self::Service {
        KeyedRateLimitService { inner, limit: self.limit.clone(), key: self.key.clone() }
    }
}

/// A service behind a [`KeyedRateLimit`].
pub struct KeyedRateLimitService<S, K, F> {
    inner: S,
    limit: KeyedRateLimit<K>,
    key: F,
}

impl<S: Clone, K, F: Clone> Clone for KeyedRateLimitService<S, K, F> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), limit: self.limit.clone(), key: self.key.clone() }
    }
}

impl<S: fmt::Debug, K, F> fmt::Debug for KeyedRateLimitService<S, K, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimitService")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<S, K, F, Req> Service<Req> for KeyedRateLimitService<S, K, F>
where
    S: Service<Req>,
    S::Error: PolicyError,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> Option<K>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let decision = match (self.key)(&request) {
            Some(key) => self.limit.try_acquire(&key),
            None => Ok(()),
        };
        match decision {
            Ok(()) => RateLimitFuture::calling(self.inner.call(request)),
            Err(rejection) => RateLimitFuture::rejected(rejection),
        }
    }
}

pin_project! {
    /// A call through a rate limit.
    #[must_use = "futures do nothing unless polled"]
    pub struct RateLimitFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F> {
        Rejected { rejection: Rejection },
        Calling { #[pin] call: F },
    }
}

impl<F> RateLimitFuture<F> {
    const fn calling(call: F) -> Self {
        Self { kind: Kind::Calling { call } }
    }

    const fn rejected(rejection: Rejection) -> Self {
        Self { kind: Kind::Rejected { rejection } }
    }
}

impl<F, Res, Err> Future for RateLimitFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: PolicyError,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Rejected { rejection } => Poll::Ready(Err(Err::rejected(*rejection))),
            KindProj::Calling { call } => call.poll(cx),
        }
    }
}

impl<F> fmt::Debug for RateLimitFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitFuture").finish_non_exhaustive()
    }
}
