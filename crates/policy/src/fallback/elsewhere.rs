//! Another service answers.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Substitute;
use crate::sync::{Mutex, lock};
use crate::{Plain, Profile};

/// Sends a copy of the request to another service.
///
/// Of each request a copy is kept while the first service has it, as far as its profile can make one; a request that
/// cannot be copied is not answered otherwise. The other service is given the same context: it has what remains of
/// the caller's deadline, and no other limit of time unless it brings one.
pub struct Elsewhere<S, P = Plain> {
    // Cloned only when it is needed, and behind a lock only so that it need not be `Sync`.
    service: Arc<Mutex<S>>,
    profile: P,
}

impl<S> Elsewhere<S> {
    /// Sends copies of requests that can be cloned.
    pub fn new(service: S) -> Self {
        Self { service: Arc::new(Mutex::new(service)), profile: Plain::new() }
    }
}

impl<S, P> Elsewhere<S, P> {
    /// With copies that `profile` makes.
    pub fn profiled_by<Q>(self, profile: Q) -> Elsewhere<S, Q> {
        Elsewhere { service: self.service, profile }
    }
}

impl<S, P: Clone> Clone for Elsewhere<S, P> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), profile: self.profile.clone() }
    }
}

impl<S, P> fmt::Debug for Elsewhere<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").finish_non_exhaustive()
    }
}

impl<S, P, Req> Substitute<Req, S::Response, S::Error> for Elsewhere<S, P>
where
    S: Service<Req> + Clone,
    P: Profile<Req>,
{
    type Kept = Req;
    type Answer = ElsewhereFuture<S, Req>;

    fn keep(&self, request: &Req) -> Option<Req> {
        self.profile.duplicate(request)
    }

    fn answer(&self, request: Req, _failure: Result<&S::Response, &S::Error>) -> Option<Self::Answer> {
        let service = lock(&self.service).clone();
        Some(ElsewhereFuture { state: State::Waiting { service, request: Some(request) } })
    }
}

pin_project! {
    /// The answer of another service.
    #[must_use = "futures do nothing unless polled"]
    pub struct ElsewhereFuture<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        state: State<S, Req, S::Future>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F> {
        Waiting { service: S, request: Option<Req> },
        Calling { #[pin] call: F },
    }
}

impl<S: Service<Req>, Req> Future for ElsewhereFuture<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let call = match state.as_mut().project() {
                StateProj::Calling { call } => return call.poll(cx),
                StateProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("it is taken as the state is left"))
                }
            };
            state.set(State::Calling { call });
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ElsewhereFuture<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElsewhereFuture").finish_non_exhaustive()
    }
}
