//! The decision, without Tower.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::RetrySettings;
use super::class::{Denied, Repeatable, class_of};
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::{Held, Shared};
use crate::sync::{Mutex, lock};
use crate::{Active, Health, Moment, RetryBudget, RetryPermit, RetrySafety, SettingsError, Verdict};

/// Sends requests again that have failed. Clones are the same policy, with the same budget.
#[derive(Clone)]
pub struct Retry(Shared<Core>);

pub(super) struct Core {
    settings: RetrySettings,
    budget: RetryBudget,
    env: Env,
    // Only drawn from after a failure.
    rng: Mutex<fastrand::Rng>,
}

impl Retry {
    /// With a budget of its own, which [`Retry::budget`] shares with others.
    pub fn new(settings: RetrySettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let budget = RetryBudget::new(settings.budget, env)?;
        Self::with_budget(settings, budget, env)
    }

    /// With the budget that the service has already. The one in the settings is not used.
    pub fn with_budget(settings: RetrySettings, budget: RetryBudget, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let rng = Mutex::new(env.rng(PolicyKind::Retry));
        Ok(Self(Shared::new(Core { settings, budget, env: env.clone(), rng })))
    }

    /// What may be retried, for hedges and whoever else sends to the same service.
    pub fn budget(&self) -> &RetryBudget {
        &self.0.budget
    }

    /// A request begins. Keep what is returned until it has ended.
    ///
    /// ```
    /// # use mainstay_policy::{Env, Repeatable, Retry, RetrySettings, SettingsError, Verdict};
    /// # async fn send() -> Result<(), ()> { Err(()) }
    /// # async fn get(retry: &Retry) -> Result<(), ()> {
    /// let mut attempts = retry.begin();
    /// loop {
    ///     let outcome = send().await;
    ///     let verdict = if outcome.is_ok() { Verdict::GOOD } else { Verdict::FAILED };
    ///     match attempts.next(&verdict, Repeatable::ByMethod, None) {
    ///         Ok(wait) => tokio::time::sleep(wait).await,
    ///         Err(_why) => return outcome,
    ///     }
    /// }
    /// # }
    /// ```
    pub fn begin(&self) -> Attempts {
        let counted = (!self.0.is_off()).then(|| self.0.budget.begin());
        Attempts { core: self.0.hold(), progress: Progress::default(), _counted: counted }
    }

    /// The policy for one who keeps it for long.
    pub(super) fn core(&self) -> Arc<Core> {
        self.0.keep()
    }
}

/// The attempts of one request. Dropped, the request has ended.
#[must_use = "a request that is dropped at once has ended at once"]
pub struct Attempts {
    core: Held<Core>,
    progress: Progress,
    _counted: Option<Active>,
}

impl Attempts {
    /// An attempt has ended with `verdict`: how long to wait before the next, or why there is none.
    ///
    /// `remaining` is how long the caller will still wait. On [`Denied::Budget`] tell those above not to try again.
    pub fn next(
        &mut self,
        verdict: &Verdict,
        repeatable: Repeatable,
        remaining: Option<Duration>,
    ) -> Result<Duration, Denied> {
        let failure = Failure { verdict: *verdict, repeatable: Some(repeatable), remaining };
        self.core.next(&mut self.progress, &failure, || Some(())).map(|(wait, ())| wait)
    }

    /// How many retries there were.
    pub const fn retries(&self) -> u8 {
        self.progress.retries
    }
}

/// What is known when an attempt has ended.
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    /// `None` where there is no copy that could be sent.
    pub(super) repeatable: Option<Repeatable>,
    /// How long the caller will still wait.
    pub(super) remaining: Option<Duration>,
}

/// How far a request has come.
#[derive(Debug, Default)]
pub(super) struct Progress {
    retries: u8,
    permit: Option<RetryPermit>,
}

impl Progress {
    pub(super) const fn retries(&self) -> u8 {
        self.retries
    }

    /// The retry that runs, if one does, has ended.
    pub(super) fn settle(&mut self, never_sent: bool) {
        match self.permit.take() {
            Some(permit) if never_sent => permit.refund(),
            // Dropped.
            Some(_) | None => {}
        }
    }
}

impl Core {
    #[inline]
    pub(super) fn is_off(&self) -> bool {
        self.settings.mode == Mode::Off
    }

    /// Whether no attempt can come after one that is sent now, after so many retries.
    #[inline]
    pub(super) fn is_last(&self, retries: u8, repeatable: Repeatable) -> bool {
        self.settings.mode.enforced() && (retries >= self.settings.attempts || repeatable == Repeatable::No)
    }

    pub(super) fn now(&self) -> Moment {
        self.env.clock().now()
    }

    /// An attempt has failed: how long to wait, and what to send then.
    pub(super) fn next<T>(
        &self,
        progress: &mut Progress,
        failure: &Failure,
        copy: impl FnOnce() -> Option<T>,
    ) -> Result<(Duration, T), Denied> {
        progress.settle(failure.verdict.retry_safety == RetrySafety::Safe);
        if is_fine(&failure.verdict) {
            return Err(Denied::Final);
        }
        if self.is_off() {
            return Err(Denied::Mode);
        }
        let enforced = self.settings.mode.enforced();
        let decided = self.decide(progress.retries, failure).and_then(|(permit, wait)| match copy() {
            Some(copy) => Ok((permit, wait, copy)),
            None => {
                permit.refund();
                Err(Denied::NoCopy)
            }
        });
        match decided {
            Ok((permit, wait, copy)) => {
                let attempt = progress.retries.saturating_add(1);
                self.env.tell(PolicyKind::Retry, &Event::Retry { attempt, wait, enforced });
                if !enforced {
                    return Err(Denied::Mode);
                }
                progress.retries = attempt;
                progress.permit = Some(permit);
                Ok((wait, copy))
            }
            Err(why) => {
                self.env.tell(PolicyKind::Retry, &Event::NotRetried { why: why.label() });
                Err(if enforced { why } else { Denied::Mode })
            }
        }
    }

    fn decide(&self, retries: u8, failure: &Failure) -> Result<(RetryPermit, Duration), Denied> {
        let Failure { verdict, repeatable, remaining } = *failure;
        class_of(verdict.retry_safety, repeatable.unwrap_or(Repeatable::ByDeclaration))?;
        if repeatable.is_none() {
            return Err(Denied::NoCopy);
        }
        if retries >= self.settings.attempts {
            return Err(Denied::Attempts);
        }
        // A policy of our own has turned it away and knows for how long it will: to wait for that would turn a quick
        // answer into a slow one, and to ask again before would be asking in vain.
        let ours = verdict.health == Health::Unknown;
        if ours && verdict.retry_after.is_some_and(|after| after > self.settings.backoff.max) {
            return Err(Denied::Later);
        }
        let wait = self.wait(retries, verdict.retry_after);
        if remaining.is_some_and(|remaining| wait >= remaining) {
            return Err(Denied::Deadline);
        }
        // Last, for a token is taken only where everything else is decided.
        let permit = self.budget.try_withdraw().ok_or(Denied::Budget)?;
        Ok((permit, wait))
    }

    fn wait(&self, retries: u8, retry_after: Option<Duration>) -> Duration {
        let mut rng = lock(&self.rng);
        let wait = self.settings.backoff.delay(retries.into(), &mut rng);
        match retry_after {
            // All who were turned away together were told the same: they must not come back together.
            Some(after) => wait.max(after.min(self.settings.retry_after_max)).mul_f64(1.0 + 0.5 * rng.f64()),
            None => wait,
        }
    }
}

/// Nothing failed.
#[inline]
pub(super) fn is_fine(verdict: &Verdict) -> bool {
    verdict.retry_safety == RetrySafety::No && verdict.health == Health::Good
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("name", &self.0.env.name())
            .field("budget", &self.0.budget)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempts").field("progress", &self.progress).finish_non_exhaustive()
    }
}
