//! A call that may become two, and ends with the first good answer.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;
use tower_service::Service;

use super::layer::Target;
use super::{HedgePermit, HedgeTimer};
use crate::profile::verdict;
use crate::stripe::Held;
use crate::sync::lock;
use crate::{CallContext, Health, Judge, PolicyError, Profile};

pin_project! {
    /// A call that may be sent twice. Dropped, both copies are.
    #[must_use = "futures do nothing unless polled"]
    pub struct HedgeFuture<S, Req, J, P>
    where
        S: Service<Req>,
    {
        // Taken when it has failed, or lost.
        #[pin]
        first: Option<S::Future>,
        // None where nothing is hedged.
        hedging: Option<Hedging<S, Req, J, P>>,
        // Boxed, for hardly any call has one: two futures in place would make every call as large as two.
        second: Option<Pin<Box<Second<S, Req>>>>,
        #[pin]
        timer: Option<Sleep>,
    }
}

/// What a call keeps for the case that it turns out to be slow.
pub(super) struct Hedging<S, Req, J, P> {
    pub(super) target: Held<Target<S>>,
    pub(super) timer: HedgeTimer,
    // To be sent after so long. Taken when its time has come, whether or not it may be sent then.
    pub(super) copy: Option<(Duration, Req)>,
    pub(super) judge: J,
    pub(super) profile: P,
}

pin_project! {
    /// The second copy.
    struct Second<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S, Req>,
        permit: HedgePermit,
        // How the first one has failed.
        failed: Option<Result<S::Response, S::Error>>,
    }
}

pin_project! {
    #[project = StageProj]
    enum Stage<S, Req>
    where
        S: Service<Req>,
    {
        Waiting { service: S, request: Option<Req> },
        Calling { #[pin] call: S::Future },
    }
}

impl<S: Service<Req>, Req, J, P> HedgeFuture<S, Req, J, P> {
    pub(super) fn new(first: S::Future, hedging: Option<Hedging<S, Req, J, P>>) -> Self {
        Self { first: Some(first), hedging, second: None, timer: None }
    }
}

impl<S, Req, J, P> Future for HedgeFuture<S, Req, J, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
    P: Profile<Req>,
{
    type Output = Outcome<S, Req>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(first) = self.as_mut().project().first.as_pin_mut()
            && let Poll::Ready(outcome) = first.poll(cx)
            && let Some(outcome) = self.as_mut().first_ended(outcome)
        {
            return Poll::Ready(self.end(outcome));
        }
        self.poll_second(cx)
    }
}

type Outcome<S, Req> = Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>;

impl<S, Req, J, P> HedgeFuture<S, Req, J, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
    P: Profile<Req>,
{
    /// `None` if it failed and the second copy may still do better.
    #[inline]
    fn first_ended(self: Pin<&mut Self>, outcome: Outcome<S, Req>) -> Option<Outcome<S, Req>> {
        let mut this = self.project();
        let Some(hedging) = this.hedging else { return Some(outcome) };
        if hedging.is_good(&outcome) {
            hedging.target.hedge.answered(hedging.timer);
            return Some(outcome);
        }
        // One that was not sent yet would be a retry now, and those have their own rules.
        match this.second {
            Some(second) if second.is_sent() => {
                *second.as_mut().project().failed = Some(outcome);
                this.first.set(None);
                None
            }
            _ => Some(outcome),
        }
    }

    /// There is no answer from the first copy; sends the second when its time has come, and sees how it does.
    #[cold]
    fn poll_second(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<S, Req>> {
        let mut this = self.as_mut().project();
        assert!(this.first.is_some() || this.second.is_some(), "a future that has ended is not polled");
        let Some(hedging) = this.hedging else { return Poll::Pending };
        if this.second.is_none() {
            *this.second = ready!(hedging.poll_due(this.timer.as_mut(), cx)).map(Box::pin);
        }
        let Some(second) = this.second else { return Poll::Pending };
        let outcome = ready!(second.as_mut().poll(cx));
        if hedging.is_good(&outcome) {
            hedging.target.hedge.answered(hedging.timer);
            hedging.target.hedge.won();
            return Poll::Ready(self.end(outcome));
        }
        match second.as_mut().project().failed.take() {
            // What the caller would have seen without a hedge.
            Some(first_failed) => Poll::Ready(self.end(first_failed)),
            None => {
                *this.second = None;
                Poll::Pending
            }
        }
    }

    /// Cancels what still runs, there and then: whoever keeps a future that has ended keeps no call (tower-resilience#393).
    #[inline]
    fn end(self: Pin<&mut Self>, outcome: Outcome<S, Req>) -> Outcome<S, Req> {
        let mut this = self.project();
        this.first.set(None);
        this.timer.set(None);
        *this.second = None;
        *this.hedging = None;
        outcome
    }
}

impl<S, Req, J, P> Hedging<S, Req, J, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
    P: Profile<Req>,
{
    fn is_good(&self, outcome: &Outcome<S, Req>) -> bool {
        verdict(&self.judge, outcome).health == Health::Good
    }

    /// The second copy when its time has come, if there is to be one.
    fn poll_due(&mut self, mut timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> Poll<Option<Second<S, Req>>> {
        let Some((delay, _)) = self.copy else { return Poll::Ready(None) };
        if timer.is_none() {
            timer.set(Some(tokio::time::sleep(delay)));
        }
        if let Some(sleep) = timer.as_mut().as_pin_mut() {
            // Unconstrained: a first copy that uses up what its task may do in one turn must not keep off the second.
            ready!(Pin::new(&mut unconstrained(sleep)).poll(cx));
        }
        timer.set(None);
        let Some((_, mut request)) = self.copy.take() else { return Poll::Ready(None) };
        let Some(permit) = self.target.hedge.try_acquire() else { return Poll::Ready(None) };
        let context = CallContext { hedged: true, ..self.profile.context(&request) };
        self.profile.stamp(&mut request, &context);
        let service = lock(&self.target.template).clone();
        let stage = Stage::Waiting { service, request: Some(request) };
        Poll::Ready(Some(Second { stage, permit, failed: None }))
    }
}

impl<S: Service<Req>, Req> Second<S, Req> {
    const fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Calling { .. })
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<S, Req>> {
        let mut this = self.project();
        loop {
            match this.stage.as_mut().project() {
                StageProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("taken once, when this stage ends");
                    let call = service.call(request);
                    this.permit.sent();
                    this.stage.set(Stage::Calling { call });
                }
                StageProj::Calling { call } => return call.poll(cx),
            }
        }
    }
}

impl<S: Service<Req>, Req, J, P> fmt::Debug for HedgeFuture<S, Req, J, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeFuture").field("doubled", &self.second.is_some()).finish_non_exhaustive()
    }
}
