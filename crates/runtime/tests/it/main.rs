//! The supervisor with real processes, ports, files and signals.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adopt;
mod faults;
mod killed;
mod restart;
mod start;
mod stop;
mod world;
