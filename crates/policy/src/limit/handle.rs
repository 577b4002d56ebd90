//! The limit itself, without Tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::LimitSettings;
use super::admission::{Admission, Caller};
use super::measure::Measure;
use crate::bulkhead::entry::{Entry, Gated, Refused, Wait};
use crate::bulkhead::gate::{CEILING, Gate, Rule};
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::Shared;
use crate::{CallContext, Health, Moment, Reason, Rejection, SettingsError};

/// A limit of concurrent calls that finds itself. Clones are the same limit.
///
/// ```
/// use mainstay_policy::{CallContext, Env, Health, Limit, LimitSettings, Mode, Priority};
///
/// let settings = LimitSettings { mode: Mode::Enforce, start: 1, ..Default::default() };
/// let limit = Limit::new(settings, &Env::new("payment"))?;
/// let permit = limit.try_acquire(&CallContext::default()).expect("there is room for one");
/// assert_eq!(limit.try_acquire(&CallContext::default()).unwrap_err().reason.code(), "shed");
/// let commit = CallContext { priority: Priority::CRITICAL, ..CallContext::default() };
/// assert!(limit.try_acquire(&commit).is_ok());
/// permit.record(Health::Good);
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Limit(Shared<Core>);

pub(super) struct Core {
    gate: Gate<Admission>,
    measure: Measure,
    settings: LimitSettings,
    env: Env,
}

impl Gated for Core {
    type Rule = Admission;
    fn gate(&self) -> &Gate<Admission> {
        &self.gate
    }
}

/// Permission for one call. Say how it ended by [`LimitPermit::record`]; dropped without, it is given back and
/// nothing is learnt.
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct LimitPermit {
    entry: Entry<Core>,
    started: Moment,
}

impl Limit {
    /// A limit that knows nothing yet.
    pub fn new(settings: LimitSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let admission = Admission::new(settings.start, settings.queue, env.rng(PolicyKind::Limit).u64(..));
        Ok(Self(Shared::new(Core {
            gate: Gate::new(admission, env.clock().clone()),
            measure: Measure::new(&settings, env.clock().now()),
            settings,
            env: env.clone(),
        })))
    }

    /// A permit, if there is room now for a call like this. In shadow mode there always is.
    pub fn try_acquire(&self, context: &CallContext) -> Result<LimitPermit, Rejection> {
        self.knock(context).map_err(|entry| entry.core.reject(Reason::Shed))
    }

    /// A permit, as soon as there is room for a call like this and nobody before it. Waits for as long as the
    /// settings say, and not beyond the deadline. Nothing happens before the future is polled; dropped, it leaves the
    /// queue.
    pub fn acquire(&self, context: &CallContext) -> LimitAcquire {
        let entry = Some(Entry::outside(self.0.hold()));
        LimitAcquire { kind: Kind::Asks { entry, caller: context.into(), patience: self.patience(context) } }
    }

    /// A permit, or the call as it stands before the gate.
    #[inline]
    pub(super) fn knock(&self, context: &CallContext) -> Result<LimitPermit, Entry<Core>> {
        knock(Entry::outside(self.0.hold()), context.into())
    }

    /// What becomes of a call that found no room.
    pub(super) fn wait(&self, entry: Entry<Core>, context: &CallContext) -> LimitAcquire {
        LimitAcquire { kind: Kind::Waits { wait: Wait::new(entry, context.into(), self.patience(context)) } }
    }

    fn patience(&self, context: &CallContext) -> Duration {
        let remaining = context.deadline.map(|deadline| deadline.since(self.0.env.clock().now()));
        let wait = self.0.settings.wait;
        remaining.map_or(wait, |remaining| remaining.min(wait))
    }

    /// The limit as it is now.
    pub fn limit(&self) -> u32 {
        self.0.gate.rule().limit()
    }

    /// Calls that have a permit. None is counted in mode `off`.
    pub fn in_flight(&self) -> u32 {
        self.0.gate.in_flight()
    }

    /// Calls that wait.
    pub fn queued(&self) -> u32 {
        self.0.gate.waiting()
    }
}

#[inline]
fn knock(mut entry: Entry<Core>, caller: Caller) -> Result<LimitPermit, Entry<Core>> {
    if entry.core.settings.mode == Mode::Off {
        return Ok(LimitPermit { entry, started: Moment::ZERO });
    }
    let room = entry.core.gate.rule().room(caller);
    let were = if entry.core.settings.mode.enforced() {
        match entry.enter(room) {
            Ok(were) => were,
            Err(_) => return Err(entry),
        }
    } else {
        // What is beyond all counting passes uncounted.
        entry.enter(CEILING).unwrap_or(CEILING)
    };
    let started = entry.core.env.clock().now();
    entry.core.gate.rule().passes(caller, were + 1, started);
    entry.core.measure.runs(were + 1);
    // Were nobody let through, those above the limit would fill the queue, and those above that be shed.
    if were >= room && were >= room.saturating_add(entry.core.gate.rule().places()) {
        let _ = entry.core.reject(Reason::Shed);
    }
    Ok(LimitPermit { entry, started })
}

impl Core {
    #[cold]
    fn reject(&self, reason: Reason) -> Rejection {
        let event = Event::Rejected { reason, enforced: self.settings.mode.enforced() };
        self.env.tell(PolicyKind::Limit, &event);
        Rejection::unsent(reason)
    }

    #[cold]
    fn close(&self, now: Moment) {
        let from = self.gate.rule().limit();
        let Some(to) = self.measure.close(now, self.gate.in_flight()).filter(|to| *to != from) else { return };
        self.gate.change(|admission| admission.set(to));
        self.env.tell(PolicyKind::Limit, &Event::Limit { from, to });
    }
}

impl LimitPermit {
    /// How the call ended.
    #[inline]
    pub fn record(mut self, health: Health) {
        self.settle(health);
    }

    /// The same for one that cannot be moved out of its future without cost. Only the first time counts.
    #[inline]
    pub(super) fn settle(&mut self, health: Health) {
        if !self.entry.is_inside() {
            return;
        }
        let core = &*self.entry.core;
        let now = core.env.clock().now();
        core.measure.ended(now.since(self.started), health);
        if core.measure.is_due(now) {
            core.close(now);
        }
        self.entry.leave();
    }
}

pin_project! {
    /// Waits for a permit of a [`Limit`].
    #[must_use = "futures do nothing unless polled"]
    pub struct LimitAcquire {
        #[pin]
        kind: Kind,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind {
        Asks { entry: Option<Entry<Core>>, caller: Caller, patience: Duration },
        Waits { #[pin] wait: Wait<Core> },
    }
}

impl Future for LimitAcquire {
    type Output = Result<LimitPermit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        if let KindProj::Asks { entry, caller, patience } = kind.as_mut().project() {
            let (caller, patience) = (*caller, *patience);
            match knock(entry.take().expect("a future is not polled after it has answered"), caller) {
                Ok(permit) => return Poll::Ready(Ok(permit)),
                Err(entry) => kind.set(Kind::Waits { wait: Wait::new(entry, caller, patience) }),
            }
        }
        let KindProj::Waits { wait } = kind.project() else { unreachable!("who asked in vain waits") };
        let (entry, entered) = ready!(wait.poll_enter(cx));
        Poll::Ready(match entered {
            Ok(()) => {
                let started = entry.core.env.clock().now();
                entry.core.measure.runs(entry.core.gate.in_flight());
                Ok(LimitPermit { entry, started })
            }
            Err(Refused::NoPlace) => Err(entry.core.reject(Reason::Shed)),
            Err(Refused::TooLate) => Err(entry.core.reject(Reason::QueueTimeout)),
        })
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.0.env.name())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for LimitPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitPermit").field("started", &self.started).finish_non_exhaustive()
    }
}

impl fmt::Debug for LimitAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitAcquire").finish_non_exhaustive()
    }
}
