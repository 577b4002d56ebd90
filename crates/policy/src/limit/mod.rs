//! A limit of concurrent calls that finds itself, and a fair choice of whom to turn away when it is reached.
//!
//! **The problem.** The right number of concurrent calls is not known, and it changes: with each release, with the
//! neighbours of the machine, with what the callers ask for. A bulkhead's number is a guess, mostly far too high, to
//! be safe; then an overloaded service answers everybody late instead of most in time. And whoever must turn calls
//! away should not do it by lot: the report can wait, the payment cannot, and one caller who asks for everything must
//! not get it.
//!
//! **The rule for the limit.** Once a second, from at least 50 calls, the latency that nine of ten calls stayed under
//! is compared with what it has long been (`gradient2`): while it stays under 1.5 times that, the limit grows by a
//! fifth of its square root; above, it falls, by a tenth in a second at the most. It does not grow while less than
//! half of it is used, for then nothing is known about more. `max_healthy` says what is too slow in any case:
//! above it nothing measured becomes the new usual, so that an overload that lasts is never taken for the rule.
//! `aimd` and `vegas` are the alternatives. None lets the limit drop to measure the latency without load: that sheds
//! calls of a service that is well, for minutes in a day (envoy#8337, #38338).
//!
//! **What is measured.** Good answers, and failures that took longer than usual: a timeout is as good a measure as an
//! answer. A quick failure says nothing about load; that is the breaker's matter. A twentieth of all calls turned
//! away by the service (429) or failed late is an overload whatever the latency. Calls that their callers dropped
//! count nowhere.
//!
//! **The rule for turning away.** Classes below the normal one may use a part of the limit only (priority 0 half, 1
//! three quarters), as telephone networks keep the last trunks for those who matter; so there is room for the others
//! before anybody has to wait. Who finds none waits, in a queue of the square root of the limit: the more important
//! first, then the tenant that has used the least of late, then who came first. Where there is no place left, the
//! last in this order is shed, be it the newcomer or somebody who waits. So a tenant that asks for all gets what the
//! others leave. `CRITICAL` calls pass always and are counted: to lose a commit or a health check to an overload makes
//! it worse.
//!
//! **Trips** call by call: `shed`, and `queue_timeout` where a call had a place and no turn in time.
//!
//! **Recovery.** The limit grows again as it did from the start. What tenants have used is halved every four seconds.
//!
//! **Cold start**: 20. The mean of the first ten windows is the first baseline, so a service should not be overloaded
//! when its limit is made; where it may be, `max_healthy` keeps that from becoming the usual.
//!
//! **Shadow is the default**: run it so until the limit that it tells is above what the service needs on a good day.

mod admission;
mod algorithm;
mod handle;
mod layer;
mod measure;
mod samples;
mod settings;
mod tenants;

pub use handle::{Limit, LimitAcquire, LimitPermit};
pub use layer::{LimitFuture, LimitLayer, LimitService};
pub use settings::{Algorithm, LimitSettings};

#[cfg(test)]
mod tests;
