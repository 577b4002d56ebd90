//! How long calls take: counts by length, over the last half minute, in fixed memory.
//!
//! A call's length falls into one of 176 buckets. Below one millisecond they are 65 µs wide; above, each power of two
//! has eight of them, so that none is wider than an eighth of what falls into it. A percentile is the upper end of its
//! bucket: never shorter than the true one, and longer by at most an eighth or 65 µs.
//!
//! Each thread counts in buckets of its own, in a ring of five slots of time. As in [`crate::window`], a count carries
//! the number of its slot: old counts are overwritten when they are met and skipped when they are not, so nobody
//! ever clears anything.

use std::time::Duration;

use crate::stripe::{Striped, Writers};
use crate::sync::{AtomicU64, Ordering};
use crate::time::nanos;
use crate::{Moment, Share};

/// Slots of the ring: it remembers from 4/5 of its length to all of it.
const SLOTS: u64 = 5;

/// The width of the finest buckets, as a power of two: 65 µs.
const UNIT_BITS: u32 = 16;
/// Buckets per power of two, as a power of two.
const FINE_BITS: u32 = 3;
/// Lengths from here on, in units, are all the same: 18 minutes.
const UNITS_MAX: u64 = (1 << 24) - 1;
const BUCKETS: usize = bucket(UNITS_MAX) + 1;

const COUNT_BITS: u32 = 40;
const COUNT_MAX: u64 = (1 << COUNT_BITS) - 1;
const TAG_MASK: u64 = (1 << (64 - COUNT_BITS)) - 1;

type Counts = [AtomicU64; BUCKETS];
type Ring = [Counts; SLOTS as usize];

/// The lengths of the calls of the last while.
#[derive(Debug)]
pub(super) struct Latencies {
    rings: Striped<Ring>,
    slot_nanos: u64,
}

impl Latencies {
    pub(super) fn new(window: Duration) -> Self {
        let ring = || std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0)));
        Self { rings: Striped::new(ring), slot_nanos: (nanos(window) / SLOTS).max(1) }
    }

    /// Numbered from 1, so that the zero of an unused count is no number.
    fn slot(&self, now: Moment) -> u64 {
        (now.as_nanos() / self.slot_nanos).saturating_add(1)
    }

    /// A call that has ended now took so long.
    #[inline]
    pub(super) fn add(&self, now: Moment, length: Duration) {
        let slot = self.slot(now);
        let (ring, writers) = self.rings.mine();
        let units = (nanos(length) >> UNIT_BITS).min(UNITS_MAX);
        count(&ring[(slot % SLOTS) as usize][bucket(units)], writers, slot & TAG_MASK);
    }

    /// What `share` of the calls do not exceed, unless there are fewer than `samples_min`.
    pub(super) fn percentile(&self, now: Moment, share: Share, samples_min: u64) -> Option<Duration> {
        let sums = self.sums(now);
        let all: u64 = sums.iter().sum();
        if all < samples_min.max(1) {
            return None;
        }
        // At least one, at most all.
        let rank = (u128::from(all) * u128::from(share.points())).div_ceil(10_000).max(1);
        let mut below = 0;
        let found = sums.iter().position(|n| {
            below += u128::from(*n);
            below >= rank
        });
        found.map(|bucket| Duration::from_nanos(upper_end(bucket) << UNIT_BITS))
    }

    fn sums(&self, now: Moment) -> [u64; BUCKETS] {
        let slot = self.slot(now);
        let mut sums = [0; BUCKETS];
        for ring in self.rings.iter() {
            for age in 0..SLOTS.min(slot) {
                let wanted = slot - age;
                for (sum, cell) in sums.iter_mut().zip(&ring[(wanted % SLOTS) as usize]) {
                    let word = cell.load(Ordering::Relaxed);
                    if word >> COUNT_BITS == wanted & TAG_MASK {
                        *sum += word & COUNT_MAX;
                    }
                }
            }
        }
        sums
    }
}

fn count(cell: &AtomicU64, writers: Writers, tag: u64) {
    let counted = |word: u64| match word >> COUNT_BITS == tag {
        // A count that is full stays so: 10¹² calls of one length in six seconds do not happen.
        true if word & COUNT_MAX == COUNT_MAX => word,
        true => word + 1,
        false => tag << COUNT_BITS | 1,
    };
    let mut old = cell.load(Ordering::Relaxed);
    if writers == Writers::Sole {
        cell.store(counted(old), Ordering::Relaxed);
        return;
    }
    while let Err(now) = cell.compare_exchange_weak(old, counted(old), Ordering::Relaxed, Ordering::Relaxed) {
        old = now;
    }
}

/// The bucket of a length in units.
const fn bucket(units: u64) -> usize {
    let width = match units.checked_ilog2() {
        Some(log) => log.saturating_sub(FINE_BITS),
        None => 0,
    };
    ((width as usize) << FINE_BITS) + (units >> width) as usize
}

/// Where it ends, in units; the end is no part of it.
const fn upper_end(bucket: usize) -> u64 {
    let width = (bucket >> FINE_BITS).saturating_sub(1);
    ((bucket - (width << FINE_BITS)) as u64 + 1) << width
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_secs(30);

    #[test]
    fn every_length_lies_in_its_bucket_and_in_no_other() {
        let mut start = 0;
        for b in 0..BUCKETS {
            let end = upper_end(b);
            assert!(end > start, "{b}");
            assert_eq!((bucket(start), bucket(end - 1)), (b, b));
            // Never wider than one unit, or an eighth of the shortest length in it.
            assert!(end - start == 1 || (end - start) * 8 <= start, "{b}");
            start = end;
        }
        assert_eq!(start, UNITS_MAX + 1);
    }

    /// The true percentile: the shortest length that so many do not exceed.
    fn of_list(mut lengths: Vec<u64>, share: Share) -> u64 {
        lengths.sort_unstable();
        let rank = (lengths.len() as u64 * u64::from(share.points())).div_ceil(10_000).max(1);
        lengths[rank as usize - 1]
    }

    proptest! {
        /// Any lengths up to 18 minutes at any times, against a list of all of them.
        #[test]
        fn a_percentile_is_that_of_a_sorted_list_within_the_width_of_a_bucket(
            calls in prop::collection::vec((0u64..3_000_000_000, 0u32..40, any::<u64>()), 1..300),
            points in 1u16..=10_000,
        ) {
            let share = Share::basis_points(points).unwrap();
            let latencies = Latencies::new(WINDOW);
            let slot = latencies.slot_nanos;
            let (mut now, mut list) = (0, Vec::new());
            for (step, bits, noise) in calls {
                now += step;
                // Every magnitude is as likely as any other.
                let length = noise % (1 << (bits + 1));
                latencies.add(Moment::from_nanos(now), Duration::from_nanos(length));
                list.push((now / slot, length));
            }
            let live: Vec<u64> =
                list.iter().filter(|(at, _)| at + SLOTS > now / slot).map(|(_, length)| *length).collect();
            let samples = live.len() as u64;
            let now = Moment::from_nanos(now);
            prop_assert_eq!(latencies.percentile(now, share, samples + 1), None);
            let truth = of_list(live, share);
            let found = nanos(latencies.percentile(now, share, samples).unwrap());
            prop_assert!(found > truth, "{} is below {}", found, truth);
            prop_assert!(found - truth <= (truth / 8).max(1 << UNIT_BITS), "{} is far above {}", found, truth);
        }

        #[test]
        fn no_time_and_no_length_however_strange_breaks_it(
            calls in prop::collection::vec((any::<u64>(), any::<u64>()), 1..50),
            window: u64,
        ) {
            let latencies = Latencies::new(Duration::from_nanos(window));
            for (now, length) in calls {
                let now = Moment::from_nanos(now);
                latencies.add(now, Duration::from_nanos(length));
                let longest = latencies.percentile(now, Share::ALL, 0).unwrap();
                prop_assert!(longest <= Duration::from_nanos((UNITS_MAX + 1) << UNIT_BITS));
            }
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let latencies = Latencies::new(WINDOW);
        latencies.add(Moment::ZERO, Duration::from_secs(1));
        let at = |s| latencies.percentile(Moment::from(Duration::from_secs(s)), Share::ALL, 1);
        assert!(at(29).is_some());
        assert_eq!(at(30), None);
        // The same place of the ring, much later.
        assert_eq!(at(30_000_000), None);
    }

    #[test]
    fn threads_lose_no_call() {
        let latencies = Latencies::new(WINDOW);
        std::thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| (0..1000).for_each(|n| latencies.add(Moment::ZERO, Duration::from_millis(n))));
            }
        });
        assert_eq!(latencies.sums(Moment::ZERO).iter().sum::<u64>(), 40_000);
    }
}
