//! So many requests in a time, and no more.
//!
//! **The problem.** A client, or all of them together, send more than was agreed or than there is for them. A counter
//! that starts anew each second lets twice the limit through around the turn of the second. A bucket of tokens that a
//! timer fills needs the timer, and two numbers that must change together.
//!
//! **The rule.** The generic cell rate algorithm (ITU-T I.371): one number, the *theoretical arrival time*, up to
//! which everything admitted so far uses up the rate. A request moves it on by the cost of one; it is turned away if
//! that would take it further ahead of now than the whole burst costs. So an idle limit admits `burst` requests at
//! once, and then one each time that one has been earned: over any time `t` at most `burst + rate · t`. It is the
//! bucket of tokens, kept as the moment at which it will be full again.
//!
//! **Exact.** The cost of one request is seldom a whole number of nanoseconds: at 3/s it is 333,333,333⅓. So time is
//! counted in *ticks*, chosen such that a request costs a whole number of them, and about one nanosecond long. Nothing
//! is rounded that is added up; only the clock's reading is, anew each time, by less than a tick.
//!
//! **It trips** when the burst is used up: `rate_limited`, never sent, with the time after which one request would be
//! admitted, exact to the nanosecond. A request that is turned away costs nothing, so that a client that hammers gets
//! its rate and is not locked out for ever.
//!
//! **It recovers** by the passing of time alone. **Cold start**: the whole burst is there.
//!
//! **Keys** ([`KeyedRateLimit`]): a limit for each client, tenant or token, at most `keys_max` of them. A key whose
//! arrival time has passed has its whole burst again, and is worth the same as one never seen, so it is forgotten
//! without loss. Forgetting any other gives it back what lies between now and its arrival time; so that of a few goes
//! whose arrival time comes first, which is also the one that was used least recently for what it used. Who has used
//! up a limit stays in the table the longest: nobody escapes a limit by a flood of other keys.
//!
//! **A clock that goes back** admits nothing for it. A small step is waited out. One of more than a second cannot be
//! told from a clock that was set anew, and is taken as such: from there on with an empty bucket, for nobody should
//! wait until a clock that was an hour ahead comes round again.

mod direct;
mod gcra;
mod keyed;
mod layer;
mod settings;
#[cfg(test)]
mod tests;

pub use direct::RateLimit;
pub use gcra::Quota;
pub use keyed::KeyedRateLimit;
pub use layer::{KeyedRateLimitLayer, KeyedRateLimitService, RateLimitFuture, RateLimitLayer, RateLimitService};
pub use settings::RateLimitSettings;
