//! The sums of the last ten seconds, and what follows from them. Seconds and counts are arguments.
//!
//! Of deposits it keeps how many requests had begun, ever, when each of the last ten seconds was first seen: what was
//! deposited since is a difference. Of withdrawals it keeps how many there were in each second.

use super::BudgetSettings;
use crate::Share;

/// Seconds that are remembered.
pub(super) const SECONDS: usize = 10;
/// One token, in fixed point.
pub(super) const TOKEN_MILLI: u64 = 1000;

#[derive(Debug, Clone)]
pub(super) struct Ledger {
    settings: BudgetSettings,
    floor_milli: u64,
    second: u64,
    /// All that had begun as of the last turn.
    begun: u64,
    /// All that had begun when each second was first seen.
    opening: [u64; SECONDS],
    withdrawn: [u64; SECONDS],
    retrying: u32,
}

impl Ledger {
    pub(super) const fn new(settings: BudgetSettings) -> Self {
        Self {
            settings,
            floor_milli: floor_milli(&settings),
            second: 0,
            begun: 0,
            opening: [0; SECONDS],
            withdrawn: [0; SECONDS],
            retrying: 0,
        }
    }

    pub(super) const fn set_settings(&mut self, settings: BudgetSettings) {
        self.floor_milli = floor_milli(&settings);
        self.settings = settings;
    }

    /// The second that it has reached.
    pub(super) const fn second(&self) -> u64 {
        self.second
    }

    /// It is `second` now (a clock that runs backwards stands still), and `begun` requests have begun, ever.
    pub(super) fn turn(&mut self, second: u64, begun: u64) {
        // Whatever has begun since the last turn began before this second, as far as is known.
        for gone in (self.second + 1..=second).take(SECONDS) {
            let slot = gone as usize % SECONDS;
            self.opening[slot] = begun;
            self.withdrawn[slot] = 0;
        }
        self.second = self.second.max(second);
        self.begun = begun;
    }

    /// Takes a token, if there is one and not too many of the `active` requests are retries. Says of which second.
    pub(super) fn withdraw(&mut self, active: u64) -> Option<u64> {
        let share_of_active = portion(active, self.settings.share, 1);
        let concurrent_max = share_of_active.max(u64::from(self.settings.concurrent_min));
        if u64::from(self.retrying) >= concurrent_max || self.remaining_milli() < TOKEN_MILLI {
            return None;
        }
        self.withdrawn[self.slot()] += 1;
        self.retrying = self.retrying.saturating_add(1);
        Some(self.second)
    }

    /// A retry has ended.
    pub(super) const fn settle(&mut self) {
        self.retrying = self.retrying.saturating_sub(1);
    }

    /// A retry of `second` has ended without being sent.
    pub(super) fn refund(&mut self, second: u64) {
        self.settle();
        // What is forgotten needs no refund.
        if second.saturating_add(SECONDS as u64) > self.second {
            let slot = &mut self.withdrawn[second as usize % SECONDS];
            *slot = slot.saturating_sub(1);
        }
    }

    pub(super) const fn retrying(&self) -> u32 {
        self.retrying
    }

    pub(super) fn remaining_milli(&self) -> u64 {
        self.capacity_milli().saturating_sub(self.withdrawn_milli())
    }

    pub(super) fn level(&self) -> Share {
        let capacity = self.capacity_milli();
        if capacity == 0 {
            return Share::NONE;
        }
        // At most the whole, so it fits and is a share.
        let points = u128::from(self.remaining_milli()) * 10_000 / u128::from(capacity);
        u16::try_from(points).ok().and_then(Share::basis_points).unwrap_or(Share::ALL)
    }

    /// What there would be if nothing had been withdrawn.
    fn capacity_milli(&self) -> u64 {
        let oldest = self.opening[(self.slot() + 1) % SECONDS];
        let deposits = self.begun.saturating_sub(oldest);
        portion(deposits, self.settings.share, TOKEN_MILLI).max(self.floor_milli)
    }

    fn withdrawn_milli(&self) -> u64 {
        self.withdrawn.iter().sum::<u64>().saturating_mul(TOKEN_MILLI)
    }

    const fn slot(&self) -> usize {
        self.second as usize % SECONDS
    }
}

/// `share` of `count` × `unit`.
const fn portion(count: u64, share: Share, unit: u64) -> u64 {
    saturated(count as u128 * unit as u128 * share.points() as u128 / Share::ALL.points() as u128)
}

/// What the floor amounts to in all seconds that are remembered.
const fn floor_milli(settings: &BudgetSettings) -> u64 {
    let remembered_ns = SECONDS as u128 * 1_000_000_000;
    let milli = settings.floor.count as u128 * TOKEN_MILLI as u128;
    match (milli * remembered_ns).checked_div(settings.floor.per.as_nanos()) {
        Some(floor) => saturated(floor),
        None => 0,
    }
}

const fn saturated(n: u128) -> u64 {
    if n > u64::MAX as u128 { u64::MAX } else { n as u64 }
}
