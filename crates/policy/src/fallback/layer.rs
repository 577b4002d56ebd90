//! A [`Fallback`] around a Tower service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::handle::{Core, needed};
use super::{Fallback, FallbackPermit, Mark, Substitute, Unmarked};
use crate::profile::verdict;
use crate::stripe::Held;
use crate::{Health, Judge, Plain, PolicyError};

/// Lets a [`Substitute`] answer where a service fails. All services of one layer share the [`Fallback`].
#[derive(Debug, Clone)]
pub struct FallbackLayer<T, J = Plain, M = Unmarked> {
    fallback: Fallback,
    tools: Tools<T, J, M>,
}

#[derive(Debug, Clone)]
struct Tools<T, J, M> {
    substitute: T,
    judge: J,
    mark: M,
}

impl<T> FallbackLayer<T> {
    /// `substitute` answers every `Err`.
    pub const fn new(fallback: Fallback, substitute: T) -> Self {
        Self { fallback, tools: Tools { substitute, judge: Plain::new(), mark: Unmarked } }
    }
}

impl<T, J, M> FallbackLayer<T, J, M> {
    /// With another view of what is a failure.
    pub fn judged_by<K>(self, judge: K) -> FallbackLayer<T, K, M> {
        let Tools { substitute, mark, .. } = self.tools;
        FallbackLayer { fallback: self.fallback, tools: Tools { substitute, judge, mark } }
    }

    /// With a mark on each answer that is not the service's own.
    pub fn marked_by<N>(self, mark: N) -> FallbackLayer<T, J, N> {
        let Tools { substitute, judge, .. } = self.tools;
        FallbackLayer { fallback: self.fallback, tools: Tools { substitute, judge, mark } }
    }
}

impl<S, T: Clone, J: Clone, M: Clone> Layer<S> for FallbackLayer<T, J, M> {
    type Service = FallbackService<S, T, J, M>;
    fn layer(&self, inner: S) -> Self::Service {
        FallbackService { inner, fallback: self.fallback.clone(), tools: self.tools.clone() }
    }
}

/// A service in whose place something else may answer.
#[derive(Debug, Clone)]
pub struct FallbackService<S, T, J = Plain, M = Unmarked> {
    inner: S,
    fallback: Fallback,
    tools: Tools<T, J, M>,
}

impl<S, T, J, M, Req> Service<Req> for FallbackService<S, T, J, M>
where
    S: Service<Req>,
    S::Error: PolicyError,
    T: Substitute<Req, S::Response, S::Error>,
    J: Judge<S::Response, S::Error>,
    M: Mark<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FallbackFuture<S::Future, Req, S::Response, S::Error, T, J, M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let kept = if self.fallback.0.off() { None } else { self.tools.substitute.keep(&request) };
        let plan = kept.map(|kept| Plan { kept, core: self.fallback.0.hold(), tools: self.tools.clone() });
        FallbackFuture { state: State::Calling { call: self.inner.call(request), plan } }
    }
}

/// What is needed if the service fails.
struct Plan<Kept, T, J, M> {
    kept: Kept,
    core: Held<Core>,
    tools: Tools<T, J, M>,
}

pin_project! {
    /// A call that something else may answer. Dropped early it gives back what it holds.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<F, Req, Res, Err, T, J, M>
    where
        T: Substitute<Req, Res, Err>,
    {
        #[pin]
        state: State<F, T::Answer, Plan<T::Kept, T, J, M>, Instead<Result<Res, Err>, T, J, M>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, A, P, I> {
        Calling { #[pin] call: F, plan: Option<P> },
        Answering { #[pin] answer: A, instead: Option<I> },
    }
}

/// While something else answers.
struct Instead<Outcome, T, J, M> {
    failure: Outcome,
    permit: FallbackPermit,
    tools: Tools<T, J, M>,
}

impl<F, Req, Res, Err, T, J, M> Future for FallbackFuture<F, Req, Res, Err, T, J, M>
where
    F: Future<Output = Result<Res, Err>>,
    Err: PolicyError,
    T: Substitute<Req, Res, Err>,
    J: Judge<Res, Err>,
    M: Mark<Res>,
{
    type Output = Result<Res, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { call, plan } => {
                    let outcome = ready!(call.poll(cx));
                    let Some(plan) = plan.take() else { return Poll::Ready(outcome) };
                    match plan.begin(outcome) {
                        Ok((answer, instead)) => state.set(State::Answering { answer, instead: Some(instead) }),
                        Err(outcome) => return Poll::Ready(outcome),
                    }
                }
                StateProj::Answering { answer, instead } => {
                    let answer = ready!(answer.poll(cx));
                    let instead = instead.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(instead.end(answer));
                }
            }
        }
    }
}

/// Either that is the outcome, or something else answers.
type Begun<Req, Res, Err, T, J, M> =
    Result<(<T as Substitute<Req, Res, Err>>::Answer, Instead<Result<Res, Err>, T, J, M>), Result<Res, Err>>;

impl<Kept, T, J, M> Plan<Kept, T, J, M> {
    /// The service is done.
    fn begin<Req, Res, Err>(self, outcome: Result<Res, Err>) -> Begun<Req, Res, Err, T, J, M>
    where
        Err: PolicyError,
        T: Substitute<Req, Res, Err, Kept = Kept>,
        J: Judge<Res, Err>,
    {
        let Self { kept, core, tools } = self;
        if !needed(&tools.judge, &outcome) {
            if let Ok(response) = &outcome
                && verdict(&tools.judge, &outcome).health == Health::Good
            {
                tools.substitute.good(kept, response);
            }
            return Err(outcome);
        }
        let Some(permit) = Core::permit(core) else { return Err(outcome) };
        match tools.substitute.answer(kept, outcome.as_ref()) {
            Some(answer) => Ok((answer, Instead { failure: outcome, permit, tools })),
            None => {
                permit.failed("none");
                Err(outcome)
            }
        }
    }
}

impl<Res, Err, T, J, M> Instead<Result<Res, Err>, T, J, M>
where
    Err: PolicyError,
    J: Judge<Res, Err>,
    M: Mark<Res>,
{
    /// Something else is done: that is the outcome, unless it failed as well.
    fn end(self, answer: Result<Res, Err>) -> Result<Res, Err> {
        let failed = verdict(&self.tools.judge, &answer).health == Health::Failed;
        match answer {
            Ok(mut response) if !failed => {
                self.tools.mark.mark(&mut response);
                self.permit.answered();
                Ok(response)
            }
            _ => {
                self.permit.failed("failed");
                self.failure
            }
        }
    }
}

impl<F, Req, Res, Err, T, J, M> fmt::Debug for FallbackFuture<F, Req, Res, Err, T, J, M>
where
    T: Substitute<Req, Res, Err>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackFuture").finish_non_exhaustive()
    }
}
