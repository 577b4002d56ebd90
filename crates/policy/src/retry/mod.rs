//! Sending a request again that has failed.
//!
//! **The problem.** Many failures are over at the next attempt: a connection that was just closed, one replica of
//! three that restarts. Sending again heals them, and does two kinds of harm: it does things twice, and it multiplies
//! the load on a service that is failing because of its load.
//!
//! **What may be sent again** is decided by evidence, never by the status alone. The default that repeats a POST
//! after a 503 has paid people twice (istio#50506): an overloaded or half-dead server may have acted before it
//! failed. So there are two classes. **A**: not a byte of the request left; repeating it is harmless whatever it is.
//! **B**: it left, and no answer came, or one that says "not now" (502, 503, 504); repeating it is harmless only when
//! the request means the same twice: by its method (RFC 9110, 9.2.2), because its owner said so, or because it
//! carries a key by which the other side tells a repetition. Once the answer has begun to reach the client nothing
//! can be repeated, nor when a layer below, here or in another process, has said that it must not be.
//!
//! **How often**: twice at most, and no more than the shared [`RetryBudget`](crate::RetryBudget) allows. There are no
//! other limits (istio#7665: a hidden one of three made errors out of successes); each is a setting.
//!
//! **When**: after a back-off with full jitter. Where the other side says when to come back, not earlier, and up to
//! half as much later, because everybody was told the same. Only where the wait is shorter than what remains of the
//! caller's time; else the failure is passed on at once, while it is still of use.
//!
//! **When the budget is used up**, the outcome goes back as it is, with the mark that forbids layers above to retry:
//! of two stacked layers with two retries each the service sees at most three attempts and not nine.
//!
//! **Cold start**: the budget's floor is there from the beginning.

mod class;
mod layer;
mod policy;
mod settings;

pub use class::{Denied, Evidence, Repeatable, RetryClass, classify, status_may_be_retried};
pub use layer::{RetryFuture, RetryLayer, RetryService};
pub use policy::{Attempts, Retry};
pub use settings::RetrySettings;

#[cfg(test)]
mod tests;
