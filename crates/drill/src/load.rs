//! Open-loop load: arrivals come from the seed, not from the answers.
//!
//! A closed loop waits for an answer before it sends the next request, and so sends least while the system is worst:
//! the coordinated omission that makes an outage of seconds look like one slow request. Here every arrival has its
//! time; one that cannot be sent is bad, and latency counts from when it was due.

mod arrivals;
mod client;
mod drive;

pub(crate) use arrivals::{Arrival, Arrivals};
pub(crate) use client::Client;
pub use client::TargetError;
pub(crate) use drive::{LATE_MS_MIN, drive};

#[cfg(test)]
mod tests;
