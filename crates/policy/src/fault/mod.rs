//! Failures on purpose, where the service would make them.
//!
//! **The problem.** Whether timeouts, retries and breakers do their work is learnt in the next outage, unless somebody
//! makes one on a quiet day. Faults that sit in front of these policies prove nothing: the request fails and no retry
//! ever sees why (istio#13705).
//!
//! **The rule.** Faults are *innermost*, between all other policies and the service, so that those meet them as they
//! would meet real ones. A [`Fault`] is armed by hand, with what to do ([`FaultKind`], a [`Delay`], or the delay and
//! then the other), to which share of the requests or to which one. Which requests are hit follows from the seed and a
//! count of the requests, so that a run can be repeated.
//!
//! **It ends by itself.** Every fault has a time to live (10 min unless said otherwise). Whoever armed it may be gone
//! by then: the process died, the network between is the thing that was broken. The time is looked at when requests
//! come; those that a fault holds back are let go when it ends, whether its time is over or it was disarmed. At most
//! 100 requests are in its hands at once; others pass unharmed.
//!
//! **What it stands for.**
//! - `abort`: the request may have been seen, and there is no answer. `answer: 503`: the same with a status, where the
//!   layer knows how to make an answer ([`FaultAnswer`]).
//! - `refuse`: it was never sent, as if nobody listened.
//! - `hang`: no answer, ever. Something above must lose patience.
//! - `drop_response`: the service *acts*, and its answer is lost. Who sends that again acts twice.
//! - `duplicate`: the service gets it twice, as networks and proxies sometimes do.
//!
//! What happens to a stream of bytes (resets, half-closed connections, bodies that are cut off, slow or corrupt) is not
//! here: a Tower service knows no bytes. The gateway has those.
//!
//! **Unarmed**, which is how it starts, it costs one relaxed load. **Counted apart**: faults are told as
//! [`Event::Fault`](crate::Event::Fault), so that nobody takes them for what the service did.

mod armed;
mod future;
mod handle;
mod layer;
mod settings;
#[cfg(test)]
mod tests;

pub use future::FaultFuture;
pub use handle::{Fault, Injected};
#[cfg(feature = "http")]
pub use layer::FaultStatus;
pub use layer::{Everything, FaultAnswer, FaultLayer, FaultMatch, FaultService, NoAnswer};
pub use settings::{Delay, FaultKind, FaultSettings};
