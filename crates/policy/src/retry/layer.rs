//! A [`Retry`] around a Tower service.
//!
//! Tower's own retry clones the service for every request. Here a service that is only there to be cloned waits
//! behind a lock, which is taken when a retry is really made. And what only a retry needs is allocated then: the
//! future of a call that passes is little larger than that of the call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

use super::policy::{Core, Failure, Progress, Retry, is_fine};
use super::{Denied, Repeatable};
use crate::budget::Tallies;
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
            retry: self.retry.core(),
            tallies: self.retry.budget().tallies(),
            profile: self.profile.clone(),
            judge: self.judge.clone(),
            template: Mutex::new(inner.clone()),
        };
        RetryService { inner, parts: Shared::new(parts) }
    }
}

/// What all requests of a service and of its clones use.
struct Parts<S, P, J> {
    retry: Arc<Core>,
    tallies: Tallies,
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
    fn call(&mut self, mut request: Req) -> Self::Future {
        let parts = self.parts.hold();
        let Parts { retry, profile, .. } = &*parts;
        let context = profile.context(&request);
        let (mut kept, mut counted) = (None, false);
        if !retry.is_off() {
            kept = profile.duplicate(&request);
            let repeatable = if kept.is_some() { profile.repeatable(&request) } else { Repeatable::No };
            let last = retry.is_last(0, repeatable);
            // Nothing else is new to the layers below, and to tell them may cost an allocation.
            if last != context.last {
                profile.stamp(&mut request, &CallContext { last, ..context });
            }
            // What a layer above sends again is no first attempt, and deposits nothing.
            counted = context.attempt == 0 && !context.hedged;
        }
        RetryFuture {
            // Made where it stays: to move what has just been written in pieces costs as much as all the rest.
            state: State::Calling { call: self.inner.call(request) },
            kept,
            context,
            // Begins after the call, so that a call that panics is not counted for ever.
            running: Running::begin(parts, counted),
        }
    }
}

/// Ends the request when its future is dropped, however far that has come.
struct Running<S, P, J> {
    parts: Held<Parts<S, P, J>>,
    counted: bool,
    progress: Progress,
}

impl<S, P, J> Running<S, P, J> {
    #[inline]
    fn begin(parts: Held<Parts<S, P, J>>, counted: bool) -> Self {
        if counted {
            parts.tallies.begin();
        }
        Self { parts, counted, progress: Progress::default() }
    }
}

impl<S, P, J> Drop for Running<S, P, J> {
    #[inline]
    fn drop(&mut self) {
        if self.counted {
            self.parts.tallies.end();
        }
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
        // Apart, for nearly no call comes here, and all would be the size of it.
        Pausing { pause: Pin<Box<Pause<S, Req>>> },
    }
}

pin_project! {
    /// Between two attempts.
    struct Pause<S, Req> {
        #[pin]
        sleep: Option<Sleep>,
        // A clone, which nobody has asked yet whether it is ready.
        service: S,
        request: Option<Req>,
    }
}

impl<S, Req> Pause<S, Req> {
    /// The next attempt, when it is time and the service is ready.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Future, S::Error>>
    where
        S: Service<Req>,
    {
        let mut this = self.project();
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(cx));
            this.sleep.set(None);
        }
        ready!(this.service.poll_ready(cx))?;
        let request = this.request.take().expect("a pause ends once");
        Poll::Ready(Ok(this.service.call(request)))
    }
}

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
                    let polled = call.poll(cx);
                    let Poll::Ready(outcome) = &polled else { return polled };
                    let verdict = verdict(&this.running.parts.judge, outcome);
                    if is_fine(&verdict) {
                        // As it came: to take it out and put it in again is half of what all this costs.
                        return polled;
                    }
                    match this.running.again(&verdict, this.kept.as_ref(), *this.context) {
                        Ok(pause) => State::Pausing { pause },
                        Err(why) => return this.running.passed_on(polled, why),
                    }
                }
                StateProj::Pausing { pause } => match ready!(pause.as_mut().poll(cx)) {
                    Ok(call) => State::Calling { call },
                    Err(error) => {
                        // It was never sent.
                        this.running.progress.settle(true);
                        return Poll::Ready(Err(error));
                    }
                },
            };
            this.state.set(next);
        }
    }
}

impl<S, P, J> Running<S, P, J> {
    /// After a failure: what comes before the next attempt.
    #[cold]
    #[inline(never)]
    fn again<Req>(
        &mut self,
        verdict: &Verdict,
        kept: Option<&Req>,
        context: CallContext,
    ) -> Result<Pin<Box<Pause<S, Req>>>, Denied>
    where
        S: Clone,
        P: Profile<Req>,
    {
        let Parts { retry, profile, template, .. } = &*self.parts;
        let repeatable = kept.map(|kept| profile.repeatable(kept));
        let failure = Failure { verdict: *verdict, repeatable, remaining: context.remaining(retry.now()) };
        // There may have been a copy at the beginning and none now: the body has turned out to be too large.
        let copy = || kept.and_then(|kept| profile.duplicate(kept));
        let (wait, mut request) = retry.next(&mut self.progress, &failure, copy)?;
        let retries = self.progress.retries();
        let attempt = context.attempt.saturating_add(retries);
        let last = retry.is_last(retries, repeatable.unwrap_or(Repeatable::No));
        profile.stamp(&mut request, &CallContext { attempt, last, ..context });
        let sleep = (!wait.is_zero()).then(|| tokio::time::sleep(wait));
        Ok(Box::pin(Pause { sleep, service: lock(template).clone(), request: Some(request) }))
    }

    /// The outcome as the caller gets it.
    #[cold]
    fn passed_on<Res, Err>(&self, polled: Poll<Result<Res, Err>>, why: Denied) -> Poll<Result<Res, Err>>
    where
        Err: PolicyError,
        J: Judge<Res, Err>,
    {
        if why != Denied::Budget {
            return polled;
        }
        // Or those above would do what we may not.
        match polled {
            Poll::Ready(Ok(mut response)) => {
                self.parts.judge.forbid_retry(&mut response, Reason::RetryBudget);
                Poll::Ready(Ok(response))
            }
            polled => polled.map_err(|error| error.without_retry(Reason::RetryBudget)),
        }
    }
}

impl<S: std::fmt::Debug, P, J> std::fmt::Debug for RetryService<S, P, J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S: Service<Req>, P, J, Req> std::fmt::Debug for RetryFuture<S, P, J, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryFuture").field("progress", &self.running.progress).finish_non_exhaustive()
    }
}
