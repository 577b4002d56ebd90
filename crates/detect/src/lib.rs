//! Detection as pure functions: what a row of observations means.
//!
//! Nothing here opens a socket, reads a clock or starts a timer. The runtime makes the observations and carries out
//! what follows from them; keeping the judgement apart lets every rule be tested as a table.

mod probe;
mod probes;

pub use probe::{Kind, Probe, Sample, Settings, SettingsError, Verdict};
pub use probes::{Change, ProbeSet};
