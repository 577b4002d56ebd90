//! Who goes, who waits and who is shed when the limit is reached.

use std::cmp::Reverse;

use super::tenants::Tenants;
use crate::bulkhead::gate::{CEILING, Rule};
use crate::bulkhead::queue::Queue;
use crate::sync::{AtomicU32, Ordering};
use crate::{CallContext, Moment, Priority};

/// What of the limit a class may use, in percent, by its level. The classes below the normal one leave room for the
/// others before anybody has to wait; from the normal class on, order in the queue is enough.
const PARTS_PERCENT: [u64; 5] = [50, 75, 100, 100, 100];

/// What decides about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) priority: Priority,
    pub(super) tenant: u64,
}

impl From<&CallContext> for Caller {
    fn from(context: &CallContext) -> Self {
        Self { priority: context.priority, tenant: context.tenant }
    }
}

/// The less, the sooner it goes and the later it is shed.
type Rank = (Reverse<Priority>, u64);

#[derive(Debug)]
pub(super) struct Admission {
    limit: AtomicU32,
    places: Option<u32>,
    tenants: Tenants,
}

impl Admission {
    pub(super) fn new(limit: u32, places: Option<u32>, seed: u64) -> Self {
        Self { limit: AtomicU32::new(limit), places, tenants: Tenants::new(seed) }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(super) fn set(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// A call that found room at once, as one of `in_flight`. What is used while there is plenty is not held against
    /// anybody, so it is counted from half the limit on only.
    #[inline]
    pub(super) fn passes(&self, caller: Caller, in_flight: u32, now: Moment) {
        if u64::from(in_flight) * 2 >= u64::from(self.limit()) {
            self.tenants.uses(caller.tenant, now);
        }
    }

    fn rank(&self, caller: Caller, now: Moment) -> Rank {
        (Reverse(caller.priority), self.tenants.used(caller.tenant, now))
    }
}

impl Rule for Admission {
    type Call = Caller;

    #[inline]
    fn room(&self, caller: Caller) -> u32 {
        match PARTS_PERCENT.get(usize::from(caller.priority.level())) {
            // At most the limit, which is 32 bits.
            Some(percent) => (u64::from(self.limit()) * percent).div_ceil(100) as u32,
            None => CEILING,
        }
    }

    fn places(&self) -> u32 {
        self.places.unwrap_or_else(|| self.limit().isqrt())
    }

    fn first(&self, queue: &Queue<Caller>, now: Moment) -> Option<u32> {
        // Of equals the one who came first.
        queue.iter().min_by_key(|(_, caller)| self.rank(*caller, now)).map(|(slot, _)| slot)
    }

    fn worse(&self, queue: &Queue<Caller>, caller: Caller, now: Moment) -> Option<u32> {
        // Of equals the one who came last, and that is `caller`.
        let (slot, last) =
            queue.iter().map(|(slot, caller)| (slot, self.rank(caller, now))).max_by_key(|(_, rank)| *rank)?;
        (last > self.rank(caller, now)).then_some(slot)
    }

    fn goes(&self, caller: Caller, now: Moment) {
        self.tenants.uses(caller.tenant, now);
    }
}
