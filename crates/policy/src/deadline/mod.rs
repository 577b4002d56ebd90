//! When the caller stops waiting, known to everybody below.
//!
//! **The problem.** Each hop has a timeout of its own, and works on for a caller who has long gone. Under load that is
//! most of the work.
//!
//! **The rule.** The deadline of a call is the earlier of what its caller has said and what the callee allows in all.
//! It is a moment here and a number of milliseconds on the wire: clocks of two machines never agree, so only what
//! remains is told, and the time on the way is given away. Each attempt is told anew what remains by then.
//!
//! **Trips** when 1 ms or less remains: nobody answers in that, so the request is turned away before it is sent.
//! Nothing is gained by sending it again, so that is what the rejection says.
//!
//! **Recovery and cold start**: it has no memory.
//!
//! This layer sets the deadline. [`TotalTimeoutLayer`](crate::TotalTimeoutLayer) cuts off what runs over it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::settings::{Check, DURATION_MAX, SettingsError};
use crate::{CallContext, Moment, Plain, PolicyError, Profile, Reason, Rejection};

/// With this or less to go, nobody answers in time.
pub const DEADLINE_MIN: Duration = Duration::from_millis(1);

/// Kept back of what remains when it is told to the next hop: for the way there and back.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(5);

/// Settings of a [`Deadline`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct DeadlineSettings {
    /// Whether it acts.
    pub mode: Mode,
    /// What a call may take in all, whatever its caller allows.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub total: Duration,
}

impl Default for DeadlineSettings {
    fn default() -> Self {
        Self { mode: Mode::Enforce, total: Duration::from_secs(15) }
    }
}

impl DeadlineSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let fine = self.total > DEADLINE_MIN && self.total <= DURATION_MAX;
        Check::new("deadline").that(fine, "total", "above 1ms, and at most 1000d").done()
    }
}

/// Sets the deadlines of calls.
#[derive(Debug, Clone)]
pub struct Deadline {
    settings: DeadlineSettings,
    env: Env,
}

impl Deadline {
    /// Refuses settings that cannot work.
    pub fn new(settings: DeadlineSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self { settings, env: env.clone() })
    }

    /// The deadline of a call of which its caller has said `asked`; a rejection where too little is left.
    pub fn of(&self, asked: Option<Moment>) -> Result<Option<Moment>, Rejection> {
        if self.settings.mode == Mode::Off {
            return Ok(asked);
        }
        let now = self.env.clock().now();
        let own = now + self.settings.total;
        let deadline = asked.map_or(own, |asked| asked.min(own));
        let enforced = self.settings.mode.enforced();
        if deadline.since(now) <= DEADLINE_MIN {
            self.env.tell(PolicyKind::Deadline, &Event::Rejected { reason: Reason::Deadline, enforced });
            if enforced {
                return Err(Rejection::last(Reason::Deadline));
            }
        }
        Ok(if enforced { Some(deadline) } else { asked })
    }
}

/// Sets the deadline of each call, and turns away those that come too late.
#[derive(Debug, Clone)]
pub struct DeadlineLayer<P = Plain> {
    deadline: Deadline,
    profile: P,
}

impl DeadlineLayer {
    /// For requests of which nothing is known; those below learn of the deadline by [`Profile::stamp`] only.
    pub const fn new(deadline: Deadline) -> Self {
        Self { deadline, profile: Plain::new() }
    }
}

impl<P> DeadlineLayer<P> {
    /// For requests that `profile` knows.
    pub fn profiled_by<Q>(self, profile: Q) -> DeadlineLayer<Q> {
        DeadlineLayer { deadline: self.deadline, profile }
    }
}

impl<S, P: Clone> Layer<S> for DeadlineLayer<P> {
    type Service = DeadlineService<S, P>;
    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService { inner, deadline: self.deadline.clone(), profile: self.profile.clone() }
    }
}

/// A service whose calls have deadlines.
#[derive(Debug, Clone)]
pub struct DeadlineService<S, P = Plain> {
    inner: S,
    deadline: Deadline,
    profile: P,
}

impl<S, P, Req> Service<Req> for DeadlineService<S, P>
where
    S: Service<Req>,
    S::Error: PolicyError,
    P: Profile<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let context = self.profile.context(&request);
        let kind = match self.deadline.of(context.deadline) {
            Err(rejection) => Kind::Rejected { rejection },
            Ok(deadline) => {
                // Also where it is the caller's own: he said what remained then, and it must not be read again later as
                // if it were still to come.
                if deadline.is_some() && self.deadline.settings.mode.enforced() {
                    let allowed = deadline != context.deadline;
                    self.profile.stamp(&mut request, &CallContext { deadline, allowed, ..context });
                }
                Kind::Calling { call: self.inner.call(request) }
            }
        };
        DeadlineFuture { kind }
    }
}

pin_project! {
    /// A call that has a deadline.
    #[must_use = "futures do nothing unless polled"]
    #[derive(Debug)]
    pub struct DeadlineFuture<F> {
        #[pin]
        kind: Kind<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = KindProj]
    enum Kind<F> {
        Rejected { rejection: Rejection },
        Calling { #[pin] call: F },
    }
}

impl<F, Res, Err> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Res, Err>>,
    Err: PolicyError,
{
    type Output = Result<Res, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProj::Rejected { rejection } => Poll::Ready(Err(Err::rejected(*rejection))),
            KindProj::Calling { call } => call.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests;
