//! Something else answers in place of a service that failed.
//!
//! **The problem.** Some answers are worth more late, simple or second-hand than not at all: the recommendations of an
//! hour ago, an empty list of offers, the search of the other region. Written by hand around each call, this answers
//! the mistakes of callers too, and hides an outage from everybody.
//!
//! **The rule.** A call is answered by a [`Substitute`] when the service failed or when one of our own policies ended
//! the call: an open breaker, a full bulkhead, a timeout. Not when the failure is the caller's: its own rate limit, a
//! body that is too large, a deadline that has passed, and whatever the judge takes for a good answer, such as 404.
//! If the substitute cannot answer, or fails as well, the caller gets the failure of the service, not the
//! substitute's: that one is what has to be mended.
//!
//! **Substitutes.** [`Canned`]: an answer that is made on the spot. [`LastGood`]: the last good answer to the same
//! question, not older than it may be. [`Elsewhere`]: another service. For "the last good answer, else an empty one"
//! put one layer around the other: the outer one sees the failure that the inner one could not answer.
//!
//! **It trips** with each failure on its own; it has no memory of them. In front of it stands a bulkhead of its own
//! (10 at once): a fallback to another service must not carry a whole outage there. **Recovery** is the service's.
//! **Cold start**: the last good answers are none.
//!
//! **Marked.** An answer that looks like the real one will be taken for it, stored and reasoned about. So give the
//! layer a [`Mark`]; for HTTP there is one that sets `mainstay-fallback`.
//!
//! It belongs outside of the total timeout, so that a timeout can be answered, too; a substitute that may be slow
//! needs a timeout of its own.

mod elsewhere;
mod handle;
mod last_good;
mod layer;
mod mark;
mod settings;
mod substitute;
#[cfg(test)]
mod tests;

pub use elsewhere::{Elsewhere, ElsewhereFuture};
pub use handle::{Fallback, FallbackPermit};
pub use last_good::{LastGood, LastGoodSettings};
pub use layer::{FallbackFuture, FallbackLayer, FallbackService};
#[cfg(feature = "http")]
pub use mark::FallbackHeader;
pub use mark::{Mark, Unmarked};
pub use settings::FallbackSettings;
pub use substitute::{Canned, Substitute};
