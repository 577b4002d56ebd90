//! Those who wait, in the order in which they came: a list in a slab, so that waiting allocates nothing once the slab
//! has grown, and anybody can leave from the middle.
//!
//! A slot belongs to one future until that takes its answer or is dropped; only then is it used again, so a number is
//! enough to name it.

use std::task::Waker;

use crate::Moment;

/// No slot.
const NONE: u32 = u32::MAX;

/// What has become of a call that waits.
#[derive(Debug)]
pub(super) enum Place {
    Free {
        next: u32,
    },
    Waiting {
        waker: Waker,
    },
    /// It may go: it is counted as in flight already.
    Granted,
    /// It must go away, for somebody else took its place.
    TurnedAway,
}

#[derive(Debug)]
struct Slot<T> {
    place: Place,
    call: T,
    prev: u32,
    next: u32,
}

/// The calls that wait, each with what its policy knows of it.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    slots: Vec<Slot<T>>,
    free: u32,
    front: u32,
    back: u32,
    len: u32,
    since: Moment,
}

impl<T: Copy> Queue<T> {
    pub(super) const fn new() -> Self {
        Self { slots: Vec::new(), free: NONE, front: NONE, back: NONE, len: 0, since: Moment::ZERO }
    }

    /// How many wait.
    pub(super) const fn len(&self) -> u32 {
        self.len
    }

    /// Since when somebody has always been waiting; meaningless when nobody is.
    pub(crate) const fn since(&self) -> Moment {
        self.since
    }

    /// Who came first.
    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.front != NONE).then_some(self.front)
    }

    /// Who came last.
    pub(crate) fn newest(&self) -> Option<u32> {
        (self.back != NONE).then_some(self.back)
    }

    /// All that wait, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, T)> {
        std::iter::successors(self.oldest(), |slot| Some(self.at(*slot).next).filter(|next| *next != NONE))
            .map(|slot| (slot, self.at(slot).call))
    }

    pub(super) fn call(&self, slot: u32) -> T {
        self.at(slot).call
    }

    fn at(&self, slot: u32) -> &Slot<T> {
        &self.slots[slot as usize]
    }

    fn at_mut(&mut self, slot: u32) -> &mut Slot<T> {
        &mut self.slots[slot as usize]
    }

    /// Takes the last place.
    pub(super) fn push(&mut self, call: T, waker: Waker, now: Moment) -> u32 {
        if self.len == 0 {
            self.since = now;
        }
        let new = Slot { place: Place::Waiting { waker }, call, prev: self.back, next: NONE };
        let slot = match self.slots.get_mut(self.free as usize) {
            Some(slot) => {
                let Place::Free { next } = slot.place else { unreachable!("the list of free slots holds free slots") };
                *slot = new;
                std::mem::replace(&mut self.free, next)
            }
            None => {
                self.slots.push(new);
                // Each slot belongs to a future that lives, so there are never 2³² of them.
                (self.slots.len() - 1) as u32
            }
        };
        match self.back {
            NONE => self.front = slot,
            back => self.at_mut(back).next = slot,
        }
        self.back = slot;
        self.len += 1;
        slot
    }

    /// Ends the waiting of `slot` and says whom to wake.
    pub(super) fn answer(&mut self, slot: u32, answer: Place) -> Waker {
        self.unlink(slot);
        match std::mem::replace(&mut self.at_mut(slot).place, answer) {
            Place::Waiting { waker } => waker,
            other => unreachable!("only who waits is answered, not {other:?}"),
        }
    }

    /// The answer of `slot`, which is free again with it; or the waker that `waker` replaces.
    pub(super) fn take(&mut self, slot: u32, waker: Waker) -> Result<Place, Waker> {
        match &mut self.at_mut(slot).place {
            Place::Waiting { waker: old } => Err(std::mem::replace(old, waker)),
            _ => Ok(self.free(slot)),
        }
    }

    /// Frees `slot` and says what it was. Whoever calls this drops the waker in it after the lock.
    pub(super) fn remove(&mut self, slot: u32) -> Place {
        if matches!(self.at(slot).place, Place::Waiting { .. }) {
            self.unlink(slot);
        }
        self.free(slot)
    }

    fn free(&mut self, slot: u32) -> Place {
        let next = std::mem::replace(&mut self.free, slot);
        std::mem::replace(&mut self.at_mut(slot).place, Place::Free { next })
    }

    fn unlink(&mut self, slot: u32) {
        let (prev, next) = (self.at(slot).prev, self.at(slot).next);
        match prev {
            NONE => self.front = next,
            prev => self.at_mut(prev).next = next,
        }
        match next {
            NONE => self.back = prev,
            next => self.at_mut(next).prev = prev,
        }
        self.len -= 1;
    }
}
