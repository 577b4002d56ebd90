//! A gate that so many calls may be behind at once, and a queue before it. The bulkhead is one with a fixed number;
//! the adaptive limit is one whose number moves and depends on who asks.
//!
//! In flight and waiting are two halves of one word, so that they change together. Who finds room adds one, by one
//! atomic operation, and touches nothing else. A call that ends while nobody waits takes one off. The rest happens
//! under a lock: joining the queue, leaving it, and the end of a call while somebody waits, which hands its permit
//! on without the number of those in flight ever going down. So nobody who comes in that moment can take it, and no
//! wake-up can be lost.
//!
//! The rule that holds whenever the lock is free: *nobody waits who might go*. Hence whoever finds room need not look
//! at the queue: those in it have none.

use std::task::{Poll, Waker};

use crossbeam_utils::CachePadded;

use super::queue::{Place, Queue};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::{Clock, Moment};

const ONE_WAITING: u64 = 1 << 32;

/// Calls that are counted at all. A process has not the memory for as many futures.
pub(crate) const CEILING: u32 = u32::MAX / 2;

/// Who may pass a gate, and who goes first.
pub(crate) trait Rule {
    /// What is known of a call.
    type Call: Copy + Unpin;

    /// The call may go while fewer than this are in flight.
    fn room(&self, call: Self::Call) -> u32;

    /// How many may wait.
    fn places(&self) -> u32;

    /// Who of those that wait goes first: nobody who waits has more room.
    fn first(&self, queue: &Queue<Self::Call>, now: Moment) -> Option<u32>;

    /// Who gives up its place in a full queue for `call`, if anybody does.
    fn worse(&self, queue: &Queue<Self::Call>, call: Self::Call, now: Moment) -> Option<u32>;

    /// A call that had waited, or was about to, may go.
    fn goes(&self, _call: Self::Call, _now: Moment) {}
}

#[derive(Debug)]
pub(crate) struct Gate<R: Rule> {
    // Waiting << 32 | in flight. The upper half changes under the lock only. On a line of its own: everybody writes
    // it, and everybody reads what is beside it.
    word: CachePadded<AtomicU64>,
    queue: Mutex<Queue<R::Call>>,
    rule: R,
    clock: Clock,
}

/// What became of a call that would have waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joined {
    /// There was room after all.
    Entered,
    Waits(u32),
    Full,
}

impl<R: Rule> Gate<R> {
    pub(crate) fn new(rule: R, clock: Clock) -> Self {
        Self { word: CachePadded::new(AtomicU64::new(0)), queue: Mutex::new(Queue::new()), rule, clock }
    }

    pub(crate) const fn rule(&self) -> &R {
        &self.rule
    }

    pub(crate) fn in_flight(&self) -> u32 {
        in_flight(self.word.load(Ordering::Relaxed))
    }

    pub(crate) fn waiting(&self) -> u32 {
        waiting(self.word.load(Ordering::Relaxed))
    }

    /// Passes, if fewer than `room` are in flight. Says how many were, without this one.
    #[inline]
    pub(super) fn enter(&self, room: u32) -> Result<u32, u32> {
        let room = room.min(CEILING);
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if in_flight(word) >= room {
                return Err(in_flight(word));
            }
            match self.word.compare_exchange_weak(word, word + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Ok(in_flight(word)),
                Err(now) => word = now,
            }
        }
    }

    /// One that passed has ended.
    #[inline]
    pub(super) fn leave(&self) {
        let mut word = self.word.load(Ordering::Relaxed);
        while waiting(word) == 0 {
            match self.word.compare_exchange_weak(word, word - 1, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.hand_on();
    }

    /// Ends one call and lets the next go in one step.
    #[cold]
    fn hand_on(&self) {
        let now = self.clock.now();
        let mut queue = lock(&self.queue);
        // Those who pass without waiting count themselves at the same time; the queue stands still.
        let mut next = self.rule.first(&queue, now);
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            next = next.filter(|slot| in_flight(word) - 1 < self.rule.room(queue.call(*slot)));
            Some(if next.is_some() { word - ONE_WAITING } else { word - 1 })
        });
        let waker = next.map(|slot| self.grant(&mut queue, slot, now));
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Changes the rule, and lets those go who now have room.
    pub(crate) fn change(&self, change: impl FnOnce(&R)) {
        let now = self.clock.now();
        let mut wakers = Vec::new();
        let mut queue = lock(&self.queue);
        change(&self.rule);
        while let Some(slot) = self.rule.first(&queue, now) {
            let room = self.rule.room(queue.call(slot)).min(CEILING);
            let entered = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                (in_flight(word) < room).then(|| word + 1 - ONE_WAITING)
            });
            if entered.is_err() {
                break;
            }
            wakers.push(self.grant(&mut queue, slot, now));
        }
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn grant(&self, queue: &mut Queue<R::Call>, slot: u32, now: Moment) -> Waker {
        self.rule.goes(queue.call(slot), now);
        queue.answer(slot, Place::Granted)
    }

    /// Takes a place in the queue, unless there is room by now.
    pub(super) fn join(&self, call: R::Call, waker: Waker) -> Joined {
        let now = self.clock.now();
        let mut queue = lock(&self.queue);
        // Under the lock, so that a number that grows now finds this call in the queue.
        let room = self.rule.room(call).min(CEILING);
        let full = queue.len() >= self.rule.places();
        let worse = if full { self.rule.worse(&queue, call, now) } else { None };
        let mut joined = Joined::Full;
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
            if in_flight(word) < room {
                joined = Joined::Entered;
                return Some(word + 1);
            }
            joined = Joined::Full;
            // Who takes the place of another does not change how many wait.
            if full { None } else { Some(word + ONE_WAITING) }
        });
        if joined == Joined::Entered {
            self.rule.goes(call, now);
            return joined;
        }
        if full && worse.is_none() {
            return joined;
        }
        let away = worse.map(|slot| queue.answer(slot, Place::TurnedAway));
        let slot = queue.push(call, waker, now);
        drop(queue);
        if let Some(waker) = away {
            waker.wake();
        }
        Joined::Waits(slot)
    }

    /// Whether `slot` has its answer: `true` to go, `false` to go away. The slot is given back with it.
    pub(super) fn poll(&self, slot: u32, waker: Waker) -> Poll<bool> {
        // The old waker is dropped after the lock: it may be the last of a task, and run anything.
        let place = lock(&self.queue).take(slot, waker);
        match place {
            Ok(place) => Poll::Ready(matches!(place, Place::Granted)),
            Err(_old) => Poll::Pending,
        }
    }

    /// Gives `slot` up. `true` if it had just been told to go, so that it is in flight now.
    pub(super) fn give_up(&self, slot: u32) -> bool {
        let place = {
            let mut queue = lock(&self.queue);
            let place = queue.remove(slot);
            if matches!(place, Place::Waiting { .. }) {
                self.word.fetch_sub(ONE_WAITING, Ordering::AcqRel);
            }
            place
        };
        matches!(place, Place::Granted)
    }
}

const fn in_flight(word: u64) -> u32 {
    word as u32
}

const fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}
