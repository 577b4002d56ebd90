//! The supervisor with real processes, ports, files and signals.

mod adopt;
mod faults;
mod restart;
mod start;
mod stop;
mod world;
