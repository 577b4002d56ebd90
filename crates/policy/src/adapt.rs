//! Gives the error of any service what the layers above it need: a place for their own decisions.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Error;

/// Turns a service that fails with `E` into one that fails with [`Error<E>`](Error). It belongs right around the
/// service, below all other layers; [`Policy`](crate::Policy) does that by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Adapt;

impl<S> Layer<S> for Adapt {
    type Service = Adapted<S>;
    fn layer(&self, inner: S) -> Adapted<S> {
        Adapted { inner }
    }
}

/// A service whose errors have room for the decisions of policies.
#[derive(Debug, Clone)]
pub struct Adapted<S> {
    inner: S,
}

impl<S: Service<Req>, Req> Service<Req> for Adapted<S> {
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = AdaptedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::from)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        AdaptedFuture { call: self.inner.call(request) }
    }
}

pin_project! {
    /// A call whose error has room for the decisions of policies.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct AdaptedFuture<F> {
        #[pin]
        call: F,
    }
}

impl<F, Res, E> Future for AdaptedFuture<F>
where
    F: Future<Output = Result<Res, E>>,
{
    type Output = Result<Res, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(self.project().call.poll(cx)).map_err(Error::from))
    }
}
