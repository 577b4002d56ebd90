//! What a live display shows while a drill runs.

use std::time::Duration;

use serde::Serialize;

/// The turns of a drill, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrillPhase {
    /// Does the target answer, is nothing left over from before?
    Preflight,
    /// Load without faults: what normal is.
    Baseline,
    /// Load under faults.
    Faults,
    /// All faults are being removed.
    Clear,
    /// Load goes on until the system serves well; then it finishes its work.
    Settle,
    /// The state of the system is read.
    FinalReads,
    /// Invariants, residue, measures.
    Check,
    /// The verdict is there.
    Over,
}

impl DrillPhase {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            DrillPhase::Preflight => "preflight",
            DrillPhase::Baseline => "baseline",
            DrillPhase::Faults => "faults",
            DrillPhase::Clear => "clear",
            DrillPhase::Settle => "settle",
            DrillPhase::FinalReads => "final reads",
            DrillPhase::Check => "check",
            DrillPhase::Over => "over",
        }
    }
}

/// A snapshot of a running drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// Which turn.
    pub phase: DrillPhase,
    /// Since the start of the load.
    pub elapsed: Duration,
    /// About when the drill will be over, from the start of the load.
    pub total: Duration,
    /// Operations sent.
    pub sent: u64,
    /// Operations with a right answer, refusals included.
    pub ok: u64,
    /// Operations with a wrong answer, and those that could not be sent.
    pub failed: u64,
    /// Operations of which nobody knows.
    pub unknown: u64,
    /// The last event, as text.
    pub last_event: Option<String>,
    /// The faults in force, as text.
    pub active_faults: Vec<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            phase: DrillPhase::Preflight,
            elapsed: Duration::ZERO,
            total: Duration::ZERO,
            sent: 0,
            ok: 0,
            failed: 0,
            unknown: 0,
            last_event: None,
            active_faults: Vec::new(),
        }
    }
}
