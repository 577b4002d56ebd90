//! How many retries there may be, so that a service in trouble is not buried by those who try to help themselves.
//!
//! Every first attempt deposits a share of a token (0.2) and every retry takes a whole one, both remembered for ten
//! seconds; a floor (3 a second) lets services with little traffic retry at all. So in a total outage a service sees
//! at most 1.2 times its load. Besides, at most a share of the requests that are active *now* may be retries, those
//! that wait in back-off included: tokens saved in quiet seconds must not all be spent in one bad moment.
//!
//! Three ways in which others went wrong, and which are tested here: a share kept as a float reciprocal became 100 %
//! on its way (tower#857), so everything is counted in thousandths; retries that deposit let a budget feed itself
//! (envoy-mobile#811), so only first attempts do; back-off that is counted at one end only leaks (envoy#30205), so a
//! retry is counted from the decision until it is settled. What turned out never to have been sent is given back.

use crate::Moment;

/// Seconds that the ring remembers.
const SLOTS: usize = 10;
/// One token, in fixed point.
const TOKEN_MILLI: u64 = 1000;

/// How much may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetOptions {
    /// Share of the first attempts that may be repeated, in thousandths.
    pub share_milli: u32,
    /// Retries per second that are allowed however few the requests, in thousandths.
    pub floor_milli_per_s: u32,
    /// Retries at once that are allowed however few the active requests.
    pub concurrent_min: u32,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self { share_milli: 200, floor_milli_per_s: 3000, concurrent_min: 3 }
    }
}

/// A retry that was allowed. Give it to [`RetryBudget::settle`] or [`RetryBudget::refund`].
#[derive(Debug)]
#[must_use = "a permit that is neither settled nor refunded counts as a running retry for ever"]
pub struct RetryPermit {
    second: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    deposited_milli: u64,
    withdrawn_milli: u64,
}

/// The budget of one upstream.
#[derive(Debug)]
pub struct RetryBudget {
    options: BudgetOptions,
    ring: [Slot; SLOTS],
    // Sums over the ring, so that a decision does not walk it.
    deposited_milli: u64,
    withdrawn_milli: u64,
    second: u64,
    active: u32,
    retrying: u32,
}

impl RetryBudget {
    /// A budget that has seen nothing yet: the floor is there from the start.
    pub fn new(options: BudgetOptions) -> Self {
        Self {
            options,
            ring: [Slot::default(); SLOTS],
            deposited_milli: 0,
            withdrawn_milli: 0,
            second: 0,
            active: 0,
            retrying: 0,
        }
    }

    /// Other figures from now on; what was counted stays.
    pub fn set_options(&mut self, options: BudgetOptions) {
        self.options = options;
    }

    /// A request begins with its first attempt.
    pub fn begin(&mut self, now: Moment) {
        self.active += 1;
        let share = u64::from(self.options.share_milli);
        self.turn(now).deposited_milli += share;
        self.deposited_milli += share;
    }

    /// The request has ended, however often it was tried.
    pub fn end(&mut self) {
        debug_assert!(self.active > 0, "every end has its begin");
        self.active = self.active.saturating_sub(1);
    }

    /// Asks for a retry at the moment of the decision, before the back-off.
    pub fn withdraw(&mut self, now: Moment) -> Option<RetryPermit> {
        self.turn(now);
        let share_of_active = u64::from(self.active) * u64::from(self.options.share_milli) / TOKEN_MILLI;
        if u64::from(self.retrying) >= share_of_active.max(u64::from(self.options.concurrent_min))
            || self.balance_milli() < TOKEN_MILLI
        {
            return None;
        }
        self.turn(now).withdrawn_milli += TOKEN_MILLI;
        self.withdrawn_milli += TOKEN_MILLI;
        self.retrying += 1;
        Some(RetryPermit { second: self.second })
    }

    /// The retry has ended.
    pub fn settle(&mut self, _permit: RetryPermit, now: Moment) {
        self.retrying = self.retrying.saturating_sub(1);
        self.turn(now);
    }

    /// The retry has ended, and not a byte of it was sent: its token comes back.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is used up")]
    pub fn refund(&mut self, permit: RetryPermit, now: Moment) {
        self.retrying = self.retrying.saturating_sub(1);
        self.turn(now);
        // What the ring has forgotten needs no refund.
        if permit.second + SLOTS as u64 > self.second {
            let slot = &mut self.ring[permit.second as usize % SLOTS];
            slot.withdrawn_milli -= TOKEN_MILLI;
            self.withdrawn_milli -= TOKEN_MILLI;
        }
    }

    /// What may be retried now, in thousandths of a retry.
    pub fn remaining_milli(&mut self, now: Moment) -> u64 {
        self.turn(now);
        self.balance_milli()
    }

    /// Retries that were allowed and have not ended.
    pub fn retrying(&self) -> u32 {
        self.retrying
    }

    fn balance_milli(&self) -> u64 {
        let floor = u64::from(self.options.floor_milli_per_s) * SLOTS as u64;
        self.deposited_milli.max(floor).saturating_sub(self.withdrawn_milli)
    }

    /// The slot of `now`, after forgetting what is too old.
    fn turn(&mut self, now: Moment) -> &mut Slot {
        let second = now.as_secs().max(self.second);
        if second > self.second {
            for gone in self.second + 1..=second.min(self.second + SLOTS as u64) {
                let slot = &mut self.ring[gone as usize % SLOTS];
                self.deposited_milli -= slot.deposited_milli;
                self.withdrawn_milli -= slot.withdrawn_milli;
                *slot = Slot::default();
            }
            self.second = second;
        }
        &mut self.ring[second as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests;
