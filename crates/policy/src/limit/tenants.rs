//! How much each tenant has used of late: a count-min sketch whose counts halve every four seconds.
//!
//! A table of all tenants would need a bound, and whoever is thrown out of it would be a stranger again. Here every
//! tenant has a cell in each of two rows and shares it with others, and its use is the smaller of the two: never less
//! than it was, and more only for who shares both cells with somebody greedy, one tenant in 262,144. Which ones share
//! depends on a seed, so nobody can choose names that push another out.
//!
//! Decay is lazy: a cell remembers in which stretch it was written last. All cells halve at the same moments, so that
//! the order of the tenants does not depend on when one looks.

use crate::Moment;
use crate::sync::{AtomicU64, Ordering};

const ROWS: usize = 2;
const CELLS_BITS: u32 = 9;
/// Counts halve whenever this many more nanoseconds have passed, as a power of two: 4.3 s.
const HALF_LIFE_BITS: u32 = 32;
const COUNT_MASK: u64 = u32::MAX as u64;

#[derive(Debug)]
pub(super) struct Tenants {
    // Stretch of time << 32 | count.
    rows: Box<[[AtomicU64; 1 << CELLS_BITS]; ROWS]>,
    seed: u64,
}

impl Tenants {
    pub(super) fn new(seed: u64) -> Self {
        let row = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { rows: Box::new(std::array::from_fn(|_| row())), seed }
    }

    fn cells(&self, tenant: u64) -> [&AtomicU64; ROWS] {
        // The finisher of MurmurHash3: all bits of the result depend on all bits of the tenant.
        let mut hash = tenant ^ self.seed;
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^= hash >> 33;
        std::array::from_fn(|row| {
            let cell = hash >> (row as u32 * CELLS_BITS) & ((1 << CELLS_BITS) - 1);
            &self.rows[row][cell as usize]
        })
    }

    /// `tenant` has used one more.
    pub(super) fn uses(&self, tenant: u64, now: Moment) {
        let stretch = now.as_nanos() >> HALF_LIFE_BITS;
        for cell in self.cells(tenant) {
            let _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                // A clock that has gone backwards must not make what was written later older.
                let stretch = stretch.max(word >> 32);
                Some(stretch << 32 | (count(word, stretch) + 1).min(COUNT_MASK))
            });
        }
    }

    /// What `tenant` has used of late.
    pub(super) fn used(&self, tenant: u64, now: Moment) -> u64 {
        let stretch = now.as_nanos() >> HALF_LIFE_BITS;
        self.cells(tenant).map(|cell| count(cell.load(Ordering::Relaxed), stretch)).into_iter().min().unwrap_or(0)
    }
}

fn count(word: u64, stretch: u64) -> u64 {
    (word & COUNT_MASK).checked_shr(u32::try_from(stretch.saturating_sub(word >> 32)).unwrap_or(u32::MAX)).unwrap_or(0)
}
