//! Leaving an endpoint alone that stands out as bad, taking it back with care, and knowing when to stop that.
//!
//! **The problem.** A service has several endpoints, and one of them is broken: a bad disk, a lost route, an old
//! version. Balancing by load does not see it, or worse, likes it, for failing is fast. The breaker of the service
//! does not see it either: two of three calls are fine.
//!
//! **The rules.** Each has a mode of its own.
//! - *Failures in a row* (5). The quick rule, judged with every call. Answers of 500 and above and failures of our
//!   own side (no connection, no answer) are counted apart: an endpoint that answers every second call with a 500
//!   and drops the others is not "never twice in a row the same". A success ends both rows; an answer of any kind
//!   ends the row of missing answers.
//! - *Success rate.* What fails every third call never fails five times in a row. Once in an interval (10 s), where
//!   three endpoints or more had at least 20 calls each, who succeeded less often than 85 % *and* less often than
//!   its peers by 1.9 deviations. [`rules`] says why peers, and not all.
//! - *Failure rate.* Two endpoints have no average to stand out from; there, half of at least 20 calls ejects.
//! - *Time.* Slow is whose 90th percentile is over 50 ms and three times the median of its peers', for three
//!   intervals in a row. In shadow mode by default: what is slow may be what works hardest.
//!
//! **An ejection lasts** 10 s × n with 20 % jitter, at most 300 s, where n counts the ejections and forgets one per
//! healthy interval. Jitter, because endpoints that fell together must not return together.
//!
//! **The cap** is half of a zone, rounded down, counted *with* the one to be ejected; and where a zone has one
//! endpoint none is ejected: then the breaker acts. Percentages surprise in clusters of 1, 2 or 3 (envoy#26877,
//! #27066): 10 % of 3 ejects one all the same, and 1 of 1 leaves nothing. They surprise when they are of the whole
//! cluster, too: half of it may be all of one zone (istio#34605). When members leave and too many are out, those
//! whose time is nearest return early.
//!
//! **Recovery** is by one strict probe: exactly one request is let through, and even a 429 fails it. The probe is
//! leased: if its outcome never comes (a dropped future, a lost ticket) another may be made, so that nothing is
//! stuck half-open (resilience4j#935, Sentinel#1638). After it the endpoint takes 10 % of its share, growing to all
//! of it over 10 s. Outcomes of calls that began before the ejection change nothing.
//!
//! **Panic.** Ejection assumes that the others can take over. With fewer than half of the pool usable they cannot,
//! and what looked like bad endpoints is probably something else: the network, a dependency, us. Then ejections are
//! ignored and all are asked, or (`on_panic: fail`) none is. Who fails its *active* checks stays out all the same,
//! unless nobody passes.
//!
//! **Cold start**: a new endpoint is trusted. Its ready probe has passed, and nothing else is known.
//!
//! Nothing here reads a clock or waits: moments and randomness are arguments, and an interval is judged when
//! somebody comes by after its end.

mod change;
mod machine;
mod member;
mod pool;
mod rules;
mod settings;
mod tally;

pub use change::{Change, EjectionCause};
pub use machine::{Failure, Outcome, Outlier, Probe};
pub use member::Member;
pub use pool::{Admission, Pool};
pub use settings::{FailureRateRule, LatencyRule, OnPanic, OutlierSettings, PanicSettings, SuccessRateRule};
pub use tally::Tally;

#[cfg(test)]
mod tests;
