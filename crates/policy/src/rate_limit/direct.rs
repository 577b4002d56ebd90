//! One limit for all.

use std::fmt;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use super::RateLimitSettings;
use super::gcra::{Gcra, Quota, Refused};
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::sync::{AtomicU64, Ordering};
use crate::{Moment, Reason, Rejection, SettingsError};

/// A rate limit. Clones are the same limit.
///
/// ```
/// use mainstay_policy::{Env, Rate, RateLimit, RateLimitSettings};
///
/// let limit = RateLimit::new(RateLimitSettings::new(Rate::per_second(1), 2), &Env::new("mail"))?;
/// assert!(limit.try_acquire().is_ok() && limit.try_acquire().is_ok());
/// let rejection = limit.try_acquire().unwrap_err();
/// assert_eq!(rejection.reason.code(), "rate_limited");
/// assert!(rejection.retry_after.is_some_and(|wait| wait.as_millis() <= 1000));
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct RateLimit(Arc<Core>);

struct Core {
    gcra: Gcra,
    rules: Rules,
    // Alone on its line: what stands beside it is read by every thread and never changes.
    arrival: CachePadded<Arrival>,
}

impl RateLimit {
    /// A limit with its whole burst.
    pub fn new(settings: RateLimitSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self(Arc::new(Core {
            gcra: Gcra::new(settings.rate, settings.burst),
            rules: Rules::new(settings.mode, env),
            arrival: CachePadded::new(Arrival::new()),
        })))
    }

    /// Asks for one request. In shadow mode nobody is turned away.
    #[inline]
    pub fn try_acquire(&self) -> Result<(), Rejection> {
        let core = &*self.0;
        if core.rules.off() {
            return Ok(());
        }
        let now = core.gcra.ticks(core.rules.now());
        core.arrival.admit(&core.gcra, now).or_else(|refused| core.rules.refuse(refused))
    }

    /// What it has left. Takes nothing.
    pub fn quota(&self) -> Quota {
        let core = &*self.0;
        core.gcra.quota(core.arrival.0.load(Ordering::Relaxed), core.gcra.ticks(core.rules.now()))
    }
}

/// The arrival time, shared.
///
/// It guards nothing but itself, so no ordering is needed: each change follows from the value that it replaces.
#[derive(Debug)]
pub(super) struct Arrival(AtomicU64);

impl Arrival {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    #[inline]
    pub(super) fn admit(&self, gcra: &Gcra, now: u64) -> Result<(), Refused> {
        let mut arrival = self.0.load(Ordering::Relaxed);
        while let Some(next) = gcra.admit(arrival, now) {
            match self.0.compare_exchange_weak(arrival, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(changed) => arrival = changed,
            }
        }
        let refused = gcra.refuse(arrival, now);
        if let Some(reset) = refused.reset {
            // Where another was faster, it has done the same.
            let _ = self.0.compare_exchange(arrival, reset, Ordering::Relaxed, Ordering::Relaxed);
        }
        Err(refused)
    }
}

/// What both kinds of limit do with a refusal.
#[derive(Debug)]
pub(super) struct Rules {
    mode: Mode,
    env: Env,
}

impl Rules {
    pub(super) fn new(mode: Mode, env: &Env) -> Self {
        Self { mode, env: env.clone() }
    }

    #[inline]
    pub(super) fn off(&self) -> bool {
        self.mode == Mode::Off
    }

    #[inline]
    pub(super) fn now(&self) -> Moment {
        self.env.clock().now()
    }

    #[cold]
    pub(super) fn refuse(&self, refused: Refused) -> Result<(), Rejection> {
        let enforced = self.mode.enforced();
        self.env.tell(PolicyKind::RateLimit, &Event::Rejected { reason: Reason::RateLimited, enforced });
        if enforced { Err(Rejection::unsent(Reason::RateLimited).after(refused.wait)) } else { Ok(()) }
    }

    pub(super) fn name(&self) -> &str {
        self.env.name()
    }
}

impl fmt::Debug for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit")
            .field("name", &self.0.rules.name())
            .field("quota", &self.quota())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, mainstay_loom))]
mod models {
    use super::*;
    use crate::Rate;
    use loom::sync::Arc;

    /// Two threads ask twice each for a burst of three, one of them by a clock that is behind.
    #[test]
    fn threads_together_get_the_burst_and_no_more() {
        loom::model(|| {
            let gcra = Gcra::new(Rate::per_second(1), 3);
            let arrival = Arc::new(Arrival::new());
            let other = arrival.clone();
            let ask = move |arrival: &Arrival, nanos| {
                let now = gcra.ticks(Moment::from_nanos(nanos));
                (0..2).filter(|_| arrival.admit(&gcra, now).is_ok()).count()
            };
            let thread = loom::thread::spawn(move || ask(&other, 100));
            let mine = ask(&arrival, 0);
            let sum = mine + thread.join().unwrap();
            // By the clock that is behind, 100 ns are missing of what the third costs if the other took one before.
            assert!((2..=3).contains(&sum), "{sum}");
        });
    }

    /// Both see that the clock was set back; neither may undo what the other has taken since.
    #[test]
    fn a_clock_that_was_set_back_gives_nothing_twice() {
        loom::model(|| {
            let gcra = Gcra::new(Rate::per_second(1), 1);
            let arrival = Arc::new(Arrival::new());
            assert!(arrival.admit(&gcra, gcra.ticks(Moment::from_nanos(1 << 50))).is_ok());
            let other = arrival.clone();
            let ask = move |arrival: &Arrival| {
                let early = arrival.admit(&gcra, gcra.ticks(Moment::ZERO)).is_ok();
                let later = arrival.admit(&gcra, gcra.ticks(Moment::from_nanos(1_000_000_000))).is_ok();
                usize::from(early) + usize::from(later)
            };
            let thread = loom::thread::spawn(move || ask(&other));
            let mine = ask(&arrival);
            assert_eq!(mine + thread.join().unwrap(), 1);
        });
    }
}
