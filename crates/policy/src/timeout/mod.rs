//! Giving up on a call, and before that on each of its tries.
//!
//! **The problem.** A service that hangs holds its callers, and they hold theirs: without a timeout one stuck disk
//! stops a whole system. One timeout is not enough. If it is short, a call that could be helped by a second try has no
//! time for one; if it is long, a try that was lost with its connection is mourned for as long.
//!
//! **The rule.** Two limits. `total` (15 s) is for the call: all its tries, the pauses between them, and its time in
//! queues; [`TotalTimeoutLayer`] belongs above the retries. `per_try` (5 s) is for one try; [`TryTimeoutLayer`] belongs
//! below them. A try never gets more than what remains until the deadline of the call. The *last* try gets all that
//! remains: to cut it short would save nothing, for nobody comes after it. Which one is the last, the layer that
//! retries knows, and says by [`CallContext::last`].
//!
//! **Trips** when a limit has passed and there is no answer; one that comes at the same moment is taken. What runs is
//! dropped at once, which cancels it. The request has been sent by then, as far as anybody knows here, so only one
//! that means the same twice may be sent again. The reason says whose limit it was: `timeout_try`, `timeout_total`,
//! or `deadline` where the caller had less patience than these settings.
//!
//! **When the clock starts**: when the future is first polled and has no answer yet. In Tower a future that is not
//! polled has not begun: nothing is sent, nobody waits. Whoever builds a future now and polls it in an hour would
//! otherwise find it expired before its first step. And a call that is answered in its first poll (a cache, a breaker,
//! a full queue) takes no time that could be measured, so neither a clock is read nor a timer made for it.
//!
//! **Recovery and cold start**: it has no memory.
//!
//! **Greedy futures.** Tokio makes a task that has done much yield, also to its own timers. A call that always has more
//! to do (a stream that never ends) would so keep its own timeout from being looked at; here it is looked at anyway.
//!
//! The timers are tokio's, so the first poll that does not answer must be within a runtime whose time is enabled.

mod future;
mod layer;
mod settings;

use std::fmt;
use std::time::Duration;

pub use self::future::TimeoutFuture;
pub use self::layer::{TotalTimeout, TotalTimeoutLayer, TryTimeout, TryTimeoutLayer};
pub use self::settings::TimeoutSettings;
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::Shared;
use crate::{CallContext, Moment, Reason, Rejection, SettingsError};

/// The limits of calls and of their tries. Clones are the same.
///
/// ```
/// # use std::time::Duration;
/// use mainstay_policy::{CallContext, Env, Error, Timeout, TimeoutSettings};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), mainstay_policy::SettingsError> {
/// let settings = TimeoutSettings { total: Duration::from_secs(2), per_try: Duration::from_secs(1), ..Default::default() };
/// let timeout = Timeout::new(settings, &Env::new("payment"))?;
///
/// let hangs = std::future::pending::<Result<(), Error<std::io::Error>>>();
/// let error = timeout.whole(&CallContext::default(), hangs).await.unwrap_err();
/// assert_eq!(error.to_string(), "timeout_total: All tries together took longer than the total timeout.");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Timeout(Shared<Core>);

#[derive(Debug)]
struct Core {
    settings: TimeoutSettings,
    env: Env,
}

/// Whose limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Whole,
    Try,
    LastTry,
}

impl Timeout {
    /// Refuses settings that cannot work.
    pub fn new(settings: TimeoutSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self(Shared::new(Core { settings, env: env.clone() })))
    }

    /// `call` with all its tries, cut off after `total` or at its deadline.
    #[inline]
    pub fn whole<F>(&self, context: &CallContext, call: F) -> TimeoutFuture<F> {
        self.limited(call, context, Scope::Whole)
    }

    /// One try of a call, cut off after `per_try` (the last one after `total`) or at its deadline.
    #[inline]
    pub fn one_try<F>(&self, context: &CallContext, call: F) -> TimeoutFuture<F> {
        self.limited(call, context, if context.last { Scope::LastTry } else { Scope::Try })
    }

    #[inline]
    fn limited<F>(&self, call: F, context: &CallContext, scope: Scope) -> TimeoutFuture<F> {
        let core = (self.0.settings.mode != Mode::Off).then(|| self.0.hold());
        TimeoutFuture::new(call, core, scope, context.deadline, context.allowed)
    }
}

impl Core {
    /// How long what begins now may take, and what it is cut off for then.
    fn limit(&self, scope: Scope, deadline: Option<Moment>, allowed: bool) -> (Duration, Reason) {
        let (own, reason) = match scope {
            Scope::Whole => (self.settings.total, Reason::TimeoutTotal),
            Scope::Try => (self.settings.per_try, Reason::TimeoutTry),
            Scope::LastTry => (self.settings.total, Reason::TimeoutTry),
        };
        match deadline.map(|deadline| deadline.since(self.env.clock().now())) {
            // A deadline that a layer above has made of the total is no impatience of the caller.
            Some(remaining) if remaining < own && allowed => (remaining, Reason::TimeoutTotal),
            Some(remaining) if remaining < own => (remaining, Reason::Deadline),
            _ => (own, reason),
        }
    }

    /// The time is over. In shadow mode it is only told.
    fn over(&self, reason: Reason) -> Option<Rejection> {
        let enforced = self.settings.mode.enforced();
        self.env.tell(PolicyKind::Timeout, &Event::Rejected { reason, enforced });
        enforced.then(|| Rejection::sent(reason))
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
