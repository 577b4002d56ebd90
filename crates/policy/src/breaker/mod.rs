//! Leaving a service alone that fails, and coming back to it with care.
//!
//! **The problem.** A service that is down fails slowly: each caller holds a connection, a task and its user until a
//! timeout. A service that is overloaded recovers sooner when it is asked less. Failing at once, here, helps both.
//!
//! **The rule.** Calls are counted over ten slots that together make the window (10 s). Counting calls alone forgets
//! time (twenty failures of last night still trip), counting time alone is blind to a burst; so there are both: the
//! breaker **trips** when of at least 20 calls in the window half or more failed, or when 10 failed in a row however
//! few there were, or, where `slow` is set, when 80 % were slow. It is judged when a call ends badly: a good answer
//! never trips it. What the client cancelled counts nowhere; 429 counts in the ratio but not in the row, for the
//! service lives; what our own policies rejected never counts.
//!
//! **Open** lasts 5 s, twice as long after each failed attempt to close, at most 60 s, ± 20 %: breakers that tripped
//! together must not probe together. The state is looked at before the inner service is polled, so that an open
//! breaker does not wait for a full one behind it (tower-resilience#381).
//!
//! **Recovery.** Half-open, at most 3 calls go through at once as probes. Each has a *lease*: a probe whose outcome
//! never comes would keep others half-open for ever (resilience4j#935, Sentinel#1638); here its lease runs out and
//! counts as a failure, as does an answer that comes after. A probe whose future is dropped in time is given back at
//! once. One failure opens again, and so do a 429 and a slow answer: who has enough is not well yet. 3 successes close,
//! with a ramp: 25, 50, 75, then 100 % of the calls over 10 s, because a service that has just come back has cold
//! caches, and all its clients waiting.
//!
//! **Late answers** of calls that began before the state changed say nothing about now; a generation number voids
//! them.
//!
//! **Cold start**: closed, with an empty window. Nothing is known, and most services work.
//!
//! **By hand** ([`Breaker::force`]): forced open for maintenance, disabled, or only counting.

mod layer;
mod machine;
mod pass;
mod settings;
mod state;

pub use layer::{BreakerFuture, BreakerLayer, BreakerService};
pub use machine::Breaker;
pub use pass::Pass;
pub use settings::{BreakerSettings, SlowCalls};
pub use state::{BreakerState, Manual};

#[cfg(test)]
mod tests;
