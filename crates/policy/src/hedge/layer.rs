//! A [`Hedge`] around a Tower service.

use std::fmt;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::future::Hedging;
use super::{Hedge, HedgeFuture};
use crate::stripe::Shared;
use crate::sync::Mutex;
use crate::{Judge, Plain, PolicyError, Profile};

/// Sends second copies of calls that take long. All services of one layer, and of its clones, share the [`Hedge`].
///
/// It must know the requests ([`HedgeLayer::profiled_by`]): of those of which nothing is known none is doubled.
#[derive(Debug, Clone)]
pub struct HedgeLayer<J = Plain, P = Plain> {
    hedge: Hedge,
    judge: J,
    profile: P,
}

impl HedgeLayer {
    /// Every `Err` is a failure, and no request may be doubled.
    pub const fn new(hedge: Hedge) -> Self {
        Self { hedge, judge: Plain::new(), profile: Plain::new() }
    }
}

impl<J, P> HedgeLayer<J, P> {
    /// With another view of what is a good answer.
    pub fn judged_by<K>(self, judge: K) -> HedgeLayer<K, P> {
        HedgeLayer { hedge: self.hedge, judge, profile: self.profile }
    }

    /// For requests that `profile` knows.
    pub fn profiled_by<Q>(self, profile: Q) -> HedgeLayer<J, Q> {
        HedgeLayer { hedge: self.hedge, judge: self.judge, profile }
    }
}

impl<S: Clone, J: Clone, P: Clone> Layer<S> for HedgeLayer<J, P> {
    type Service = HedgeService<S, J, P>;
    fn layer(&self, inner: S) -> Self::Service {
        let target = Target { hedge: self.hedge.clone(), template: Mutex::new(inner.clone()) };
        HedgeService { inner, target: Shared::new(target), judge: self.judge.clone(), profile: self.profile.clone() }
    }
}

/// A service whose slow calls are sent twice.
pub struct HedgeService<S, J = Plain, P = Plain> {
    inner: S,
    target: Shared<Target<S>>,
    judge: J,
    profile: P,
}

/// What a call needs when it turns out to be slow.
pub(super) struct Target<S> {
    pub(super) hedge: Hedge,
    // Never called, only cloned. A lock, because services are often `Send` and not `Sync`.
    pub(super) template: Mutex<S>,
}

impl<S: Clone, J: Clone, P: Clone> Clone for HedgeService<S, J, P> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            target: self.target.clone(),
            judge: self.judge.clone(),
            profile: self.profile.clone(),
        }
    }
}

impl<S, J, P, Req> Service<Req> for HedgeService<S, J, P>
where
    S: Service<Req> + Clone,
    S::Error: PolicyError,
    J: Judge<S::Response, S::Error>,
    P: Profile<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = HedgeFuture<S, Req, J, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let hedge = &self.target.hedge;
        // What is a second copy already, of a layer above, is not doubled again.
        let may = !hedge.off() && self.profile.hedgeable(&request) && !self.profile.context(&request).hedged;
        let hedging = may.then(|| {
            let timer = hedge.begin();
            Hedging {
                target: self.target.hold(),
                timer,
                copy: timer.delay().and_then(|delay| Some((delay, self.profile.duplicate(&request)?))),
                judge: self.judge.clone(),
                profile: self.profile.clone(),
            }
        });
        HedgeFuture::new(self.inner.call(request), hedging)
    }
}

impl<S, J, P> fmt::Debug for HedgeService<S, J, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeService").field("hedge", &self.target.hedge).finish_non_exhaustive()
    }
}
