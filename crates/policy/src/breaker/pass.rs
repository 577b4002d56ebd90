//! What a call holds while it runs.

use std::fmt;
use std::time::Duration;

use super::machine::Core;
use crate::stripe::Held;
use crate::{Health, Moment, Reason, Rejection};

/// Permission for one call. Say how it ended by [`Pass::record`]; dropped without, it counts nowhere, and a probe is
/// given back.
#[must_use = "a pass that is dropped at once counts nothing"]
pub struct Pass {
    core: Held<Core>,
    ticket: Ticket,
    started: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticket {
    Counted { generation: u64 },
    Probe { lease: u64 },
    Uncounted,
}

/// A rejection, less what is the same in all those of a breaker: one number, which costs nothing to carry from where
/// it is decided to where the error is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    wait_nanos: u64,
}

impl Refusal {
    /// Of which nobody knows when it ends.
    pub(super) const UNTIL_TOLD: Self = Self { wait_nanos: u64::MAX };

    #[inline]
    pub(super) const fn until(until: Moment, now: Moment) -> Self {
        Self { wait_nanos: until.as_nanos().saturating_sub(now.as_nanos()) }
    }
}

impl From<Refusal> for Rejection {
    #[inline]
    fn from(refusal: Refusal) -> Self {
        let open = Self::unsent(Reason::BreakerOpen);
        match refusal {
            Refusal::UNTIL_TOLD => open,
            Refusal { wait_nanos } => open.after(Duration::from_nanos(wait_nanos)),
        }
    }
}

impl Pass {
    #[inline]
    pub(super) const fn new(core: Held<Core>, ticket: Ticket, started: Moment) -> Self {
        Self { core, ticket, started }
    }

    /// How the call ended.
    #[inline]
    pub fn record(mut self, health: Health) {
        self.settle(health);
    }

    /// The same for one that cannot be moved out of its future without cost. Only the first time counts.
    #[inline]
    pub(super) fn settle(&mut self, health: Health) {
        match std::mem::replace(&mut self.ticket, Ticket::Uncounted) {
            Ticket::Counted { generation } => self.core.counted(generation, health, self.started),
            Ticket::Probe { lease } => self.core.probed(lease, health, self.started),
            Ticket::Uncounted => {}
        }
    }

    /// Whether the call is a probe.
    pub fn is_probe(&self) -> bool {
        matches!(self.ticket, Ticket::Probe { .. })
    }
}

impl Drop for Pass {
    #[inline]
    fn drop(&mut self) {
        if let Ticket::Probe { lease } = self.ticket {
            self.core.probed(lease, Health::Unknown, self.started);
        }
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}
