//! What the calls to one endpoint showed in one interval: how many, how many failed, how long the good ones took.
//!
//! Times go into a fixed histogram, four steps to each doubling from 65 µs to 5 minutes: 84 counts, whatever comes.
//! Within a step a percentile is interpolated, so it is right to about a tenth, and what it is compared with is a
//! multiple.

use std::time::Duration;

use super::Failure;
use crate::time::nanos;

/// The unit of the histogram, as a power of two: 2¹⁶ ns are 65 µs.
const UNIT_BITS: u32 = 16;
/// Steps to a doubling, as a power of two.
const STEP_BITS: u32 = 2;
const STEPS: usize = 1 << STEP_BITS;
/// Doublings above the first four units. The last step takes all that is longer.
const DOUBLINGS: usize = 20;
const BUCKETS: usize = STEPS * (DOUBLINGS + 1);

/// Counts the calls of one endpoint.
///
/// An [`Outlier`](super::Outlier) keeps one for each endpoint. Who has many threads lets each count by itself, while
/// nothing fails, and hands over what it has counted from time to time: [`Outlier::absorb`](super::Outlier::absorb).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    all: u32,
    failed: u32,
    timed: u32,
    took: [u32; BUCKETS],
}

impl Tally {
    /// Of no calls.
    pub const fn new() -> Self {
        Self { all: 0, failed: 0, timed: 0, took: [0; BUCKETS] }
    }

    /// Counts one call. The time of a failure says nothing about how quick the endpoint is.
    #[inline]
    pub fn count(&mut self, failure: Failure, took: Duration) {
        self.all = self.all.saturating_add(1);
        if failure.is_failure() {
            self.failed = self.failed.saturating_add(1);
        } else {
            let bucket = &mut self.took[bucket(nanos(took))];
            *bucket = bucket.saturating_add(1);
            self.timed = self.timed.saturating_add(1);
        }
    }

    /// Whether no call was counted.
    pub const fn is_empty(&self) -> bool {
        self.all == 0
    }

    /// Adds what `other` has counted, and leaves nothing there.
    pub(super) fn take_from(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        self.all = self.all.saturating_add(other.all);
        self.failed = self.failed.saturating_add(other.failed);
        self.timed = self.timed.saturating_add(other.timed);
        for (mine, theirs) in self.took.iter_mut().zip(&other.took) {
            *mine = mine.saturating_add(*theirs);
        }
        *other = Self::new();
    }

    pub(super) fn clear(&mut self) {
        if !self.is_empty() {
            *self = Self::new();
        }
    }

    pub(super) const fn all(&self) -> u32 {
        self.all
    }

    pub(super) const fn failed(&self) -> u32 {
        self.failed
    }

    /// The time that nine of ten good calls did not exceed, in nanoseconds; `None` of fewer than `least`.
    pub(super) fn p90(&self, least: u32) -> Option<u64> {
        if self.timed < least.max(1) {
            return None;
        }
        // The rank, from 1, rounded up: of 20 calls the 18th.
        let mut rank = (u64::from(self.timed) * 9).div_ceil(10);
        for (n, count) in self.took.iter().enumerate() {
            let count = u64::from(*count);
            if rank <= count {
                let (low, high) = (lower(n), lower(n + 1));
                let within = u128::from(high - low) * u128::from(rank) / u128::from(count);
                // At most the width of the step.
                return Some(low + within as u64);
            }
            rank -= count;
        }
        Some(lower(BUCKETS))
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

fn bucket(nanos: u64) -> usize {
    let units = nanos >> UNIT_BITS;
    if units < STEPS as u64 {
        return units as usize;
    }
    let doubling = (units.ilog2() - STEP_BITS) as usize;
    let step = (units >> doubling) as usize - STEPS;
    (STEPS * (doubling + 1) + step).min(BUCKETS - 1)
}

/// Where bucket `n` begins, in nanoseconds.
const fn lower(n: usize) -> u64 {
    if n < STEPS {
        return (n as u64) << UNIT_BITS;
    }
    let doubling = n / STEPS - 1;
    ((STEPS + n % STEPS) as u64) << (doubling as u32 + UNIT_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_and_their_bounds_agree() {
        for n in 0..BUCKETS {
            assert_eq!((bucket(lower(n)), bucket(lower(n + 1) - 1)), (n, n), "{n}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(lower(STEPS * (DOUBLINGS + 1)) >> 30, 256, "about five minutes");
    }

    proptest! {
        /// Against the sorted list: within a step, which is a quarter, or within the unit.
        #[test]
        fn the_percentile_is_near_the_true_one(times in prop::collection::vec(0u64..200_000_000_000, 1..300)) {
            let mut tally = Tally::new();
            times.iter().for_each(|t| tally.count(Failure::None, Duration::from_nanos(*t)));
            let mut sorted = times;
            sorted.sort_unstable();
            let exact = sorted[(sorted.len() * 9).div_ceil(10) - 1];
            let seen = tally.p90(1).unwrap();
            prop_assert!(seen.abs_diff(exact) <= exact / 4 + (1 << UNIT_BITS), "{seen} {exact}");
        }
    }

    #[test]
    fn adding_up_is_as_counting_in_one() {
        let (mut one, mut two, mut both) = (Tally::new(), Tally::new(), Tally::new());
        for n in 0..100u64 {
            let failure = if n % 7 == 0 { Failure::Status } else { Failure::None };
            let took = Duration::from_micros(n * n * 100);
            if n % 2 == 0 {
                one.count(failure, took);
            } else {
                two.count(failure, took);
            }
            both.count(failure, took);
        }
        one.take_from(&mut two);
        assert!(two.is_empty());
        assert_eq!(one, both);
        assert_eq!((both.all(), both.failed()), (100, 15));
    }

    #[test]
    fn extremes_are_counted_and_few_calls_have_no_percentile() {
        let mut tally = Tally::new();
        assert_eq!(tally.p90(0), None);
        tally.count(Failure::Local, Duration::MAX);
        assert_eq!((tally.all(), tally.failed(), tally.p90(1)), (1, 1, None));
        tally.count(Failure::None, Duration::MAX);
        tally.count(Failure::Busy, Duration::ZERO);
        assert_eq!(tally.p90(3), None);
        assert_eq!(tally.p90(2), Some(lower(BUCKETS)));
    }
}
