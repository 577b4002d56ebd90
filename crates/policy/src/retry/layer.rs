//! A [`Retry`] around a Tower service.
//!
//! Tower's own retry clones the service for every request. Here a service that is only there to be cloned waits
//! behind a lock, which is taken when a retry is really made.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::Denied;
use super::policy::{Failure, Progress, Retry, is_fine};
use crate::profile::verdict;
use crate::stripe::{Held, Shared};
use crate::sync::{Mutex, lock};
use crate::{CallContext, Judge, Plain, PolicyError, Profile, Reason, Verdict};

/// Puts a [`Retry`] around services, which must be able to be cloned.
///
/// It belongs above everything that an attempt has for itself (breaker, bulkhead, the timeout of one try) and below
/// everything that a request has once (the total timeout, a fallback).
#[derive(Debug, Clone)]
pub struct RetryLayer<P = Plain, J = Plain> {
    retry: Retry,
    profile: P,
    judge: J,
}

impl RetryLayer {
    /// Only what was never sent is sent again, and every `Err` is a failure.
    pub const fn new(retry: Retry) -> Self {
        Self { retry, profile: Plain::new(), judge: Plain::new() }
    }
}

impl<P, J> RetryLayer<P, J> {
    /// With knowledge of the requests: which may be sent twice, and how to copy them.
    pub fn profiled_by<Q>(self, profile: Q) -> RetryLayer<Q, J> {
        RetryLayer { retry: self.retry, profile, judge: self.judge }
    }

    /// With another view of what is a failure.
    pub fn judged_by<K>(self, judge: K) -> RetryLayer<P, K> {
        RetryLayer { retry: self.retry, profile: self.profile, judge }
    }
}

impl<S: Clone, P: Clone, J: Clone> Layer<S> for RetryLayer<P, J> {
    type Service = RetryService<S, P, J>;
    fn layer(&self, inner: S) -> Self::Service {
        let parts = Parts {
            retry: self.retry.clone(),
            profile: self.profile.clone(),
            judge: self.judge.clone(),
            template: Mutex::new(inner.clone()),
        };
        RetryService { inner, parts: Shared::new(parts) }
    }
}

/// What all requests of a service and of its clones use.
struct Parts<S, P, J> {
    retry: Retry,
    profile: P,
    judge: J,
    /// Never called: its clones are.
    template: Mutex<S>,
}

/// A service behind a [`Retry`].
pub struct RetryService<S, P = Plain, J = Plain> {
    inner: S,
    parts: Shared<Parts<S, P, J>>,
}

impl<S: Clone, P, J> Clone for RetryService<S, P, J> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), parts: self.parts.clone() }
    }
}

impl<S, P, J, Req> Service<Req> for RetryService<S, P, J>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    P: Profile<Req>,
    J: Judge<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, P, J, Req>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let mut running = Running { parts: self.parts.hold(), progress: Progress::default() };
        let Parts { retry, profile, .. } = &*running.parts;
        let context = profile.context(&request);
        let mut kept = None;
        if !retry.is_off() {
            kept = profile.duplicate(&request);
            // What a layer above sends again is no first attempt, and deposits nothing.
            if context.attempt == 0 && !context.hedged {
                retry.enter(&mut running.progress);
            }
        }
        RetryFuture { state: State::Calling { call: self.inner.call(request) }, kept, context, running }
    }
}

/// Ends the request however its future ends.
struct Running<S, P, J> {
    parts: Held<Parts<S, P, J>>,
    progress: Progress,
}

impl<S, P, J> Running<S, P, J> {
    #[inline]
    fn end(&mut self) {
        self.parts.retry.leave(&mut self.progress);
    }
}

impl<S, P, J> Drop for Running<S, P, J> {
    #[inline]
    fn drop(&mut self) {
        self.end();
    }
}

pin_project! {
    /// A call through a [`Retry`]. Dropped early, also between two attempts, it gives back all that it holds.
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<S, P, J, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, S::Future, Req>,
        kept: Option<Req>,
        context: CallContext,
        running: Running<S, P, J>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, F, Req> {
        Calling { #[pin] call: F },
        Waiting { #[pin] sleep: Sleep, request: Option<Req> },
        // A clone has been asked by nobody yet.
        Readying { service: S, request: Option<Req> },
    }
}

const HELD: &str = "a request that waits is sent once";

impl<S, P, J, Req> Future for RetryFuture<S, P, J, Req>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    P: Profile<Req>,
    J: Judge<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Calling { call } => {
                    let outcome = ready!(call.poll(cx));
                    let verdict = verdict(&this.running.parts.judge, &outcome);
                    if is_fine(&verdict) {
                        this.running.end();
                        return Poll::Ready(outcome);
                    }
                    match this.running.again(&verdict, this.kept.as_ref(), *this.context) {
                        Ok((wait, request)) if wait.is_zero() => this.running.ready(request),
                        Ok((wait, request)) => {
                            State::Waiting { sleep: tokio::time::sleep(wait), request: Some(request) }
                        }
                        Err(why) => {
                            this.running.end();
                            return Poll::Ready(this.running.passed_on(outcome, why));
                        }
                    }
                }
                StateProj::Waiting { sleep, request } => {
                    ready!(sleep.poll(cx));
                    this.running.ready(request.take().expect(HELD))
                }
                StateProj::Readying { service, request } => {
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        this.running.progress.never_sent();
                        this.running.end();
                        return Poll::Ready(Err(error));
                    }
                    State::Calling { call: service.call(request.take().expect(HELD)) }
                }
            };
            this.state.set(next);
        }
    }
}

impl<S, P, J> Running<S, P, J> {
    /// After a failure: how long to wait, and what to send then.
    #[cold]
    fn again<Req>(
        &mut self,
        verdict: &Verdict,
        kept: Option<&Req>,
        context: CallContext,
    ) -> Result<(Duration, Req), Denied>
    where
        P: Profile<Req>,
    {
        let Parts { retry, profile, .. } = &*self.parts;
        let failure = Failure {
            verdict: *verdict,
            repeatable: kept.map(|kept| profile.repeatable(kept)),
            remaining: context.remaining(retry.now()),
        };
        // There may have been a copy at the beginning and none now: the body has turned out to be too large.
        let copy = || kept.and_then(|kept| profile.duplicate(kept));
        let (wait, mut request) = retry.next(&mut self.progress, &failure, copy)?;
        let attempt = context.attempt.saturating_add(self.progress.retries());
        profile.stamp(&mut request, &CallContext { attempt, ..context });
        Ok((wait, request))
    }

    fn ready<F, Req>(&self, request: Req) -> State<S, F, Req>
    where
        S: Clone,
    {
        State::Readying { service: lock(&self.parts.template).clone(), request: Some(request) }
    }

    /// The outcome as the caller gets it.
    fn passed_on<Res, Err>(&self, mut outcome: Result<Res, Err>, why: Denied) -> Result<Res, Err>
    where
        Err: PolicyError,
        J: Judge<Res, Err>,
    {
        if why == Denied::Budget {
            // Or those above would do what we may not.
            match &mut outcome {
                Ok(response) => self.parts.judge.forbid_retry(response, Reason::RetryBudget),
                Err(_) => return outcome.map_err(|error| error.without_retry(Reason::RetryBudget)),
            }
        }
        outcome
    }
}

impl<S: std::fmt::Debug, P, J> std::fmt::Debug for RetryService<S, P, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryService")
            .field("inner", &self.inner)
            .field("retry", &self.parts.retry)
            .finish_non_exhaustive()
    }
}

impl<S: Service<Req>, P, J, Req> std::fmt::Debug for RetryFuture<S, P, J, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryFuture").field("progress", &self.running.progress).finish_non_exhaustive()
    }
}
