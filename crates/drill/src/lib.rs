//! Load, faults, history, invariants, measures, report: the proof that a system keeps its promises while it is hurt.
//!
//! [`run()`] takes a [`Spec`] and the ports through which it reaches the system, sends open-loop load, puts faults in
//! and takes them out, waits until the system has healed, reads what it holds, and compares that with what the
//! clients saw. The verdict is computed from these two and nothing else; where too little happened to say anything
//! the verdict is INCONCLUSIVE, never PASS.

mod collect;
mod faults;
mod history;
mod invariant;
mod load;
mod measure;
mod plan;
mod ports;
mod progress;
mod report;
mod run;
#[cfg(test)]
mod sample;
mod spec;
mod template;
mod verdict;

pub use history::{Ending, HISTORY_QUEUE_LEN_MAX, History, Op};
pub use invariant::{
    Counterexample, FinalState, Invariant, Outcome, PathError, Rule, Source, Standing, Sum, TransactionState,
};
pub use measure::SERIES_STEP;
pub use plan::{Action, Plan, PlanError, PlannedFault};
pub use ports::{Injector, Inspection, PortError, PortFuture, StateReader};
pub use progress::{DrillPhase, Progress};
pub use report::{
    Detection, EventReport, FaultReport, Level, Levels, LoadReport, Recovery, Report, Sample, Verdict, VerdictReason,
};
pub use run::{Drill, DrillError, TargetError, run};
pub use spec::{
    DRILL_MAX, Expect, FAULTS_MAX, Harm, Load, Meaning, OPERATIONS_MAX, Operation, Spec, SpecError, TimedFault, Windows,
};
