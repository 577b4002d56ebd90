//! A second copy of a request that takes longer than most, and the first good answer of the two.
//!
//! **The problem.** One call in a hundred is slow for no reason of its own: it met a pause, a full queue, a lost packet.
//! A page that makes fifty calls meets one of these nearly every second time. The slow call is not faster for being
//! waited for, but another endpoint would answer it at once (Dean and Barroso, "The Tail at Scale", 2013).
//!
//! **The rule.** When a call has taken longer than 95 % of the calls of the last 30 s did, at least 1 ms, a second copy
//! is sent, marked so that a balancer chooses another endpoint. The first good answer wins, and the other copy is
//! dropped there and then, which cancels it (tower-resilience#393). If the first that ends has failed, the other is
//! waited for; if both fail, the failure of the first copy is what the caller sees, as it would be without a hedge. A
//! call that fails before a second copy is sent is not hedged: that is a retry, and has its own layer and rules.
//!
//! **What is never doubled**: requests that do more than read, unless their owner says that two at once are fine, and
//! requests that cannot be copied. They pass, and count nowhere.
//!
//! **What holds it back.** Extra copies are load, and load is what makes services slow: a hedge without a bound turns
//! a slow service into a dead one. So at most 1 % of the calls in the window are doubled. Besides, where a
//! [`RetryBudget`](crate::RetryBudget) is shared, each copy takes a token like a retry, and none is sent when less than
//! a quarter is left. None is sent while the breaker is not closed. A copy is asked for once, when its time has come;
//! if it is refused, the call goes on as one.
//!
//! **Its clock.** The lengths of good answers are counted in buckets that are at most an eighth wide. Of a hedged call
//! the time until either answer is counted: it is above the percentile like the time of the first copy would have
//! been, so hedging does not pull down its own threshold. What was cancelled counts nowhere.
//!
//! **Cold start**: below 100 calls in the window nothing is hedged. **Recovery**: as the window goes on. When everything
//! is slow, that is soon the percentile, and nothing is hedged any more: there is no faster endpoint to ask.
//!
//! **What it costs.** A call that is answered in time reads the clock twice, counts twice on lines of its own thread,
//! and is copied once ([`Profile::duplicate`](crate::Profile::duplicate)). The service is cloned only when a second
//! copy is sent, from a template that is behind a lock for that; only then is something allocated.

mod future;
mod handle;
mod latency;
mod layer;
mod settings;

pub use self::future::HedgeFuture;
pub use self::handle::{Hedge, HedgePermit, HedgeTimer};
pub use self::layer::{HedgeLayer, HedgeService};
pub use self::settings::HedgeSettings;

#[cfg(test)]
mod tests;
