//! The real binary, real processes, real sockets, real databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod app;
mod bad_input;
mod drills;
mod http;
mod survive;
mod watch;
