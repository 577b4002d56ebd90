//! The stack itself.

use tower_layer::Layer;

use crate::{
    Adapt, Adapted, Breaker, BreakerLayer, BreakerService, Bulkhead, BulkheadLayer, BulkheadService, Carried, Deadline,
    DeadlineLayer, DeadlineService, Enter, Everything, Fault, FaultLayer, FaultService, Hedge, HedgeLayer,
    HedgeService, Leave, Limit, LimitLayer, LimitService, NoAnswer, RateLimit, RateLimitLayer, RateLimitService, Retry,
    RetryBudget, RetryLayer, RetryService, Timeout, TotalTimeout, TotalTimeoutLayer, TryTimeout, TryTimeoutLayer,
    Within,
};

/// All policies of one service as a layer, made by [`Policy::layer`](super::Policy::layer). Clones share them.
#[derive(Debug, Clone)]
pub struct PolicyLayer<P, J> {
    pub(super) profile: P,
    pub(super) judge: J,
    pub(super) deadline: Deadline,
    pub(super) limit: Limit,
    pub(super) rate_limit: RateLimit,
    pub(super) timeout: Timeout,
    pub(super) hedge: Hedge,
    pub(super) retry: Retry,
    pub(super) breaker: Breaker,
    pub(super) bulkhead: Bulkhead,
    pub(super) fault: Fault,
}

/// What every call has once, above the tries.
type Once<S, P, J> = DeadlineService<LimitService<RateLimitService<TotalTimeout<S, P>>, J, P>, P>;
/// What sends more than once.
type Again<S, P, J> = HedgeService<RetryService<S, P, J>, J, P>;
/// What every try has.
type Try<S, P, J> = BreakerService<BulkheadService<TryTimeout<FaultService<S, Everything, NoAnswer, P>, P>, P>, J>;

/// A service behind all policies. Its error is [`Error`](crate::Error) of the service's own.
pub type PolicyService<S, P, J> = Enter<
    Once<Again<Try<Leave<Adapted<S>, P>, Carried<P>, Within<J>>, Carried<P>, Within<J>>, Carried<P>, Within<J>>,
    P,
>;

impl<P, J> PolicyLayer<P, J> {
    /// The limit that finds itself.
    pub const fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The limit of calls in a time.
    pub const fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    /// What may be retried and hedged.
    pub fn budget(&self) -> &RetryBudget {
        self.retry.budget()
    }

    /// The breaker, to look at and to take into hand.
    pub const fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Calls that run and wait.
    pub const fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }

    /// Faults, to put into the path of calls and to take out of it.
    pub const fn fault(&self) -> &Fault {
        &self.fault
    }
}

impl<S: Clone, P: Clone, J: Clone> Layer<S> for PolicyLayer<P, J> {
    type Service = PolicyService<S, P, J>;

    fn layer(&self, service: S) -> Self::Service {
        let carried = || Carried(self.profile.clone());
        let within = || Within(self.judge.clone());
        let leave = Leave { inner: Adapt.layer(service), profile: self.profile.clone() };
        let tried = FaultLayer::new(self.fault.clone()).profiled_by(carried()).layer(leave);
        let tried = TryTimeoutLayer::new(self.timeout.clone()).profiled_by(carried()).layer(tried);
        let tried = BulkheadLayer::new(self.bulkhead.clone()).profiled_by(carried()).layer(tried);
        let tried = BreakerLayer::new(self.breaker.clone()).judged_by(within()).layer(tried);
        let again = RetryLayer::new(self.retry.clone()).profiled_by(carried()).judged_by(within()).layer(tried);
        let again = HedgeLayer::new(self.hedge.clone()).profiled_by(carried()).judged_by(within()).layer(again);
        let once = TotalTimeoutLayer::new(self.timeout.clone()).profiled_by(carried()).layer(again);
        let once = RateLimitLayer::new(self.rate_limit.clone()).layer(once);
        let once = LimitLayer::new(self.limit.clone()).profiled_by(carried()).judged_by(within()).layer(once);
        let once = DeadlineLayer::new(self.deadline.clone()).profiled_by(carried()).layer(once);
        Enter { inner: once, profile: self.profile.clone() }
    }
}
