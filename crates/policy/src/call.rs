//! How what layers tell each other travels through a stack, whatever the type of the requests: beside them.

use std::task::{Context, Poll};

use tower_service::Service;

use crate::{CallContext, Error, Judge, Profile, Reason, Repeatable, Verdict};

/// A request on its way through a stack, and what the layers above have said of it.
#[derive(Debug, Clone, Copy)]
pub struct Call<Req> {
    request: Req,
    context: CallContext,
}

/// The profile of a [`Call`] is that of its request, but for the context, which travels beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried<P>(pub(crate) P);

impl<P: Profile<Req>, Req> Profile<Call<Req>> for Carried<P> {
    fn repeatable(&self, call: &Call<Req>) -> Repeatable {
        self.0.repeatable(&call.request)
    }

    fn hedgeable(&self, call: &Call<Req>) -> bool {
        self.0.hedgeable(&call.request)
    }

    fn duplicate(&self, call: &Call<Req>) -> Option<Call<Req>> {
        Some(Call { request: self.0.duplicate(&call.request)?, context: call.context })
    }

    fn context(&self, call: &Call<Req>) -> CallContext {
        call.context
    }

    fn stamp(&self, call: &mut Call<Req>, context: &CallContext) {
        call.context = *context;
    }
}

/// Lets a judge of a service's own errors judge within a stack, where [`Adapt`](crate::Adapt) has wrapped them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Within<J>(pub(crate) J);

impl<J: Judge<Res, E>, Res, E> Judge<Res, Error<E>> for Within<J> {
    fn judge(&self, outcome: Result<&Res, &Error<E>>) -> Verdict {
        match outcome {
            Ok(response) => self.0.judge(Ok(response)),
            Err(Error::Failed { error, .. }) => self.0.judge(Err(error)),
            // The decisions of policies are known before any judge is asked.
            Err(Error::Rejected(_)) => Verdict::ASIDE,
        }
    }

    fn forbid_retry(&self, response: &mut Res, reason: Reason) {
        self.0.forbid_retry(response, reason);
    }
}

/// The top of a stack: takes a request, and asks its profile what the caller has said of it.
#[derive(Debug, Clone)]
pub struct Enter<S, P> {
    pub(crate) inner: S,
    pub(crate) profile: P,
}

impl<S: Service<Call<Req>>, P: Profile<Req>, Req> Service<Req> for Enter<S, P> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        let context = self.profile.context(&request);
        self.inner.call(Call { request, context })
    }
}

/// The bottom of a stack: writes what the layers have said into the request, and sends it.
#[derive(Debug, Clone)]
pub struct Leave<S, P> {
    pub(crate) inner: S,
    pub(crate) profile: P,
}

impl<S: Service<Req>, P: Profile<Req>, Req> Service<Call<Req>> for Leave<S, P> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, Call { mut request, context }: Call<Req>) -> S::Future {
        self.profile.stamp(&mut request, &context);
        self.inner.call(request)
    }
}
