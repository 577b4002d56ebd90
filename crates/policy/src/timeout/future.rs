//! A call that ends in time, one way or the other.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use super::{Core, Scope};
use crate::stripe::Held;
use crate::{Moment, PolicyError, Reason, Rejection};

pin_project! {
    /// A call with a limit.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F> {
        // Taken when its time is over, so that it is cancelled there and then.
        #[pin]
        call: Option<F>,
        #[pin]
        watch: Watch,
    }
}

pin_project! {
    struct Watch {
        // None where nothing is limited: off, or told in shadow mode.
        core: Option<Held<Core>>,
        scope: Scope,
        deadline: Option<Moment>,
        allowed: bool,
        reason: Reason,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F> TimeoutFuture<F> {
    #[inline]
    pub(super) fn new(
        call: F,
        core: Option<Held<Core>>,
        scope: Scope,
        deadline: Option<Moment>,
        allowed: bool,
    ) -> Self {
        let watch = Watch { core, scope, deadline, allowed, reason: Reason::TimeoutTotal, timer: None };
        Self { call: Some(call), watch }
    }
}

impl<F, Res, Err> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: PolicyError,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let call = this.call.as_mut().as_pin_mut().expect("a future that has ended is not polled");
        // The call goes first: an answer that is there is an answer, however late.
        if let Poll::Ready(outcome) = call.poll(cx) {
            return Poll::Ready(outcome);
        }
        let rejection = ready!(this.watch.poll_over(cx));
        this.call.set(None);
        Poll::Ready(Err(Err::rejected(rejection)))
    }
}

impl Watch {
    /// Ready when the call must end. Kept out of the path of calls that answer at once.
    #[cold]
    fn poll_over(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Rejection> {
        let mut this = self.project();
        let Some(core) = this.core.as_ref() else { return Poll::Pending };
        if this.timer.is_none() {
            let (limit, reason) = core.limit(*this.scope, *this.deadline, *this.allowed);
            *this.reason = reason;
            this.timer.set(Some(tokio::time::sleep(limit)));
        }
        let timer = this.timer.as_mut().as_pin_mut().expect("set above");
        // Unconstrained: a call that uses up what its task may do in one turn must not hide its own end.
        ready!(Pin::new(&mut unconstrained(timer)).poll(cx));
        let verdict = core.over(*this.reason);
        this.timer.set(None);
        *this.core = None;
        verdict.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<F> fmt::Debug for TimeoutFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutFuture").field("limited", &self.watch.core.is_some()).finish_non_exhaustive()
    }
}
