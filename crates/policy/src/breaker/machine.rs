//! The states, and how one becomes another.
//!
//! What a closed breaker touches is striped by thread or only read. Everything else happens under one lock, which is
//! taken when a call ends badly enough to trip, and while the breaker is not closed; never across an await.

use std::fmt;
use std::time::Duration;

use super::BreakerSettings;
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::{Held, Shared};
use crate::sync::{AtomicU32, AtomicU64, Mutex, Ordering, lock};
use crate::time::nanos;
use crate::window::Window;
use crate::{Health, Moment, Reason, Rejection, SettingsError, Share};

/// Phases of the ramp before all calls pass.
const RAMP_STEPS: u32 = 3;
/// Doublings of `open_for` after which any setting has reached its maximum.
const DOUBLINGS_MAX: u32 = 40;
/// How far the time of an opening varies, in percent to both sides.
const JITTER_PERCENT: u32 = 20;

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BreakerState {
    /// Calls pass and are counted.
    Closed,
    /// Closed again: a growing share of the calls passes.
    Ramp,
    /// No call passes.
    Open,
    /// A few calls find out how the service is.
    HalfOpen,
    /// No call passes until somebody says otherwise.
    ForcedOpen,
    /// All calls pass, and nothing is counted.
    Disabled,
    /// All calls pass and are counted.
    MetricsOnly,
}

impl BreakerState {
    /// As in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Ramp => "ramp",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics_only",
        }
    }

    const ALL: [Self; 7] =
        [Self::Closed, Self::Ramp, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled, Self::MetricsOnly];
}

/// What a person wants of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Manual {
    /// Let it work by itself, from closed.
    Auto,
    /// Let nothing pass.
    Open,
    /// Let everything pass and count nothing.
    Disabled,
    /// Let everything pass, and count.
    MetricsOnly,
}

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

struct Core {
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

/// Permission for one call. Say how it ended by [`Pass::record`]; dropped without, it counts nowhere, and a probe is
/// given back.
#[must_use = "a pass that is dropped at once counts nothing"]
pub struct Pass {
    core: Held<Core>,
    ticket: Ticket,
    started: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticket {
    Counted { generation: u64 },
    Probe { lease: u64 },
    Uncounted,
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
        let ticket = match state_of(word) {
            BreakerState::Closed | BreakerState::MetricsOnly => Ticket::Counted { generation: word >> 3 },
            BreakerState::Disabled => Ticket::Uncounted,
            _ => match self.0.admit() {
                Ok(ticket) => ticket,
                Err(rejection) => self.0.refuse(rejection)?,
            },
        };
        let started = if self.0.slow.is_some() { self.0.env.clock().now() } else { Moment::ZERO };
        Ok(Pass { core: self.0.hold(), ticket, started })
    }

    /// The rejection that [`Breaker::try_acquire`] would give now, if it would. Takes nothing and tells nobody.
    #[inline]
    fn would_reject(&self) -> Option<Rejection> {
        let word = self.0.word.load(Ordering::Acquire);
        match state_of(word) {
            BreakerState::Closed | BreakerState::Ramp | BreakerState::Disabled | BreakerState::MetricsOnly => None,
            _ if !self.0.settings.mode.enforced() => None,
            BreakerState::HalfOpen => {
                let now = self.0.env.clock().now();
                self.0.all_probing(&lock(&self.0.control), now)
            }
            BreakerState::Open | BreakerState::ForcedOpen => self.0.still_open(word),
        }
    }

    /// Whether a call would be rejected now, told as the rejection that it is. For services, which decide when they
    /// are asked whether they are ready, and answer when they are called.
    #[inline]
    pub(super) fn rejects(&self) -> Option<Rejection> {
        let rejection = self.would_reject()?;
        self.0.refuse(rejection).err()
    }

    /// What it does now.
    pub fn state(&self) -> BreakerState {
        state_of(self.0.word.load(Ordering::Acquire))
    }

    /// Takes it into hand, or gives it back to itself.
    pub fn force(&self, manual: Manual) {
        let core = &*self.0;
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

impl Pass {
    /// How the call ended.
    #[inline]
    pub fn record(mut self, health: Health) {
        self.settle(health);
    }

    /// The same for one that cannot be moved out of its future without cost. Only the first time counts.
    #[inline]
    pub(super) fn settle(&mut self, health: Health) {
        match std::mem::replace(&mut self.ticket, Ticket::Uncounted) {
            Ticket::Counted { generation } => self.core.counted(generation, health, self.started),
            Ticket::Probe { lease } => self.core.probed(lease, health, self.started),
            Ticket::Uncounted => {}
        }
    }

    /// Whether the call is a probe.
    pub fn is_probe(&self) -> bool {
        matches!(self.ticket, Ticket::Probe { .. })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Ticket::Probe { lease } = self.ticket {
            lock(&self.core.control).leases.retain(|l| l.id != lease);
        }
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
        if state_of(word) == BreakerState::ForcedOpen {
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
        if matches!(state_of(word), BreakerState::Open | BreakerState::ForcedOpen)
            && let Some(rejection) = self.still_open(word)
        {
            return Err(rejection);
        }
        let now = self.env.clock().now();
        let mut control = lock(&self.control);
        let word = self.word.load(Ordering::Acquire);
        match state_of(word) {
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
            // The window goes on: these calls are no less true for having been let in by a ramp.
            self.change(BreakerState::Closed);
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
        let enforced = self.settings.mode.enforced();
        self.env.tell(PolicyKind::Breaker, &Event::Rejected { reason: rejection.reason, enforced });
        if enforced { Err(rejection) } else { Ok(Ticket::Uncounted) }
    }

    #[inline]
    fn counted(&self, generation: u64, health: Health, started: Moment) {
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
        if word >> 3 == generation && matches!(state_of(word), BreakerState::Closed | BreakerState::Ramp) {
            self.open(&mut control, now);
        }
    }

    fn probed(&self, lease: u64, health: Health, started: Moment) {
        let now = self.env.clock().now();
        let mut control = lock(&self.control);
        // Leases end with the state that gave them: one that is not found belongs to an older one.
        let before = control.leases.len();
        control.leases.retain(|l| l.id != lease);
        if control.leases.len() == before || health == Health::Unknown {
            return;
        }
        let slow = self.settings.slow.is_some_and(|slow| now.since(started) > slow.over);
        if health != Health::Good || slow {
            self.open(&mut control, now);
            return;
        }
        control.successes += 1;
        if control.successes >= self.settings.probes {
            self.moment.store(now.as_nanos(), Ordering::Relaxed);
            self.ramp_calls.store(0, Ordering::Relaxed);
            self.enter(&mut control, BreakerState::Ramp);
        }
    }

    /// Opens, and says for how long.
    fn open(&self, control: &mut Control, now: Moment) -> Duration {
        let doubled = self.settings.open_for.saturating_mul(1 << control.openings.min(31));
        control.openings = (control.openings + 1).min(DOUBLINGS_MAX);
        let length = jittered(doubled.min(self.settings.open_max), &mut control.rng).min(self.settings.open_max);
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
        self.change(state);
    }

    /// Under the lock.
    fn change(&self, state: BreakerState) {
        let word = self.word.load(Ordering::Relaxed);
        let from = state_of(word);
        self.word.store(((word >> 3) + 1) << 3 | state as u64, Ordering::Release);
        if from != state {
            let event = Event::State { from: from.label(), to: state.label(), enforced: self.settings.mode.enforced() };
            self.env.tell(PolicyKind::Breaker, &event);
        }
    }
}

fn state_of(word: u64) -> BreakerState {
    BreakerState::ALL[(word & 7).min(6) as usize]
}

/// ± 20 %.
fn jittered(length: Duration, rng: &mut fastrand::Rng) -> Duration {
    let spread = nanos(length) / 100 * u64::from(JITTER_PERCENT);
    length - Duration::from_nanos(spread) + Duration::from_nanos(rng.u64(0..=2 * spread))
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.env.name())
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
