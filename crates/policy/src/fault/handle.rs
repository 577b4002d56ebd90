//! Arming and disarming.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::armed::Armed;
use super::{FaultKind, FaultSettings};
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::sync::{AtomicU32, Mutex, Ordering, lock};
use crate::{Reason, Rejection, SettingsError};

/// A place where faults can be armed. Clones are the same place.
///
/// ```
/// use mainstay_policy::{Env, Fault, FaultKind, FaultSettings};
///
/// let fault = Fault::new(&Env::new("payment"));
/// fault.arm(FaultSettings { kind: Some(FaultKind::Refuse), nth: Some(2), ..FaultSettings::default() })?;
/// assert!(fault.inject().is_none());
/// assert!(fault.inject().is_some());
/// fault.disarm();
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Fault(Arc<Core>);

struct Core {
    env: Env,
    // 0 or 1. Only ever a hint: what is armed stands under the lock.
    hint: AtomicU32,
    at_once: AtomicU32,
    control: Mutex<Control>,
}

struct Control {
    armed: Option<Arc<Armed>>,
    rng: fastrand::Rng,
}

/// A fault in the path of one request. Dropped, it lets another request have its place.
pub struct Injected {
    core: Arc<Core>,
    armed: Arc<Armed>,
    delay: Duration,
    ticket: Option<u64>,
}

impl Fault {
    /// A place with nothing armed.
    pub fn new(env: &Env) -> Self {
        Self(Arc::new(Core {
            env: env.clone(),
            hint: AtomicU32::new(0),
            at_once: AtomicU32::new(0),
            control: Mutex::new(Control { armed: None, rng: env.rng(PolicyKind::Fault) }),
        }))
    }

    /// Arms it, in place of what was armed before. Settings that are off, or without any fault, disarm it.
    pub fn arm(&self, settings: FaultSettings) -> Result<(), SettingsError> {
        settings.check()?;
        let wanted = settings.mode != Mode::Off && settings.any();
        let mut control = lock(&self.0.control);
        let armed = wanted.then(|| {
            let seed = settings.seed.unwrap_or_else(|| control.rng.u64(..));
            Arc::new(Armed::new(settings, seed, self.0.env.clock().now()))
        });
        self.0.replace(&mut control, armed, "disarmed");
        Ok(())
    }

    /// Ends what is armed, and lets go of the requests that it holds back.
    pub fn disarm(&self) {
        self.0.replace(&mut lock(&self.0.control), None, "disarmed");
    }

    /// How much longer what is armed will last, if anything is.
    pub fn armed(&self) -> Option<Duration> {
        if !self.maybe_armed() {
            return None;
        }
        self.0.current().map(|(_, left)| left)
    }

    /// Requests in its hands.
    pub fn at_once(&self) -> u32 {
        self.0.at_once.load(Ordering::Relaxed)
    }

    /// Whether it is worth asking further: false says that nothing is armed.
    #[inline]
    pub(super) fn maybe_armed(&self) -> bool {
        self.0.hint.load(Ordering::Relaxed) != 0
    }

    /// What the next request meets, if it meets anything. In shadow mode it tells, and injects nothing.
    pub fn inject(&self) -> Option<Injected> {
        if self.maybe_armed() { self.draw(|_| true) } else { None }
    }

    /// The same; `possible` says whether this request can meet such a fault.
    pub(super) fn draw(&self, possible: impl FnOnce(Option<FaultKind>) -> bool) -> Option<Injected> {
        let (armed, _) = self.0.current()?;
        let delay = armed.next()?;
        let kind = armed.settings.kind;
        if !possible(kind) {
            return None;
        }
        let enforced = armed.settings.mode.enforced();
        let injected = if enforced {
            // Too many at once: this one passes.
            Some(Injected { core: self.0.clone(), armed, delay, ticket: None }.counted()?)
        } else {
            None
        };
        self.0.tell(&Event::Fault { kind: kind.map_or("delay", FaultKind::label), enforced });
        injected
    }
}

impl Core {
    /// What is armed, and for how much longer. Ends it if its time is over.
    fn current(&self) -> Option<(Arc<Armed>, Duration)> {
        let mut control = lock(&self.control);
        let armed = control.armed.clone()?;
        match armed.left(self.env.clock().now()) {
            Some(left) => Some((armed, left)),
            None => {
                self.replace(&mut control, None, "expired");
                None
            }
        }
    }

    fn replace(&self, control: &mut Control, armed: Option<Arc<Armed>>, ended: &'static str) {
        let to = if armed.is_some() { "armed" } else { ended };
        let enforced = armed.as_ref().or(control.armed.as_ref()).is_none_or(|one| one.settings.mode.enforced());
        self.hint.store(u32::from(armed.is_some()), Ordering::Relaxed);
        let old = std::mem::replace(&mut control.armed, armed);
        if let Some(old) = &old {
            old.end();
        }
        if old.is_some() || to == "armed" {
            let from = if old.is_some() { "armed" } else { "disarmed" };
            self.tell(&Event::State { from, to, enforced });
        }
    }

    fn tell(&self, event: &Event) {
        self.env.tell(PolicyKind::Fault, event);
    }
}

impl Injected {
    /// How long the request is held back before anything else.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// What happens to the request.
    pub fn kind(&self) -> Option<FaultKind> {
        self.armed.settings.kind
    }

    /// The error of a request that has, or may have, been seen.
    pub fn lost(&self) -> Rejection {
        Rejection::sent(Reason::FaultInjected)
    }

    /// The error of a request that was never sent.
    pub fn refused(&self) -> Rejection {
        Rejection::unsent(Reason::FaultInjected)
    }

    /// How much longer the fault lasts.
    pub(super) fn left(&self) -> Duration {
        self.armed.left(self.core.env.clock().now()).unwrap_or_default()
    }

    /// Ready when the fault has ended.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.armed.ended(&mut self.ticket, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Counts it, unless too many are. Counted first, so that two at once never both take the last place; where there
    /// is none the drop takes it back.
    fn counted(self) -> Option<Self> {
        let at_most = self.armed.settings.at_most;
        (self.core.at_once.fetch_add(1, Ordering::Relaxed) < at_most).then_some(self)
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        self.core.at_once.fetch_sub(1, Ordering::Relaxed);
        if let Some(ticket) = self.ticket {
            self.armed.forget(ticket);
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("name", &self.0.env.name())
            .field("armed", &self.maybe_armed())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injected").field("delay", &self.delay).field("kind", &self.kind()).finish_non_exhaustive()
    }
}
