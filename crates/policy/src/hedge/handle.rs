//! When to send a second copy, and whether it may be sent.

use std::fmt;
use std::time::Duration;

use super::HedgeSettings;
use super::latency::Latencies;
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::Shared;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::time::nanos;
use crate::window::{Counts, Window};
use crate::{Breaker, BreakerState, Moment, RetryBudget, RetryPermit, SettingsError, Share};

/// Below this level of the shared budget what remains is for retries: they mend failures, a hedge only saves time.
const BUDGET_MIN: Share = Share::of_percent(25);

/// The delay is found anew so many times in a window.
const REFRESHES: u32 = 30;

/// No delay is known.
const UNKNOWN: u64 = u64::MAX;

/// Sends second copies of calls that take long. Clones are the same.
///
/// ```
/// use std::time::Duration;
/// use mainstay_policy::{Clock, Env, Hedge, HedgeSettings, Mode};
///
/// let (clock, hand) = Clock::manual();
/// let hedge = Hedge::new(HedgeSettings { mode: Mode::Enforce, ..Default::default() }, &Env::new("search").with_clock(clock))?;
/// for n in 0..100 {
///     let call = hedge.begin();
///     assert_eq!(call.delay(), None, "too few to know what is slow");
///     hand.advance(Duration::from_millis(if n < 90 { 10 } else { 80 }));
///     hedge.answered(call);
/// }
/// hand.advance(Duration::from_secs(1));
/// let delay = hedge.begin().delay().expect("there are 100");
/// assert!(delay >= Duration::from_millis(80) && delay <= Duration::from_millis(90));
/// assert!(hedge.try_acquire().is_some());
/// assert!(hedge.try_acquire().is_none(), "one of a hundred calls is hedged");
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Hedge {
    core: Shared<Core>,
    budget: Option<RetryBudget>,
    breaker: Option<Breaker>,
}

struct Core {
    settings: HedgeSettings,
    env: Env,
    // All copies of calls, and of these the second ones as the bad ones.
    copies: Window,
    // Held while it is decided, so that two decisions do not take the same place.
    deciding: Mutex<()>,
    clock: Option<Percentile>,
}

/// Its own percentile, where no fixed delay is set.
struct Percentile {
    latencies: Latencies,
    delay: AtomicU64,
    refresh_at: AtomicU64,
}

/// When a call began, and when a second copy of it is due. Give it to [`Hedge::answered`].
#[derive(Debug, Clone, Copy)]
pub struct HedgeTimer {
    started: Moment,
    delay: Option<Duration>,
}

impl HedgeTimer {
    /// How long the first copy has the field to itself; `None` where nothing is known yet, and no second one is sent.
    pub const fn delay(&self) -> Option<Duration> {
        self.delay
    }
}

/// Permission for one second copy. Until [`HedgePermit::sent`] is said, dropping it gives back what it took from the
/// shared budget.
#[must_use = "a permit that is dropped at once sends nothing"]
#[derive(Debug)]
pub struct HedgePermit {
    budget: Option<RetryPermit>,
    sent: bool,
}

impl Hedge {
    /// Refuses settings that cannot work. Its extra load is bounded by `budget` in the settings.
    pub fn new(settings: HedgeSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let clock = settings.after.is_none().then(|| Percentile {
            latencies: Latencies::new(settings.window),
            delay: AtomicU64::new(UNKNOWN),
            refresh_at: AtomicU64::new(0),
        });
        let copies = Window::new(settings.window);
        let core = Core { settings, env: env.clone(), copies, deciding: Mutex::new(()), clock };
        Ok(Self { core: Shared::new(core), budget: None, breaker: None })
    }

    /// Bounds its extra load together with that of the retries. Who begins the requests in the budget is the layer
    /// that retries; this one only withdraws.
    #[must_use]
    pub fn sharing(mut self, budget: RetryBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Sends nothing extra unless this breaker is closed: what finds out how the service is, and what comes back to
    /// it with care, must not be doubled.
    #[must_use]
    pub fn behind(mut self, breaker: Breaker) -> Self {
        self.breaker = Some(breaker);
        self
    }

    /// A call begins that may have a second copy.
    #[inline]
    pub fn begin(&self) -> HedgeTimer {
        let started = self.core.env.clock().now();
        self.core.copies.add(started, false);
        HedgeTimer { started, delay: self.core.delay(started) }
    }

    /// It has a good answer, from whichever copy. Failures are not counted: one that fails fast is not fast.
    #[inline]
    pub fn answered(&self, call: HedgeTimer) {
        if let Some(clock) = &self.core.clock {
            let now = self.core.env.clock().now();
            clock.latencies.add(now, now.since(call.started));
        }
    }

    /// Asks for a second copy when its time has come, and tells of it. In shadow mode nobody gets one.
    pub fn try_acquire(&self) -> Option<HedgePermit> {
        let enforced = match self.core.settings.mode {
            Mode::Off => return None,
            mode => mode.enforced(),
        };
        let withdrawn = self.withdraw(enforced)?;
        self.core.env.tell(PolicyKind::Hedge, &Event::Hedge { enforced });
        enforced.then_some(HedgePermit { budget: withdrawn, sent: false })
    }

    /// `None` if there must be no second copy.
    fn withdraw(&self, enforced: bool) -> Option<Option<RetryPermit>> {
        if self.breaker.as_ref().is_some_and(|breaker| !lets_all_pass(breaker.state())) {
            return None;
        }
        let core = &*self.core;
        let now = core.env.clock().now();
        let _deciding = lock(&core.deciding);
        if !core.settings.affords_one_more(core.copies.counts(now)) {
            return None;
        }
        let withdrawn = match &self.budget {
            Some(budget) if budget.level() < BUDGET_MIN => return None,
            // In shadow mode nothing is sent, so real retries must not lose their tokens to it.
            Some(budget) if enforced => Some(budget.try_withdraw()?),
            _ => None,
        };
        core.copies.add(now, true);
        Some(withdrawn)
    }

    pub(super) fn off(&self) -> bool {
        self.core.settings.mode == Mode::Off
    }

    /// The second copy has answered first.
    pub(super) fn won(&self) {
        self.core.env.tell(PolicyKind::Hedge, &Event::HedgeWon);
    }
}

impl HedgeSettings {
    /// A hedge stays in the window at least as long as the calls that it was afforded by, so none of them affords two.
    fn affords_one_more(&self, copies: Counts) -> bool {
        let calls = copies.all.saturating_sub(copies.bad);
        u128::from(copies.bad + 1) * 10_000 <= u128::from(calls) * u128::from(self.budget.points())
    }
}

impl Core {
    fn delay(&self, now: Moment) -> Option<Duration> {
        let Some(clock) = &self.clock else { return self.settings.after };
        if now.as_nanos() >= clock.refresh_at.load(Ordering::Relaxed) {
            self.refresh(clock, now);
        }
        match clock.delay.load(Ordering::Relaxed) {
            UNKNOWN => None,
            delay => Some(Duration::from_nanos(delay)),
        }
    }

    /// By whoever comes first after a while; the others go on with what was found last.
    #[cold]
    fn refresh(&self, clock: &Percentile, now: Moment) {
        let due = clock.refresh_at.load(Ordering::Relaxed);
        let next = (now + self.settings.window / REFRESHES).as_nanos();
        let mine = clock.refresh_at.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !mine || now.as_nanos() < due {
            return;
        }
        let samples_min = u64::from(self.settings.min_samples);
        let found = clock.latencies.percentile(now, self.settings.percentile, samples_min);
        let delay = found.map_or(UNKNOWN, |found| nanos(found.max(self.settings.min_delay)));
        clock.delay.store(delay, Ordering::Relaxed);
    }
}

const fn lets_all_pass(state: BreakerState) -> bool {
    matches!(state, BreakerState::Closed | BreakerState::Disabled | BreakerState::MetricsOnly)
}

impl HedgePermit {
    /// The copy is on its way: what it took is spent.
    pub const fn sent(&mut self) {
        self.sent = true;
    }
}

impl Drop for HedgePermit {
    fn drop(&mut self) {
        if let Some(permit) = self.budget.take()
            && !self.sent
        {
            permit.refund();
        }
    }
}

impl fmt::Debug for Hedge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedge")
            .field("name", &self.core.env.name())
            .field("settings", &self.core.settings)
            .finish_non_exhaustive()
    }
}
