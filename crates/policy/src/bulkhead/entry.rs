//! The way of one call through a [`Gate`], which gives back whatever the call has when it is dropped.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use super::gate::{Gate, Joined, Rule};
use crate::stripe::Held;

/// State that has a gate.
pub(crate) trait Gated {
    type Rule: Rule;
    fn gate(&self) -> &Gate<Self::Rule>;
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Outside,
    Queue(u32),
    Inside,
}

/// A call at a gate.
#[derive(Debug)]
pub(crate) struct Entry<C: Gated> {
    pub(crate) core: Held<C>,
    at: At,
}

impl<C: Gated> Entry<C> {
    pub(crate) const fn outside(core: Held<C>) -> Self {
        Self { core, at: At::Outside }
    }

    /// Passes, if fewer than `room` are in flight; says how many were.
    #[inline]
    pub(crate) fn enter(&mut self, room: u32) -> Result<u32, u32> {
        let were = self.core.gate().enter(room)?;
        self.at = At::Inside;
        Ok(were)
    }

    /// Whether it is one of those in flight.
    pub(crate) const fn is_inside(&self) -> bool {
        matches!(self.at, At::Inside)
    }

    #[inline]
    pub(crate) fn leave(&mut self) {
        match std::mem::replace(&mut self.at, At::Outside) {
            At::Inside => self.core.gate().leave(),
            At::Queue(slot) => {
                if self.core.gate().give_up(slot) {
                    self.core.gate().leave();
                }
            }
            At::Outside => {}
        }
    }
}

impl<C: Gated> Drop for Entry<C> {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

/// Why a call that waited did not get in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No place to wait, or it went to somebody else.
    NoPlace,
    /// No room in time.
    TooLate,
}

pin_project! {
    /// The wait of a call that found no room, at most for `patience` from when it is polled first.
    pub(crate) struct Wait<C: Gated> {
        entry: Option<Entry<C>>,
        call: <C::Rule as Rule>::Call,
        patience: Duration,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<C: Gated> Wait<C> {
    pub(crate) const fn new(entry: Entry<C>, call: <C::Rule as Rule>::Call, patience: Duration) -> Self {
        Self { entry: Some(entry), call, patience, timer: None }
    }

    /// Inside, or what it was refused for: with the entry, through which the decision is told.
    pub(crate) fn poll_enter(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<(Entry<C>, Result<(), Refused>)> {
        let mut this = self.project();
        let entry = this.entry.as_mut().expect("a future is not polled after it has answered");
        let result = match poll_place(entry, *this.call, *this.patience, cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                if this.timer.is_none() {
                    this.timer.set(Some(sleep(*this.patience)));
                }
                let timer = this.timer.as_pin_mut().expect("it was just made");
                std::task::ready!(timer.poll(cx));
                give_up(entry)
            }
        };
        let entry = this.entry.take().expect("it was there just now");
        Poll::Ready((entry, result))
    }
}

pub(super) fn poll_place<C: Gated>(
    entry: &mut Entry<C>,
    call: <C::Rule as Rule>::Call,
    patience: Duration,
    cx: &Context<'_>,
) -> Poll<Result<(), Refused>> {
    let gate = entry.core.gate();
    let (at, result) = match entry.at {
        At::Inside => (At::Inside, Ok(())),
        At::Queue(slot) => match std::task::ready!(gate.poll(slot, cx.waker().clone())) {
            true => (At::Inside, Ok(())),
            false => (At::Outside, Err(Refused::NoPlace)),
        },
        // Who has no time needs no place.
        At::Outside if patience.is_zero() => (At::Outside, Err(Refused::TooLate)),
        At::Outside => match gate.join(call, cx.waker().clone()) {
            Joined::Entered => (At::Inside, Ok(())),
            Joined::Full => (At::Outside, Err(Refused::NoPlace)),
            Joined::Waits(slot) => {
                entry.at = At::Queue(slot);
                return Poll::Pending;
            }
        },
    };
    entry.at = at;
    Poll::Ready(result)
}

/// The time is over; unless the answer came in the same moment.
pub(super) fn give_up<C: Gated>(entry: &mut Entry<C>) -> Result<(), Refused> {
    let At::Queue(slot) = entry.at else { return Err(Refused::TooLate) };
    let granted = entry.core.gate().give_up(slot);
    entry.at = if granted { At::Inside } else { At::Outside };
    if granted { Ok(()) } else { Err(Refused::TooLate) }
}
