//! The states, and how one becomes another.
//!
//! What a closed breaker touches is striped by thread or only read. Everything else happens under one lock, which is
//! taken when a call ends badly enough to trip, and while the breaker is not closed; never across an await.

use std::fmt;
use std::time::Duration;

use super::pass::{Refusal, Ticket};
use super::{BreakerSettings, BreakerState, Manual, Pass};
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::Shared;
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::time::nanos;
use crate::window::Window;
use crate::{Health, Moment, Reason, Rejection, SettingsError, Share};

/// Phases of the ramp before all calls pass.
const RAMP_STEPS: u32 = 3;
/// Doublings of `open_for` after which any setting has reached its maximum.
const DOUBLINGS_MAX: u32 = 40;
/// How far the time of an opening varies, in percent to both sides.
const JITTER_PERCENT: u64 = 20;

/// A breaker. Clones are the same breaker.
///
/// ```
/// use mainstay_policy::{Breaker, BreakerSettings, Env, Health};
///
/// let breaker = Breaker::new(BreakerSettings::default(), &Env::new("payment"))?;
/// for _ in 0..10 {
///     let pass = breaker.try_acquire().expect("closed");
///     pass.record(Health::Failed);
/// }
/// assert_eq!(breaker.try_acquire().unwrap_err().reason.code(), "breaker_open");
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Breaker(Shared<Core>);

pub(super) struct Core {
    settings: BreakerSettings,
    env: Env,
    // Generation << 3 | state. Written under the lock only.
    word: AtomicU64,
    // Failures in a row. Only written when it changes something, so that a healthy service's calls only read it.
    row: AtomicU32,
    // When an open breaker may be probed, or since when it ramps.
    moment: AtomicU64,
    ramp_calls: AtomicU64,
    window: Window,
    slow: Option<Window>,
    control: Mutex<Control>,
}

struct Control {
    // Openings without a full recovery between.
    openings: u32,
    successes: u32,
    leases: Vec<Lease>,
    next_lease: u64,
    rng: fastrand::Rng,
}

struct Lease {
    id: u64,
    until: Moment,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: BreakerSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let state = if settings.mode == Mode::Off { BreakerState::Disabled } else { BreakerState::Closed };
        Ok(Self(Shared::new(Core {
            word: AtomicU64::new(state as u64),
            row: AtomicU32::new(0),
            moment: AtomicU64::new(0),
            ramp_calls: AtomicU64::new(0),
            window: Window::new(settings.window),
            slow: settings.slow.map(|_| Window::new(settings.window)),
            control: Mutex::new(Control {
                openings: 0,
                successes: 0,
                leases: Vec::new(),
                next_lease: 0,
                rng: env.rng(PolicyKind::Breaker),
            }),
            env: env.clone(),
            settings,
        })))
    }

    /// Asks for a call. In shadow mode nobody is rejected.
    #[inline]
    pub fn try_acquire(&self) -> Result<Pass, Rejection> {
        match self.pass() {
            Some(pass) => Ok(pass),
            None => self.ask().map_err(Rejection::from),
        }
    }

    /// What nearly every call gets, apart from what the others get: from one union with a refusal, of which a pass
    /// shares no field, it would be read in other pieces than it was written in, and a processor waits for that.
    #[inline(always)]
    pub(super) fn pass(&self) -> Option<Pass> {
        let core = &*self.0;
        let word = core.word.load(Ordering::Acquire);
        (closed(word) && core.slow.is_none())
            .then(|| Pass::new(self.0.hold(), Ticket::Counted { generation: word >> 3 }, Moment::ZERO))
    }

    /// Where it is not simply closed.
    #[inline(never)]
    pub(super) fn ask(&self) -> Result<Pass, Refusal> {
        let core = &*self.0;
        let word = core.word.load(Ordering::Acquire);
        let ticket = match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::MetricsOnly => Ticket::Counted { generation: word >> 3 },
            BreakerState::Disabled => Ticket::Uncounted,
            _ => core.admit().or_else(|refusal| core.refuse(refusal))?,
        };
        let started = if core.slow.is_some() { core.env.clock().now() } else { Moment::ZERO };
        Ok(Pass::new(self.0.hold(), ticket, started))
    }

    /// The refusal that [`Breaker::ask`] would give now, if it would. Takes nothing and tells nobody.
    #[inline]
    pub(super) fn would_refuse(&self) -> Option<Refusal> {
        if closed(self.0.word.load(Ordering::Acquire)) { None } else { self.0.would_refuse() }
    }

    /// Tells of a refusal that [`Breaker::would_refuse`] has foreseen, now that the call has come.
    #[inline]
    pub(super) fn tell_refused(&self) {
        self.0.tell_refused();
    }

    /// What it does now.
    pub fn state(&self) -> BreakerState {
        BreakerState::of(self.0.word.load(Ordering::Acquire))
    }

    /// Takes it into hand, or gives it back to itself. A breaker whose mode is off does not exist, and stays so.
    pub fn force(&self, manual: Manual) {
        let core = &*self.0;
        if core.settings.mode == Mode::Off {
            return;
        }
        let mut control = lock(&core.control);
        control.openings = 0;
        let state = match manual {
            Manual::Auto => BreakerState::Closed,
            Manual::Open => BreakerState::ForcedOpen,
            Manual::Disabled => BreakerState::Disabled,
            Manual::MetricsOnly => BreakerState::MetricsOnly,
        };
        core.enter(&mut control, state);
    }

    /// Calls and failures that it remembers.
    pub fn counts(&self) -> (u64, u64) {
        let counts = self.0.window.counts(self.0.env.clock().now());
        (counts.all, counts.bad)
    }

    /// Probes that run.
    pub fn probes(&self) -> usize {
        lock(&self.0.control).leases.len()
    }
}

/// Most breakers are, most of the time.
#[inline]
const fn closed(word: u64) -> bool {
    word & 7 == BreakerState::Closed as u64
}

// What a call of a closed breaker comes through is either inlined into the services, which other crates compile, or
// one function of this crate with all that it needs inside: many small ones would each cost a call.
impl Core {
    #[inline]
    fn generation(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> 3
    }

    fn would_refuse(&self) -> Option<Refusal> {
        let word = self.word.load(Ordering::Acquire);
        match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::Ramp | BreakerState::Disabled | BreakerState::MetricsOnly => None,
            _ if !self.settings.mode.enforced() => None,
            BreakerState::HalfOpen => {
                let now = self.env.clock().now();
                self.all_probing(&lock(&self.control), now)
            }
            BreakerState::Open | BreakerState::ForcedOpen => self.still_open(word),
        }
    }

    /// The refusal of a breaker whose time has not come.
    #[inline]
    fn still_open(&self, word: u64) -> Option<Refusal> {
        if BreakerState::of(word) == BreakerState::ForcedOpen {
            return Some(Refusal::UNTIL_TOLD);
        }
        let until = Moment::from_nanos(self.moment.load(Ordering::Relaxed));
        let now = self.env.clock().now();
        (now < until).then(|| Refusal::until(until, now))
    }

    /// The refusal of a half-open breaker all of whose probes run.
    fn all_probing(&self, control: &Control, now: Moment) -> Option<Refusal> {
        let soonest = control.leases.iter().map(|lease| lease.until).min()?;
        (control.leases.len() >= self.settings.probes as usize && soonest > now).then(|| Refusal::until(soonest, now))
    }

    /// Of a breaker that is neither closed nor disabled.
    fn admit(&self) -> Result<Ticket, Refusal> {
        let word = self.word.load(Ordering::Acquire);
        if matches!(BreakerState::of(word), BreakerState::Open | BreakerState::ForcedOpen)
            && let Some(refusal) = self.still_open(word)
        {
            return Err(refusal);
        }
        let now = self.env.clock().now();
        let mut control = lock(&self.control);
        let word = self.word.load(Ordering::Acquire);
        match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::MetricsOnly => Ok(Ticket::Counted { generation: word >> 3 }),
            BreakerState::Disabled => Ok(Ticket::Uncounted),
            BreakerState::Ramp => self.ramp(&mut control, now),
            BreakerState::Open | BreakerState::ForcedOpen => {
                if let Some(refusal) = self.still_open(word) {
                    return Err(refusal);
                }
                self.enter(&mut control, BreakerState::HalfOpen);
                Ok(self.probe(&mut control, now))
            }
            BreakerState::HalfOpen => {
                if control.leases.iter().any(|lease| lease.until <= now) {
                    // Its outcome never came: the service takes calls and does not answer.
                    let length = self.open(&mut control, now);
                    return Err(Refusal::until(now + length, now));
                }
                match self.all_probing(&control, now) {
                    Some(refusal) => Err(refusal),
                    None => Ok(self.probe(&mut control, now)),
                }
            }
        }
    }

    fn probe(&self, control: &mut Control, now: Moment) -> Ticket {
        let id = control.next_lease;
        control.next_lease += 1;
        control.leases.push(Lease { id, until: now + self.settings.probe_lease });
        Ticket::Probe { lease: id }
    }

    /// Lets the share of calls pass that its age allows, evenly: of four calls at 25 % every fourth.
    fn ramp(&self, control: &mut Control, now: Moment) -> Result<Ticket, Refusal> {
        let since = Moment::from_nanos(self.moment.load(Ordering::Relaxed));
        let age = now.since(since);
        let step = self.settings.ramp / RAMP_STEPS;
        if age >= self.settings.ramp || step.is_zero() {
            control.openings = 0;
            // The window and the generation go on: these calls are no less true for having been let in by a ramp.
            self.change(self.generation(), BreakerState::Closed);
            return Ok(Ticket::Counted { generation: self.generation() });
        }
        let phase = u32::try_from(age.as_nanos() / step.as_nanos()).unwrap_or(u32::MAX).min(RAMP_STEPS - 1);
        let quarters = u64::from(phase) + 1;
        let n = self.ramp_calls.fetch_add(1, Ordering::Relaxed);
        if (n + 1) * quarters / 4 > n * quarters / 4 {
            return Ok(Ticket::Counted { generation: self.generation() });
        }
        Err(Refusal::until(since + step * (phase + 1), now))
    }

    /// Tells of a refusal; in shadow mode the call goes on uncounted.
    fn refuse(&self, refusal: Refusal) -> Result<Ticket, Refusal> {
        self.tell_refused();
        if self.settings.mode.enforced() { Err(refusal) } else { Ok(Ticket::Uncounted) }
    }

    fn tell_refused(&self) {
        let enforced = self.settings.mode.enforced();
        self.env.tell(PolicyKind::Breaker, &Event::Rejected { reason: Reason::BreakerOpen, enforced });
    }

    pub(super) fn counted(&self, generation: u64, health: Health, started: Moment) {
        if health == Health::Unknown || self.generation() != generation {
            return;
        }
        let now = self.env.clock().now();
        self.window.add(now, matches!(health, Health::Failed | Health::Busy));
        if health != Health::Good || self.row.load(Ordering::Relaxed) != 0 || self.slow.is_some() {
            self.weigh(generation, health, started, now);
        }
    }

    /// The rest of what is to be said of a call that was not simply good.
    fn weigh(&self, generation: u64, health: Health, started: Moment, now: Moment) {
        match health {
            Health::Good if self.row.load(Ordering::Relaxed) != 0 => self.row.store(0, Ordering::Relaxed),
            Health::Failed => {
                self.row.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        let mut slow = false;
        if let (Some(window), Some(settings)) = (&self.slow, self.settings.slow) {
            slow = now.since(started) > settings.over;
            window.add(now, slow);
        }
        if slow || health != Health::Good {
            self.judge(generation, now);
        }
    }

    /// A call has ended badly: is it enough?
    #[cold]
    fn judge(&self, generation: u64, now: Moment) {
        let enough = |window: &Window, share: Share| {
            let counts = window.counts(now);
            counts.all >= u64::from(self.settings.min_requests) && share.reached_by(counts.bad, counts.all)
        };
        let tripped = self.row.load(Ordering::Relaxed) >= self.settings.consecutive
            || enough(&self.window, self.settings.error_rate)
            || self.slow.as_ref().zip(self.settings.slow).is_some_and(|(window, slow)| enough(window, slow.share));
        if !tripped {
            return;
        }
        let mut control = lock(&self.control);
        let word = self.word.load(Ordering::Acquire);
        if word >> 3 == generation && matches!(BreakerState::of(word), BreakerState::Closed | BreakerState::Ramp) {
            self.open(&mut control, now);
        }
    }

    pub(super) fn probed(&self, lease: u64, health: Health, started: Moment) {
        let now = self.env.clock().now();
        let mut control = lock(&self.control);
        // Leases end with the state that gave them: one that is not found belongs to an older one.
        let Some(at) = control.leases.iter().position(|l| l.id == lease) else { return };
        // Its own lease, too: what comes after that is no success, however it ends.
        let expired = control.leases.iter().any(|l| l.until <= now);
        control.leases.swap_remove(at);
        let slow = self.settings.slow.is_some_and(|slow| now.since(started) > slow.over);
        match health {
            _ if expired => {}
            Health::Unknown => return,
            Health::Good if !slow => {
                self.succeeded(&mut control, now);
                return;
            }
            _ => {}
        }
        self.open(&mut control, now);
    }

    fn succeeded(&self, control: &mut Control, now: Moment) {
        control.successes += 1;
        if control.successes >= self.settings.probes {
            self.moment.store(now.as_nanos(), Ordering::Relaxed);
            self.ramp_calls.store(0, Ordering::Relaxed);
            self.enter(control, BreakerState::Ramp);
        }
    }

    /// Opens, and says for how long.
    fn open(&self, control: &mut Control, now: Moment) -> Duration {
        let doubled = self.settings.open_for.saturating_mul(1 << control.openings.min(31));
        control.openings = (control.openings + 1).min(DOUBLINGS_MAX);
        let length = jittered(doubled.min(self.settings.open_max), self.settings.open_max, &mut control.rng);
        self.moment.store((now + length).as_nanos(), Ordering::Relaxed);
        self.enter(control, BreakerState::Open);
        length
    }

    /// Enters `state` with nothing remembered of the one before.
    fn enter(&self, control: &mut Control, state: BreakerState) {
        control.successes = 0;
        control.leases.clear();
        self.window.clear();
        if let Some(slow) = &self.slow {
            slow.clear();
        }
        self.row.store(0, Ordering::Relaxed);
        self.change(self.generation() + 1, state);
    }

    /// Under the lock.
    fn change(&self, generation: u64, state: BreakerState) {
        let from = BreakerState::of(self.word.load(Ordering::Relaxed));
        self.word.store(generation << 3 | state as u64, Ordering::Release);
        if from != state {
            let event = Event::State { from: from.label(), to: state.label(), enforced: self.settings.mode.enforced() };
            self.env.tell(PolicyKind::Breaker, &event);
        }
    }
}

/// ± 20 %, but not above `max`: evenly over what is left of it, or most of the longest would be equally long.
fn jittered(length: Duration, max: Duration, rng: &mut fastrand::Rng) -> Duration {
    let (length, max) = (nanos(length), nanos(max));
    let spread = length / 100 * JITTER_PERCENT;
    let (low, high) = (length - spread, length.saturating_add(spread).min(max));
    Duration::from_nanos(rng.u64(low.min(high)..=high))
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.env.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
