//! What a drill found: one struct, three ways to show it.

mod chart;
mod html;
mod sections;
mod text;
mod words;

use std::path::Path;

use mainstay_core::{Phase, Severity, WallMs};
use serde::Serialize;

use crate::invariant::Outcome;
use crate::progress::DrillPhase;
use crate::spec::Spec;

/// What the drill says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything that was asked for was checked and held.
    Pass,
    /// Something did not hold.
    Fail,
    /// Not enough happened to say either.
    Inconclusive,
}

impl Verdict {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// 0, 1 or 2.
    pub const fn exit_code(self) -> u8 {
        match self {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::Inconclusive => 2,
        }
    }
}

/// One reason for the verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictReason {
    /// `FAIL` or `INCONCLUSIVE`: what this reason alone would make of the drill.
    pub verdict: Verdict,
    /// A sentence.
    pub text: String,
}

/// Everything a drill found. Times are milliseconds since the start of the load unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What the drill says.
    pub verdict: Verdict,
    /// Why, all of it; empty for a pass.
    pub reasons: Vec<VerdictReason>,
    /// What was run.
    pub spec: Spec,
    /// Wall time of the start of the load.
    pub started: WallMs,
    /// Until the last operation was over.
    pub duration_ms: u64,
    /// When each phase began.
    pub phases: Vec<(DrillPhase, i64)>,
    /// The load.
    pub load: LoadReport,
    /// The service level.
    pub levels: Levels,
    /// Each fault.
    pub faults: Vec<FaultReport>,
    /// Each invariant.
    pub invariants: Vec<Outcome>,
    /// What Mainstay did.
    pub events: Vec<EventReport>,
    /// Events that name a target which no fault explains.
    pub false_detections: u64,
    /// Faults that were left in the system: an empty list when all is well, none when nobody knows.
    pub residue: Option<Vec<String>>,
    /// The service level every [`crate::SERIES_STEP`].
    pub series: Vec<Sample>,
}

/// The load and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Arrivals.
    pub due: u64,
    /// Of them sent.
    pub sent: u64,
    /// Sent, but noticeably after they were due.
    pub late: u64,
    /// Not sent: too many were in flight.
    pub unsent: u64,
    /// Answered: it happened.
    pub done: u64,
    /// Answered: taken on.
    pub accepted: u64,
    /// Answered: rightly refused.
    pub refused: u64,
    /// Answered with a wrong status below 500.
    pub rejected: u64,
    /// No connection.
    pub not_connected: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Exact repetitions of an earlier request, as part of `due`.
    pub resent: u64,
    /// Of all arrivals that were measured from the first fault until all faults were removed.
    pub met_faults: u64,
}

/// The service level of the three parts of a drill, and of all of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Levels {
    /// Before the first fault, after the warm-up.
    pub baseline: Level,
    /// From the first fault until all are removed.
    pub faults: Level,
    /// After that.
    pub after: Level,
    /// All of it.
    pub all: Level,
    /// Good answers per second under faults ÷ those of the baseline.
    pub goodput_ratio: Option<f64>,
}

/// The service level of a part of a drill.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Level {
    /// Arrivals.
    pub arrivals: u64,
    /// Of them answered rightly and in time.
    pub good: u64,
    /// good ÷ arrivals; none without arrivals.
    pub availability: Option<f64>,
    /// Good answers per second.
    pub goodput: f64,
    /// Median of the time users waited, in ms.
    pub p50_ms: Option<f64>,
    /// 99th percentile of it.
    pub p99_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

/// One fault, and how the system took it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FaultReport {
    /// What was done, and to whom.
    pub what: String,
    /// When it was planned for.
    pub planned_ms: u64,
    /// When it took effect; none when it could not be put in.
    pub at_ms: Option<i64>,
    /// When it was over. The same as `at_ms` for what happens at once.
    pub until_ms: Option<i64>,
    /// Why it could not be put in, or ended early.
    pub error: Option<String>,
    /// From the fault to the first event that names its target.
    pub detected: Detection,
    /// From the fault until its target got no more traffic; none when it never was taken out.
    pub isolated_ms: Option<u64>,
    /// From the fault until users were served well again.
    pub recovered: Recovery,
    /// From the fault until every replica that it took out was back.
    pub redundancy_ms: Option<u64>,
    /// Arrivals from the fault until the next one (or the end).
    pub arrivals: u64,
    /// Of them not good.
    pub bad: u64,
}

/// Whether and when a fault was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "ms", rename_all = "snake_case")]
pub enum Detection {
    /// An event named the target so much later.
    After(u64),
    /// No event named the target, because nothing had to be decided: the fault lies on an edge, and while it lasted
    /// users were served within the objective all the same, by retries.
    Masked,
    /// No event named the target.
    Missed,
    /// The fault was never in force.
    NotMeasured,
}

/// Whether and when users were served well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "is", content = "ms", rename_all = "snake_case")]
pub enum Recovery {
    /// No window was ever bad.
    NoHarm,
    /// So much later.
    After(u64),
    /// Not before the next fault or the end of the load.
    NotRecovered,
    /// The next fault or the end came before one window was over, or the fault was never in force.
    NotMeasured,
}

/// One thing that Mainstay did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EventReport {
    /// When.
    pub at_ms: i64,
    /// Wall time.
    pub wall_ms: WallMs,
    /// Which turn of the loop.
    pub phase: Phase,
    /// How much to care.
    pub severity: Severity,
    /// Its word in the event log.
    pub kind: String,
    /// Whom it is about.
    pub target: Option<String>,
    /// In words.
    pub text: String,
    /// The number of the fault that explains it, from 1.
    pub fault: Option<usize>,
}

/// The service level of one step of time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Start.
    pub at_ms: u64,
    /// Arrivals that were due.
    pub due: u32,
    /// Of them good.
    pub good: u32,
    /// 99th percentile of the time users waited, in ms.
    pub p99_ms: Option<f64>,
}

impl Report {
    /// 0 for PASS, 1 for FAIL, 2 for INCONCLUSIVE.
    pub fn exit_code(&self) -> u8 {
        self.verdict.exit_code()
    }

    /// The report for a terminal, with or without colours.
    pub fn text(&self, color: bool) -> String {
        text::render(self, color)
    }

    /// The report as one self-contained page.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// The report for machines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only text keys")
    }

    /// One sentence that says it all.
    pub fn sentence(&self) -> String {
        words::sentence(self)
    }

    /// Writes `report.html` and `report.json` into `folder`, which is made when it is missing.
    pub async fn write(&self, folder: &Path) -> std::io::Result<()> {
        tokio::fs::create_dir_all(folder).await?;
        tokio::fs::write(folder.join("report.json"), self.json()).await?;
        tokio::fs::write(folder.join("report.html"), self.html()).await
    }
}

#[cfg(test)]
mod tests;
