//! The states, and how one becomes another.
//!
//! What a closed breaker touches is striped by thread or only read. Everything else happens under one lock, which is
//! taken when a call ends badly enough to trip, and while the breaker is not closed; never across an await.

use std::fmt;
use std::time::Duration;

use super::pass::Ticket;
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
        let word = self.0.word.load(Ordering::Acquire);
        let ticket = match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::MetricsOnly => Ticket::Counted { generation: word >> 3 },
            BreakerState::Disabled => Ticket::Uncounted,
            _ => match self.0.admit() {
                Ok(ticket) => ticket,
                Err(rejection) => self.0.refuse(rejection)?,
            },
        };
        let started = if self.0.slow.is_some() { self.0.env.clock().now() } else { Moment::ZERO };
        Ok(Pass::new(self.0.hold(), ticket, started))
    }

    /// The rejection that [`Breaker::try_acquire`] would give now, if it would. Takes nothing and tells nobody.
    #[inline]
    pub(super) fn would_reject(&self) -> Option<Rejection> {
        let word = self.0.word.load(Ordering::Acquire);
        match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::Ramp | BreakerState::Disabled | BreakerState::MetricsOnly => None,
            _ if !self.0.settings.mode.enforced() => None,
            BreakerState::HalfOpen => {
                let now = self.0.env.clock().now();
                self.0.all_probing(&lock(&self.0.control), now)
            }
            BreakerState::Open | BreakerState::ForcedOpen => self.0.still_open(word),
        }
    }

    /// Tells of a rejection that [`Breaker::would_reject`] has foreseen, now that the call has come.
    pub(super) fn reject(&self, rejection: &Rejection) {
        self.0.tell_rejected(rejection);
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

impl Core {
    fn generation(&self) -> u64 {
        self.word.load(Ordering::Acquire) >> 3
    }

    /// The rejection of a breaker whose time has not come.
    #[inline]
    fn still_open(&self, word: u64) -> Option<Rejection> {
        let open = Rejection::unsent(Reason::BreakerOpen);
        if BreakerState::of(word) == BreakerState::ForcedOpen {
            return Some(open);
        }
        let until = Moment::from_nanos(self.moment.load(Ordering::Relaxed));
        let now = self.env.clock().now();
        (now < until).then(|| open.after(until.since(now)))
    }

    /// The rejection of a half-open breaker all of whose probes run.
    fn all_probing(&self, control: &Control, now: Moment) -> Option<Rejection> {
        let soonest = control.leases.iter().map(|lease| lease.until).min()?;
        (control.leases.len() >= self.settings.probes as usize && soonest > now)
            .then(|| Rejection::unsent(Reason::BreakerOpen).after(soonest.since(now)))
    }

    /// Of a breaker that is neither closed nor disabled.
    fn admit(&self) -> Result<Ticket, Rejection> {
        let word = self.word.load(Ordering::Acquire);
        if matches!(BreakerState::of(word), BreakerState::Open | BreakerState::ForcedOpen)
            && let Some(rejection) = self.still_open(word)
        {
            return Err(rejection);
        }
        let now = self.env.clock().now();
        let mut control = lock(&self.control);
        let word = self.word.load(Ordering::Acquire);
        match BreakerState::of(word) {
            BreakerState::Closed | BreakerState::MetricsOnly => Ok(Ticket::Counted { generation: word >> 3 }),
            BreakerState::Disabled => Ok(Ticket::Uncounted),
            BreakerState::Ramp => self.ramp(&mut control, now),
            BreakerState::Open | BreakerState::ForcedOpen => {
                if let Some(rejection) = self.still_open(word) {
                    return Err(rejection);
                }
                self.enter(&mut control, BreakerState::HalfOpen);
                Ok(self.probe(&mut control, now))
            }
            BreakerState::HalfOpen => {
                if control.leases.iter().any(|lease| lease.until <= now) {
                    // Its outcome never came: the service takes calls and does not answer.
                    let length = self.open(&mut control, now);
                    return Err(Rejection::unsent(Reason::BreakerOpen).after(length));
                }
                match self.all_probing(&control, now) {
                    Some(rejection) => Err(rejection),
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
    fn ramp(&self, control: &mut Control, now: Moment) -> Result<Ticket, Rejection> {
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
        Err(Rejection::unsent(Reason::BreakerOpen).after((step * (phase + 1)).saturating_sub(age)))
    }

    /// Tells of a rejection; in shadow mode the call goes on uncounted.
    fn refuse(&self, rejection: Rejection) -> Result<Ticket, Rejection> {
        self.tell_rejected(&rejection);
        if self.settings.mode.enforced() { Err(rejection) } else { Ok(Ticket::Uncounted) }
    }

    fn tell_rejected(&self, rejection: &Rejection) {
        let enforced = self.settings.mode.enforced();
        self.env.tell(PolicyKind::Breaker, &Event::Rejected { reason: rejection.reason, enforced });
    }

    #[inline]
    pub(super) fn counted(&self, generation: u64, health: Health, started: Moment) {
        if health == Health::Unknown || self.generation() != generation {
            return;
        }
        let now = self.env.clock().now();
        let bad = matches!(health, Health::Failed | Health::Busy);
        self.window.add(now, bad);
        let mut slow = false;
        if let (Some(window), Some(settings)) = (&self.slow, self.settings.slow) {
            slow = now.since(started) > settings.over;
            window.add(now, slow);
        }
        match health {
            Health::Good if self.row.load(Ordering::Relaxed) != 0 => self.row.store(0, Ordering::Relaxed),
            Health::Failed => {
                self.row.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        if bad || slow {
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
