//! All policies as one layer, in the order in which they belong.
//!
//! From the outside in: deadline → adaptive limit with shedding → rate limit → total timeout → hedge → retry with
//! budget → breaker → bulkhead → timeout of one try → injected faults → the service.
//!
//! The order is not a matter of taste. Who has no time left is turned away before anything is spent on him, and who
//! is shed before he waits. The total timeout is around the retries and their pauses, or it would not be total. The
//! breaker is below the retries, so that it sees each try and a retry is stopped by it; the bulkhead is below the
//! breaker, so that an open one does not wait for room. Faults are innermost, so that all of these meet them as they
//! would meet a real one (istio#13705: injected faults that went around the retries proved nothing).
//!
//! A fallback belongs around all this, and a limit by client in front of it: both need to be told things that only
//! their user knows, so they are layers of their own.

mod layer;
mod settings;

use std::time::Duration;

pub use layer::{PolicyLayer, PolicyService};
pub use settings::PolicySettings;

use crate::{
    Breaker, BreakerSettings, Bulkhead, Deadline, DeadlineSettings, Env, Fault, Hedge, Limit, Plain, RateLimit, Retry,
    SettingsError, Timeout,
};

/// How much longer than one try the lease of a breaker's probe lasts.
const LEASE_MARGIN: Duration = Duration::from_secs(1);

/// Builds the layer of all policies.
///
/// ```
/// use mainstay_policy::{Env, Policy};
/// use tower::{Layer, Service, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = Policy::careful().with(|settings| settings.retry.attempts = 1);
/// let layer = policy.layer(&Env::new("payment"))?;
///
/// let charge = tower::service_fn(|cents: u64| async move { Ok::<_, std::io::Error>(format!("charged {cents}")) });
/// let mut charge = layer.layer(charge);
/// assert_eq!(charge.ready().await?.call(250).await?, "charged 250");
/// assert_eq!(layer.breaker().state().label(), "closed");
/// # Ok(())
/// # }
/// ```
///
/// Settings that cannot work are refused when the layer is made, all of them at once:
///
/// ```
/// # use std::time::Duration;
/// # use mainstay_policy::{Env, Policy};
/// let policy = Policy::standard().with(|settings| {
///     settings.timeout.per_try = Duration::from_secs(20);
///     settings.breaker.consecutive = 0;
/// });
/// let error = policy.layer(&Env::new("payment")).unwrap_err();
/// let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
/// assert_eq!(fields, ["timeout.per_try", "breaker.consecutive"]);
/// ```
#[derive(Debug, Clone)]
pub struct Policy<P = Plain, J = Plain> {
    settings: PolicySettings,
    profile: P,
    judge: J,
}

impl Policy {
    /// With these settings, for requests and outcomes of which nothing is known.
    pub const fn new(settings: PolicySettings) -> Self {
        Self { settings, profile: Plain::new(), judge: Plain::new() }
    }

    /// For any service: [`PolicySettings::standard`].
    pub fn standard() -> Self {
        Self::new(PolicySettings::standard())
    }

    /// For services where a late answer is worthless: [`PolicySettings::careful`].
    pub fn careful() -> Self {
        Self::new(PolicySettings::careful())
    }

    /// For reads that people wait for: [`PolicySettings::reading`].
    pub fn reading() -> Self {
        Self::new(PolicySettings::reading())
    }
}

impl<P, J> Policy<P, J> {
    /// With other settings.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut PolicySettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// What is set.
    pub const fn settings(&self) -> &PolicySettings {
        &self.settings
    }

    /// With knowledge of the requests.
    pub fn profiled_by<Q>(self, profile: Q) -> Policy<Q, J> {
        Policy { settings: self.settings, profile, judge: self.judge }
    }

    /// With knowledge of the outcomes.
    pub fn judged_by<K>(self, judge: K) -> Policy<P, K> {
        Policy { settings: self.settings, profile: self.profile, judge }
    }

    /// With one that knows both, such as `Http`.
    pub fn speaking<L: Clone>(self, language: L) -> Policy<L, L> {
        Policy { settings: self.settings, profile: language.clone(), judge: language }
    }

    /// Makes the policies of the service that `env` names, as one layer.
    ///
    /// All services of the layer and of its clones share them, so make it once for each service that is called.
    pub fn layer(self, env: &Env) -> Result<PolicyLayer<P, J>, SettingsError> {
        let Self { settings, profile, judge } = self;
        settings.check()?;
        let deadline = DeadlineSettings { mode: settings.timeout.mode, total: settings.timeout.total };
        // A lease that ends before the try would fail probes that still have their time.
        let probe_lease = settings.breaker.probe_lease.max(settings.timeout.per_try.saturating_add(LEASE_MARGIN));
        let retry = Retry::new(settings.retry, env)?;
        let breaker = Breaker::new(BreakerSettings { probe_lease, ..settings.breaker }, env)?;
        Ok(PolicyLayer {
            profile,
            judge,
            deadline: Deadline::new(deadline, env)?,
            limit: Limit::new(settings.adaptive, env)?,
            rate_limit: RateLimit::new(settings.rate_limit, env)?,
            timeout: Timeout::new(settings.timeout, env)?,
            hedge: Hedge::new(settings.hedge, env)?.sharing(retry.budget().clone()).behind(breaker.clone()),
            retry,
            breaker,
            bulkhead: Bulkhead::new(settings.bulkhead, env)?,
            fault: Fault::new(env),
        })
    }
}

#[cfg(test)]
mod tests;
