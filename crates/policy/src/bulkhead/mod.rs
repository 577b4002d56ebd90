//! So many calls at once and no more, so that one slow service does not take everything there is.
//!
//! **The problem.** A service that answers slowly does not refuse calls: it collects them. Each holds memory, a
//! connection, a place in its caller; when it has collected enough, callers that never needed the service stand still,
//! too. The walls between the compartments of a ship are there so that one leak does not sink it.
//!
//! **The rule.** At most 1024 calls are in flight. Up to 256 more wait for their turn, at most 1 s and never beyond
//! their deadline: a short queue evens out bursts, a long one only makes every answer late. The wait happens in the
//! future of the call and not in `poll_ready`, so it counts towards the deadline of the call, and being turned away is
//! an answer that retries, fallbacks and metrics see like any other.
//!
//! **Who goes first.** The one who came first, while the queue drains now and then. Once somebody has been waiting
//! without a break for 100 ms there is more load than room, and those at the front are those whose callers will give
//! up first: serving them in order makes *every* answer late, serving the newest first makes most answers quick and
//! loses those that were lost anyway. When the queue has drained, the order is by arrival again.
//!
//! **Trips** call by call: `bulkhead_full` when there is no place to wait, `queue_timeout` when there was no room in
//! time. Neither was sent, so both may be sent again, elsewhere or later.
//!
//! **Recovery.** The end of a call hands its permit to who goes first, in the same step; permits never lie about
//! while somebody waits, and no newcomer overtakes. A future that is dropped at any point gives back what it has: its
//! place in the queue, the permit it was given and had not seen yet, or the one it was using.
//!
//! **Cold start**: empty; it has no memory.

pub(crate) mod entry;
pub(crate) mod gate;
mod handle;
mod layer;
pub(crate) mod queue;
mod settings;

pub use handle::{Acquire, Bulkhead, Permit};
pub use layer::{BulkheadFuture, BulkheadLayer, BulkheadService};
pub use settings::BulkheadSettings;

#[cfg(all(test, mainstay_loom))]
mod models;
#[cfg(test)]
mod tests;
