//! A request that meets a fault, or none.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::{FaultAnswer, FaultKind, Injected};
use crate::PolicyError;

pin_project! {
    /// A call through a [`Fault`](super::Fault). Dropped early it lets another have its place.
    #[must_use = "futures do nothing unless polled"]
    pub struct FaultFuture<S, Req, A>
    where
        S: Service<Req>,
    {
        #[pin]
        kind: Kind<S::Future, Faulted<S, Req, S::Future, Result<S::Response, S::Error>, A>>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<F, T> {
        Passing { #[pin] call: F },
        // In a box, so that a call that passes is no larger for it.
        Faulted { faulted: Box<T> },
    }
}

type Meets<S, Req, A> =
    Faulted<S, Req, <S as Service<Req>>::Future, Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>, A>;

impl<S: Service<Req>, Req, A> FaultFuture<S, Req, A> {
    pub(super) const fn passing(call: S::Future) -> Self {
        Self { kind: Kind::Passing { call } }
    }

    pub(super) fn faulted(faulted: Meets<S, Req, A>) -> Self {
        Self { kind: Kind::Faulted { faulted: Box::new(faulted) } }
    }
}

impl<S, Req, A> Future for FaultFuture<S, Req, A>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    A: FaultAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Passing { call } => call.poll(cx),
            KindProj::Faulted { faulted } => faulted.poll(cx),
        }
    }
}

/// A request that meets a fault.
pub(super) struct Faulted<S, Req, F, O, A> {
    injected: Injected,
    answer: A,
    step: Step<S, Req, F, O>,
}

enum Step<S, Req, F, O> {
    /// Held back. `cut`: the fault ends before the delay does.
    Delayed {
        wait: Wait,
        cut: bool,
        service: S,
        request: Req,
        copy: Option<Req>,
    },
    /// Not answered until the fault ends.
    Hung {
        wait: Wait,
    },
    /// The service has it.
    Calling {
        call: Pin<Box<F>>,
        lost: bool,
    },
    /// The service has it, and is to have its copy.
    Twice {
        call: Either<F, O>,
        copy: Copy<S, Req, F>,
    },
    Done,
}

enum Either<F, O> {
    Calling(Pin<Box<F>>),
    Over(O),
}

/// Nobody waits for its answer, but for its end.
enum Copy<S, Req, F> {
    Waiting(S, Req),
    Calling(Pin<Box<F>>),
    Over,
}

/// Until a time is over or the fault has ended.
struct Wait {
    length: Duration,
    // Made when it is first waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Wait {
    const fn new(length: Duration) -> Self {
        Self { length, sleep: None }
    }

    /// Ready with whether the fault has ended.
    fn poll(&mut self, injected: &mut Injected, cx: &mut Context<'_>) -> Poll<bool> {
        if self.length.is_zero() {
            return Poll::Ready(false);
        }
        if injected.poll_ended(cx).is_ready() {
            return Poll::Ready(true);
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.length)));
        sleep.as_mut().poll(cx).map(|()| false)
    }
}

impl<S, Req, F, O, A> Faulted<S, Req, F, O, A> {
    pub(super) fn new(injected: Injected, service: S, request: Req, copy: Option<Req>, answer: A) -> Self {
        let (delay, left) = (injected.delay(), injected.left());
        let step = Step::Delayed { wait: Wait::new(delay.min(left)), cut: left < delay, service, request, copy };
        Self { injected, answer, step }
    }
}

impl<S, Req, A> Meets<S, Req, A>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    A: FaultAnswer<S::Response>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        loop {
            match &mut self.step {
                Step::Delayed { wait, cut, .. } => {
                    let ended = ready!(wait.poll(&mut self.injected, cx)) || *cut;
                    if let Some(outcome) = self.act(ended) {
                        return Poll::Ready(outcome);
                    }
                }
                Step::Hung { wait } => {
                    ready!(wait.poll(&mut self.injected, cx));
                    return Poll::Ready(self.lost());
                }
                Step::Calling { call, lost } => {
                    let outcome = ready!(call.as_mut().poll(cx));
                    return Poll::Ready(if *lost && outcome.is_ok() { self.lost() } else { outcome });
                }
                Step::Twice { call, copy } => {
                    let one = call.poll(cx);
                    let other = copy.poll(cx);
                    if one.is_pending() || other.is_pending() {
                        return Poll::Pending;
                    }
                    if let Step::Twice { call: Either::Over(outcome), .. } =
                        std::mem::replace(&mut self.step, Step::Done)
                    {
                        return Poll::Ready(outcome);
                    }
                }
                Step::Done => unreachable!("a future is not polled after it is ready"),
            }
        }
    }

    /// After the delay. With an outcome if the request is not to reach the service.
    fn act(&mut self, ended: bool) -> Option<Result<S::Response, S::Error>> {
        let Step::Delayed { mut service, request, copy, .. } = std::mem::replace(&mut self.step, Step::Done) else {
            unreachable!("it is called while the request is held back");
        };
        let kind = if ended { None } else { self.injected.kind() };
        match kind {
            Some(FaultKind::Abort) => return Some(self.lost()),
            Some(FaultKind::Answer(status)) => {
                return Some(self.answer.answer(status).map_or_else(|| self.lost(), Ok));
            }
            Some(FaultKind::Refuse) => return Some(Err(S::Error::rejected(self.injected.refused()))),
            Some(FaultKind::Hang) => self.step = Step::Hung { wait: Wait::new(self.injected.left()) },
            Some(FaultKind::DropResponse) | None => {
                self.step = Step::Calling { call: Box::pin(service.call(request)), lost: kind.is_some() };
            }
            Some(FaultKind::Duplicate) => {
                let copy = copy.map_or(Copy::Over, |copy| Copy::Waiting(service.clone(), copy));
                self.step = Step::Twice { call: Either::Calling(Box::pin(service.call(request))), copy };
            }
        }
        None
    }

    fn lost(&self) -> Result<S::Response, S::Error> {
        Err(S::Error::rejected(self.injected.lost()))
    }
}

impl<F: Future> Either<F, F::Output> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Calling(call) = self {
            *self = Self::Over(ready!(call.as_mut().poll(cx)));
        }
        Poll::Ready(())
    }
}

impl<S: Service<Req>, Req> Copy<S, Req, S::Future> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match std::mem::replace(self, Self::Over) {
                Self::Over => return Poll::Ready(()),
                Self::Waiting(mut service, request) => match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => Self::Calling(Box::pin(service.call(request))),
                    Poll::Ready(Err(_)) => Self::Over,
                    Poll::Pending => {
                        *self = Self::Waiting(service, request);
                        return Poll::Pending;
                    }
                },
                Self::Calling(mut call) => match call.as_mut().poll(cx) {
                    Poll::Ready(_) => Self::Over,
                    Poll::Pending => {
                        *self = Self::Calling(call);
                        return Poll::Pending;
                    }
                },
            };
        }
    }
}

impl<S: Service<Req>, Req, A> fmt::Debug for FaultFuture<S, Req, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultFuture").finish_non_exhaustive()
    }
}
