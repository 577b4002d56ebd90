//! The bulkhead itself, without Tower.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::BulkheadSettings;
use super::entry::{Entry, Gated, Refused, Wait};
use super::gate::{CEILING, Gate, Rule};
use super::queue::Queue;
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::stripe::Shared;
use crate::{CallContext, Moment, Reason, Rejection, SettingsError};

/// A bulkhead. Clones are the same bulkhead.
///
/// ```
/// use mainstay_policy::{Bulkhead, BulkheadSettings, Env};
///
/// let bulkhead = Bulkhead::new(BulkheadSettings { in_flight: 1, ..Default::default() }, &Env::new("payment"))?;
/// let permit = bulkhead.try_acquire().expect("there is room for one");
/// assert!(bulkhead.try_acquire().is_none());
/// drop(permit);
/// assert!(bulkhead.try_acquire().is_some());
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Bulkhead(Shared<Core>);

pub(super) struct Core {
    gate: Gate<BulkheadSettings>,
    env: Env,
}

impl Gated for Core {
    type Rule = BulkheadSettings;
    fn gate(&self) -> &Gate<BulkheadSettings> {
        &self.gate
    }
}

impl Rule for BulkheadSettings {
    type Call = ();

    fn room(&self, _call: ()) -> u32 {
        self.in_flight
    }

    fn places(&self) -> u32 {
        self.queue
    }

    fn first(&self, queue: &Queue<()>, now: Moment) -> Option<u32> {
        if now.since(queue.since()) >= self.lifo_after { queue.newest() } else { queue.oldest() }
    }

    fn worse(&self, _queue: &Queue<()>, _call: (), _now: Moment) -> Option<u32> {
        None
    }
}

/// Permission for one call, given back when it is dropped.
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit(Entry<Core>);

impl Bulkhead {
    /// An empty bulkhead.
    pub fn new(settings: BulkheadSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self(Shared::new(Core { gate: Gate::new(settings, env.clock().clone()), env: env.clone() })))
    }

    /// A permit, if there is room now. In shadow mode there always is.
    #[inline]
    pub fn try_acquire(&self) -> Option<Permit> {
        self.knock().map_err(|entry| entry.core.tell(Reason::BulkheadFull)).ok()
    }

    /// A permit, as soon as there is room. Waits for as long as the settings say, and not longer than what is
    /// `remaining` until the deadline. Nothing happens before the future is polled; dropped, it leaves the queue.
    pub fn acquire(&self, remaining: Option<Duration>) -> Acquire {
        let entry = Some(Entry::outside(self.0.hold()));
        Acquire { kind: Kind::Asks { entry, patience: self.patience(remaining) } }
    }

    /// A permit, or the call as it stands before the gate.
    #[inline]
    pub(super) fn knock(&self) -> Result<Permit, Entry<Core>> {
        knock(Entry::outside(self.0.hold()))
    }

    /// What becomes of a call that found no room.
    pub(super) fn wait(&self, entry: Entry<Core>, context: &CallContext) -> Acquire {
        let remaining = context.deadline.map(|deadline| deadline.since(self.0.env.clock().now()));
        Acquire { kind: Kind::Waits { wait: Wait::new(entry, (), self.patience(remaining)) } }
    }

    fn patience(&self, remaining: Option<Duration>) -> Duration {
        let wait = self.0.gate.rule().wait;
        remaining.map_or(wait, |remaining| remaining.min(wait))
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
fn knock(mut entry: Entry<Core>) -> Result<Permit, Entry<Core>> {
    let settings = entry.core.gate.rule();
    match settings.mode {
        Mode::Enforce => {
            let room = settings.in_flight;
            if entry.enter(room).is_err() {
                return Err(entry);
            }
        }
        Mode::Shadow => {
            let held = settings.in_flight.saturating_add(settings.queue);
            // Were nobody let through, those above the number would fill the queue, and those above that be rejected.
            if entry.enter(CEILING).is_ok_and(|were| were >= held) {
                entry.core.tell(Reason::BulkheadFull);
            }
        }
        Mode::Off => {}
    }
    Ok(Permit(entry))
}

impl Core {
    #[cold]
    fn tell(&self, reason: Reason) {
        let enforced = self.gate.rule().mode.enforced();
        self.env.tell(PolicyKind::Bulkhead, &Event::Rejected { reason, enforced });
    }
}

impl Permit {
    /// Gives it back before it is dropped.
    #[inline]
    pub(super) fn release(&mut self) {
        self.0.leave();
    }
}

pin_project! {
    /// Waits for a permit of a [`Bulkhead`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Acquire {
        #[pin]
        kind: Kind,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind {
        Asks { entry: Option<Entry<Core>>, patience: Duration },
        Waits { #[pin] wait: Wait<Core> },
    }
}

impl Future for Acquire {
    type Output = Result<Permit, Rejection>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut kind = self.project().kind;
        if let KindProj::Asks { entry, patience } = kind.as_mut().project() {
            let patience = *patience;
            match knock(entry.take().expect("a future is not polled after it has answered")) {
                Ok(permit) => return Poll::Ready(Ok(permit)),
                Err(entry) => kind.set(Kind::Waits { wait: Wait::new(entry, (), patience) }),
            }
        }
        let KindProj::Waits { wait } = kind.project() else { unreachable!("who asked in vain waits") };
        let (entry, entered) = ready!(wait.poll_enter(cx));
        let reason = match entered {
            Ok(()) => return Poll::Ready(Ok(Permit(entry))),
            Err(Refused::NoPlace) => Reason::BulkheadFull,
            Err(Refused::TooLate) => Reason::QueueTimeout,
        };
        entry.core.tell(reason);
        Poll::Ready(Err(Rejection::unsent(reason)))
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("name", &self.0.env.name())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").finish_non_exhaustive()
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").finish_non_exhaustive()
    }
}
