//! The two limits as layers: one for above the retries, one for below.

use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Timeout, TimeoutFuture};
use crate::{Plain, PolicyError, Profile};

macro_rules! limits {
    ($(#[doc = $layer_doc:literal])+ $layer:ident, #[doc = $service_doc:literal] $service:ident, $by:ident) => {
        $(#[doc = $layer_doc])+
        #[derive(Debug, Clone)]
        pub struct $layer<P = Plain> {
            timeout: Timeout,
            profile: P,
        }

        impl $layer {
            /// For requests of which nothing is known, not even their deadlines.
            pub const fn new(timeout: Timeout) -> Self {
                Self { timeout, profile: Plain::new() }
            }
        }

        impl<P> $layer<P> {
            /// For requests that `profile` knows.
            pub fn profiled_by<Q>(self, profile: Q) -> $layer<Q> {
                $layer { timeout: self.timeout, profile }
            }
        }

        impl<S, P: Clone> Layer<S> for $layer<P> {
            type Service = $service<S, P>;
            fn layer(&self, inner: S) -> Self::Service {
                $service { inner, timeout: self.timeout.clone(), profile: self.profile.clone() }
            }
        }

        #[doc = $service_doc]
        #[derive(Debug, Clone)]
        pub struct $service<S, P = Plain> {
            inner: S,
            timeout: Timeout,
            profile: P,
        }

        impl<S, P, Req> Service<Req> for $service<S, P>
        where
            S: Service<Req>,
            S::Error: PolicyError,
            P: Profile<Req>,
        {
            type Response = S::Response;
            type Error = S::Error;
            type Future = TimeoutFuture<S::Future>;

            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
                self.inner.poll_ready(cx)
            }

            #[inline]
            fn call(&mut self, request: Req) -> Self::Future {
                let context = self.profile.context(&request);
                self.timeout.$by(&context, self.inner.call(request))
            }
        }
    };
}

limits! {
    /// Limits each call with all its tries; it belongs above the layer that retries. Its reason is `timeout_total`.
    TotalTimeoutLayer,
    /// A service whose calls are limited as a whole.
    TotalTimeout,
    whole
}

limits! {
    /// Limits each try; it belongs below the layer that retries. Its reason is `timeout_try`.
    TryTimeoutLayer,
    /// A service whose tries are limited one by one.
    TryTimeout,
    one_try
}
