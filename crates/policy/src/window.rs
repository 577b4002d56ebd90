//! What happened in the last seconds: two counts, all calls and the bad ones, in ten slots of a ring.
//!
//! Each thread counts in a ring of its own ([`crate::stripe`]); whoever must know the sum walks the rings, which only
//! happens when a call has ended badly. A slot is one word: when it was begun (as a slot number), all, bad. A writer
//! that finds an old slot begins it anew in the same store that counts, so there is no moment at which a reader sees
//! a fresh time with old counts.

use std::time::Duration;

use crate::Moment;
use crate::stripe::{Striped, Writers};
use crate::sync::{AtomicU64, Ordering};
use crate::time::nanos;

/// Slots that are remembered.
pub(crate) const SLOTS: u64 = 10;

/// Slots of a ring: a power of two, so that a slot is found without a division, and just what the cache lines hold
/// that a ring has for itself anyway.
const RING: u64 = 16;

const COUNT_BITS: u32 = 20;
/// Calls that one slot of one thread counts. Beyond that both counts are halved, which keeps their ratio.
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
/// What tells a slot from others in the same place: its number without the bits that say the place. 24 bits are enough
/// for eight years, in slots of a second, without one call between.
const fn tag(slot: u64) -> u64 {
    (slot / RING) & ((1 << (64 - 2 * COUNT_BITS)) - 1)
}

/// Sums over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) all: u64,
    pub(crate) bad: u64,
}

type Ring = [AtomicU64; RING as usize];

/// Divides by what does not change, by a product and a step in place of a division: that takes 5 ns, and the end of
/// every call would wait for it.
#[derive(Debug)]
struct Divisor {
    by: u64,
    reciprocal: u64,
}

impl Divisor {
    const fn new(by: u64) -> Self {
        Self { by, reciprocal: u64::MAX / by }
    }

    #[inline]
    fn divide(&self, n: u64) -> u64 {
        // With reciprocal = (2⁶⁴ − 1 − e) / by, e < by, the product lacks n · (1 + e) / (by · 2⁶⁴), which is less than 1.
        let quotient = ((u128::from(n) * u128::from(self.reciprocal)) >> 64) as u64;
        quotient + u64::from(n - quotient * self.by >= self.by)
    }
}

/// The counts of the last ten slots.
#[derive(Debug)]
pub(crate) struct Window {
    rings: Striped<Ring>,
    slot: Divisor,
    // Added to slot numbers. To forget, it leaps over a whole ring: all that was written before is too old at once,
    // also what a thread writes late that had looked at the time before the leap.
    leap: AtomicU64,
}

impl Window {
    /// Remembers `length`, in tenths of it.
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            rings: Striped::new(|| std::array::from_fn(|_| AtomicU64::new(0))),
            slot: Divisor::new((nanos(length) / SLOTS).max(1)),
            leap: AtomicU64::new(1),
        }
    }

    /// Numbered from 1, so that the zero of an unused slot is no number.
    #[inline]
    fn slot(&self, now: Moment) -> u64 {
        let slot = self.slot.divide(now.as_nanos());
        slot.saturating_add(self.leap.load(Ordering::Acquire))
    }

    /// Counts one call.
    #[inline]
    pub(crate) fn add(&self, now: Moment, bad: bool) {
        let (ring, writers) = self.rings.mine();
        add_to(ring, writers, self.slot(now), bad);
    }

    /// What was counted in the slots that are not too old.
    pub(crate) fn counts(&self, now: Moment) -> Counts {
        let slot = self.slot(now);
        let mut sum = Counts::default();
        for ring in self.rings.iter() {
            let counts = counts_of(ring, slot);
            sum.all += counts.all;
            sum.bad += counts.bad;
        }
        sum
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.leap.fetch_add(SLOTS, Ordering::AcqRel);
    }
}

#[inline]
fn add_to(ring: &Ring, writers: Writers, slot: u64, bad: bool) {
    let cell = &ring[(slot % RING) as usize];
    let old = cell.load(Ordering::Relaxed);
    if writers == Writers::Sole {
        cell.store(counted(old, slot, bad), Ordering::Relaxed);
        return;
    }
    let mut old = old;
    while let Err(now) = cell.compare_exchange_weak(old, counted(old, slot, bad), Ordering::Relaxed, Ordering::Relaxed)
    {
        old = now;
    }
}

/// The word after one more call in slot number `slot`.
#[inline]
fn counted(word: u64, slot: u64, bad: bool) -> u64 {
    let tag = tag(slot);
    let (mut all, mut failed) =
        if word >> (2 * COUNT_BITS) == tag { ((word >> COUNT_BITS) & COUNT_MAX, word & COUNT_MAX) } else { (0, 0) };
    if all == COUNT_MAX {
        (all, failed) = (all / 2, failed / 2);
    }
    tag << (2 * COUNT_BITS) | (all + 1) << COUNT_BITS | (failed + u64::from(bad))
}

fn counts_of(ring: &Ring, slot: u64) -> Counts {
    let mut sum = Counts::default();
    for age in 0..SLOTS.min(slot) {
        let wanted = slot - age;
        let word = ring[(wanted % RING) as usize].load(Ordering::Relaxed);
        if word != 0 && word >> (2 * COUNT_BITS) == tag(wanted) {
            sum.all += (word >> COUNT_BITS) & COUNT_MAX;
            sum.bad += word & COUNT_MAX;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Any calls at any times that do not run backwards, against a list of all of them.
        #[test]
        fn counts_what_a_list_counts(
            length_ms in 10u64..20_000,
            calls in prop::collection::vec((0u64..3_000_000_000, any::<bool>()), 1..200),
        ) {
            let window = Window::new(Duration::from_millis(length_ms));
            let slot = length_ms * 1_000_000 / SLOTS;
            let (mut now, mut list) = (0, Vec::new());
            for (step, bad) in calls {
                now += step;
                window.add(Moment::from_nanos(now), bad);
                list.push((now / slot, bad));
                let live = list.iter().filter(|(at, _)| at + SLOTS > now / slot);
                let model = Counts { all: live.clone().count() as u64, bad: live.filter(|(_, bad)| *bad).count() as u64 };
                prop_assert_eq!(window.counts(Moment::from_nanos(now)), model);
            }
        }

        #[test]
        fn a_divisor_divides(n: u64, by in 1..=u64::MAX, near in 0u64..3) {
            let small = by % 1000 + 1;
            for (n, by) in [(n, by), (n, small), (u64::MAX - near, by), (u64::MAX - near, small), (by - near.min(by), by)] {
                prop_assert_eq!(Divisor::new(by).divide(n), n / by);
            }
        }

        #[test]
        fn no_time_however_strange_breaks_it(times in prop::collection::vec(any::<u64>(), 1..50), length: u64) {
            let window = Window::new(Duration::from_nanos(length));
            for now in times {
                window.add(Moment::from_nanos(now), true);
                let counts = window.counts(Moment::from_nanos(now));
                prop_assert!(counts.all >= 1 && counts.bad <= counts.all);
            }
        }
    }

    #[test]
    fn a_slot_that_overflows_keeps_its_ratio() {
        let window = Window::new(Duration::from_secs(10));
        for n in 0..3_000_000 {
            window.add(Moment::ZERO, n % 4 == 0);
        }
        let counts = window.counts(Moment::ZERO);
        assert!(counts.all <= COUNT_MAX);
        assert!((counts.bad * 4).abs_diff(counts.all) < counts.all / 100, "{counts:?}");
    }

    #[test]
    fn threads_lose_no_count() {
        let window = Window::new(Duration::from_secs(10));
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|n| window.add(Moment::ZERO, n % 2 == 0)));
            }
        });
        assert_eq!(window.counts(Moment::ZERO), Counts { all: 40_000, bad: 20_000 });
    }
}

#[cfg(all(test, mainstay_loom))]
mod models {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn writers_that_share_a_ring_lose_no_count() {
        loom::model(|| {
            let ring: Arc<Ring> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
            let other = ring.clone();
            let thread = loom::thread::spawn(move || {
                add_to(&other, Writers::Many, 1, true);
                add_to(&other, Writers::Many, 1 + RING, true);
            });
            add_to(&ring, Writers::Many, 1 + RING, false);
            thread.join().unwrap();
            let counts = counts_of(&ring, 1 + RING);
            // The call of slot 1 may come last and begin its slot anew: time that runs backwards loses, never invents.
            assert!(counts.all <= 2 && counts.bad <= 1);
        });
    }

    #[test]
    fn a_reader_never_sees_old_counts_under_a_new_time() {
        loom::model(|| {
            let ring: Arc<Ring> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
            for _ in 0..3 {
                add_to(&ring, Writers::Sole, 1, true);
            }
            let writer = ring.clone();
            let thread = loom::thread::spawn(move || add_to(&writer, Writers::Sole, 1 + RING, false));
            let seen = counts_of(&ring, 1 + RING);
            assert!(seen == Counts::default() || seen == Counts { all: 1, bad: 0 }, "{seen:?}");
            thread.join().unwrap();
        });
    }
}
