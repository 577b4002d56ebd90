//! What the calls of a window took: a histogram per thread, of fixed size.
//!
//! The cells only ever grow (and wrap); whoever closes a window subtracts what it saw at the close before. So nothing
//! is reset under the hands of a thread that counts, and no count is lost or counted twice.

use std::time::Duration;

use crate::stripe::{Striped, Writers};
use crate::sync::{AtomicU32, Ordering};
use crate::time::nanos;

/// Each power of two has 16 buckets, so what is read is within 3 % of what was measured.
const PARTS_BITS: u32 = 4;
const PARTS: usize = 1 << PARTS_BITS;
/// What is shorter than 2¹⁰ ns (a microsecond) counts as that…
const SHORTEST_BITS: u32 = 10;
/// …and what is longer than 2⁴⁰ ns (18 minutes), too.
const LONGEST_BITS: u32 = 40;
const BUCKETS: usize = (LONGEST_BITS - SHORTEST_BITS) as usize * PARTS;
/// Calls that the service turned away.
const BUSY: usize = BUCKETS;
/// Calls that failed after longer than usual. They are in a bucket, too.
const LATE: usize = BUCKETS + 1;
const CELLS: usize = BUCKETS + 2;

type Cells = [AtomicU32; CELLS];

#[derive(Debug)]
pub(super) struct Samples(Striped<Cells>);

/// All cells, summed over the threads.
#[derive(Debug, Clone)]
pub(super) struct Sums(Box<[u32; CELLS]>);

impl Samples {
    pub(super) fn new() -> Self {
        Self(Striped::new(|| std::array::from_fn(|_| AtomicU32::new(0))))
    }

    #[inline]
    pub(super) fn took(&self, time: Duration) {
        self.add(bucket(time));
    }

    pub(super) fn busy(&self) {
        self.add(BUSY);
    }

    pub(super) fn late(&self, time: Duration) {
        self.add(bucket(time));
        self.add(LATE);
    }

    #[inline]
    fn add(&self, cell: usize) {
        let (cells, writers) = self.0.mine();
        let cell = &cells[cell];
        if writers == Writers::Sole {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        } else {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for cells in self.0.iter() {
            for (sum, cell) in sums.0.iter_mut().zip(cells) {
                *sum = sum.wrapping_add(cell.load(Ordering::Relaxed));
            }
        }
        sums
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self(Box::new([0; CELLS]))
    }
}

impl Sums {
    /// What was counted since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let mut difference = self.clone();
        for (now, before) in difference.0.iter_mut().zip(before.0.iter()) {
            *now = now.wrapping_sub(*before);
        }
        difference
    }

    /// Calls whose time was measured.
    pub(super) fn measured(&self) -> u64 {
        self.0[..BUCKETS].iter().map(|n| u64::from(*n)).sum()
    }

    /// Calls that were turned away, or failed late.
    pub(super) fn dropped(&self) -> u64 {
        u64::from(self.0[BUSY]) + u64::from(self.0[LATE])
    }

    /// All that counts.
    pub(super) fn all(&self) -> u64 {
        self.measured() + u64::from(self.0[BUSY])
    }

    /// What nine of ten calls took at most, in nanoseconds.
    pub(super) fn p90(&self) -> Option<f64> {
        let rank = (self.measured() * 9).div_ceil(10).max(1);
        let mut seen = 0;
        let bucket = self.0[..BUCKETS].iter().position(|n| {
            seen += u64::from(*n);
            seen >= rank
        })?;
        Some(middle(bucket))
    }
}

fn bucket(time: Duration) -> usize {
    let nanos = nanos(time).clamp(1 << SHORTEST_BITS, (1 << LONGEST_BITS) - 1);
    let octave = nanos.ilog2();
    let part = (nanos >> (octave - PARTS_BITS)) as usize & (PARTS - 1);
    (octave - SHORTEST_BITS) as usize * PARTS + part
}

fn middle(bucket: usize) -> f64 {
    let width = 2f64.powi((bucket / PARTS) as i32 + (SHORTEST_BITS - PARTS_BITS) as i32);
    ((PARTS + bucket % PARTS) as f64 + 0.5) * width
}
