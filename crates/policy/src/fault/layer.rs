//! A [`Fault`] around a Tower service.

use std::fmt;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::future::{FaultFuture, Faulted};
use super::{Fault, FaultKind};
use crate::{Plain, PolicyError, Profile};

/// Says which requests a fault may hit. Any `Fn(&Req) -> bool` does.
pub trait FaultMatch<Req>: Clone {
    /// Whether it may hit this one. Those that it may not are not counted either.
    fn matches(&self, request: &Req) -> bool;
}

impl<Req, F: Fn(&Req) -> bool + Clone> FaultMatch<Req> for F {
    fn matches(&self, request: &Req) -> bool {
        self(request)
    }
}

/// All requests may be hit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Everything;

impl<Req> FaultMatch<Req> for Everything {
    fn matches(&self, _request: &Req) -> bool {
        true
    }
}

/// Makes the answer of [`FaultKind::Answer`]. Any `Fn(u16) -> Res` does.
pub trait FaultAnswer<Res>: Clone {
    /// An answer with this status; `None` where there are no such answers: the request is aborted instead.
    fn answer(&self, status: u16) -> Option<Res>;
}

impl<Res, F: Fn(u16) -> Res + Clone> FaultAnswer<Res> for F {
    fn answer(&self, status: u16) -> Option<Res> {
        Some(self(status))
    }
}

/// Makes no answers.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAnswer;

impl<Res> FaultAnswer<Res> for NoAnswer {
    fn answer(&self, _status: u16) -> Option<Res> {
        None
    }
}

/// Answers with the status and `mainstay-reason: fault_injected`.
#[cfg(feature = "http")]
#[derive(Debug, Clone, Copy, Default)]
pub struct FaultStatus;

#[cfg(feature = "http")]
impl<B: From<String>> FaultAnswer<http::Response<B>> for FaultStatus {
    fn answer(&self, status: u16) -> Option<http::Response<B>> {
        let status = http::StatusCode::from_u16(status).ok()?;
        let mut response = crate::rejection_response(&crate::Rejection::sent(crate::Reason::FaultInjected));
        *response.status_mut() = status;
        Some(response)
    }
}

/// Puts a [`Fault`] around services. It belongs right around the service, below all other layers.
///
/// The service is cloned for a request that is hit, and only for such.
#[derive(Debug, Clone)]
pub struct FaultLayer<M = Everything, A = NoAnswer, P = Plain> {
    fault: Fault,
    tools: Tools<M, A, P>,
}

#[derive(Debug, Clone)]
struct Tools<M, A, P> {
    matching: M,
    answer: A,
    profile: P,
}

impl FaultLayer {
    /// All requests may be hit; `answer` is an abort.
    pub const fn new(fault: Fault) -> Self {
        Self { fault, tools: Tools { matching: Everything, answer: NoAnswer, profile: Plain::new() } }
    }
}

impl<M, A, P> FaultLayer<M, A, P> {
    /// Only these requests may be hit, and only they are counted.
    pub fn matching<N>(self, matching: N) -> FaultLayer<N, A, P> {
        let Tools { answer, profile, .. } = self.tools;
        FaultLayer { fault: self.fault, tools: Tools { matching, answer, profile } }
    }

    /// With answers that `answer` makes.
    pub fn answered_by<B>(self, answer: B) -> FaultLayer<M, B, P> {
        let Tools { matching, profile, .. } = self.tools;
        FaultLayer { fault: self.fault, tools: Tools { matching, answer, profile } }
    }

    /// With copies that `profile` makes. A request that cannot be copied is not sent twice.
    pub fn profiled_by<Q>(self, profile: Q) -> FaultLayer<M, A, Q> {
        let Tools { matching, answer, .. } = self.tools;
        FaultLayer { fault: self.fault, tools: Tools { matching, answer, profile } }
    }
}

impl<S, M: Clone, A: Clone, P: Clone> Layer<S> for FaultLayer<M, A, P> {
    type Service = FaultService<S, M, A, P>;
    fn layer(&self, inner: S) -> Self::Service {
        FaultService { inner, fault: self.fault.clone(), tools: self.tools.clone() }
    }
}

/// A service in whose place a [`Fault`] may act.
#[derive(Clone)]
pub struct FaultService<S, M = Everything, A = NoAnswer, P = Plain> {
    inner: S,
    fault: Fault,
    tools: Tools<M, A, P>,
}

impl<S, M, A, P, Req> Service<Req> for FaultService<S, M, A, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    M: FaultMatch<Req>,
    A: FaultAnswer<S::Response>,
    P: Profile<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FaultFuture<S, Req, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        if self.fault.maybe_armed() { self.armed(request) } else { FaultFuture::passing(self.inner.call(request)) }
    }
}

impl<S, M, A, P> FaultService<S, M, A, P> {
    #[cold]
    fn armed<Req>(&mut self, request: Req) -> FaultFuture<S, Req, A>
    where
        S: Service<Req> + Clone,
        M: FaultMatch<Req>,
        A: Clone,
        P: Profile<Req>,
    {
        if !self.tools.matching.matches(&request) {
            return FaultFuture::passing(self.inner.call(request));
        }
        let mut copy = None;
        let injected = self.fault.draw(|kind| {
            if kind == Some(FaultKind::Duplicate) {
                copy = self.tools.profile.duplicate(&request);
                return copy.is_some();
            }
            true
        });
        let Some(injected) = injected else { return FaultFuture::passing(self.inner.call(request)) };
        // The service that is ready goes with the request; the other stays, and is asked again before the next call.
        let other = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, other);
        FaultFuture::faulted(Faulted::new(injected, ready, request, copy, self.tools.answer.clone()))
    }
}

impl<S: fmt::Debug, M, A, P> fmt::Debug for FaultService<S, M, A, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultService").field("inner", &self.inner).field("fault", &self.fault).finish_non_exhaustive()
    }
}
