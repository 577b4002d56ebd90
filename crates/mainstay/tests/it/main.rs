//! The real binary, real processes, real sockets, real databases.

mod app;
mod bad_input;
mod drills;
mod http;
mod survive;
mod watch;
