//! Numbers and findings as a person reads them, the same on every page.

use super::{Detection, FaultReport, Recovery, Report, Verdict};
use crate::invariant::{Outcome, Standing};

/// `2,431`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `2,431 operations`, `1 operation`.
pub(super) fn things(n: u64, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{} {thing}s", count(n)) }
}

/// `12 ms`, `1.2 s`, `75 s`.
pub(super) fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1000.0),
        ms => format!("{:.0} s", ms / 1000.0),
    }
}

/// A time between two events, which are stamped in whole milliseconds.
pub(super) fn gap(gap_ms: u64) -> String {
    match gap_ms {
        0 => "< 1 ms".into(),
        gap_ms if gap_ms < 1000 => format!("{gap_ms} ms"),
        gap_ms => ms(gap_ms as f64),
    }
}

/// A gap that may not be known.
pub(super) fn maybe_gap(value: Option<u64>) -> String {
    value.map_or_else(|| "—".into(), gap)
}

/// A time that may not be known.
pub(super) fn maybe_ms(value: Option<f64>) -> String {
    value.map_or_else(|| "—".into(), ms)
}

/// `99.62 %`. Cut, not rounded: what is not whole never shows as 100 %.
pub(super) fn percent(ratio: Option<f64>) -> String {
    match ratio {
        None => "—".into(),
        Some(r) if r >= 1.0 => "100 %".into(),
        Some(r) => format!("{:.2} %", (r * 10_000.0).floor() / 100.0),
    }
}

/// `12.31 s` on the axis of the drill.
pub(super) fn at(ms: i64) -> String {
    format!("{:.2} s", ms as f64 / 1000.0)
}

impl Detection {
    pub(super) fn words(self) -> String {
        match self {
            Detection::After(after) => gap(after),
            Detection::Masked => "masked".into(),
            Detection::Missed => "missed".into(),
            Detection::NotMeasured => "—".into(),
        }
    }
}

impl Recovery {
    pub(super) fn words(self) -> String {
        match self {
            Recovery::NoHarm => "no harm".into(),
            Recovery::After(after) => gap(after),
            Recovery::NotRecovered => "never".into(),
            Recovery::NotMeasured => "—".into(),
        }
    }
}

impl Outcome {
    /// `2,431 checked, 0 lost`.
    pub(super) fn words(&self) -> String {
        let note = self.note.as_deref().unwrap_or_default();
        match self.standing {
            Standing::Vacuous => format!("vacuous: {note}"),
            Standing::Unreadable => format!("not checked: {note}"),
            Standing::Held | Standing::Broken => {
                let counts = format!("{} checked, {} {}", count(self.checked), count(self.broken), self.noun);
                if note.is_empty() { counts } else { format!("{counts} ({note})") }
            }
        }
    }
}

/// `none`, the names of the faults that are left, or that nobody knows.
pub(super) fn residue(report: &Report) -> String {
    match &report.residue {
        None => "not known".into(),
        Some(left) if left.is_empty() => "none".into(),
        Some(left) => left.join(", "),
    }
}

/// The slowest detection; none when no fault was detected by an event.
pub(super) fn slowest_detection(faults: &[FaultReport]) -> Option<(u64, &FaultReport)> {
    let after = |f: &FaultReport| if let Detection::After(ms) = f.detected { Some(ms) } else { None };
    faults.iter().filter_map(|f| after(f).map(|ms| (ms, f))).max_by_key(|(ms, _)| *ms)
}

/// The slowest recovery for users; none when no fault did harm.
pub(super) fn slowest_recovery(faults: &[FaultReport]) -> Option<(u64, &FaultReport)> {
    let after = |f: &FaultReport| if let Recovery::After(ms) = f.recovered { Some(ms) } else { None };
    faults.iter().filter_map(|f| after(f).map(|ms| (ms, f))).max_by_key(|(ms, _)| *ms)
}

/// One sentence that says it all.
pub(super) fn sentence(report: &Report) -> String {
    let others = report.reasons.len().saturating_sub(1);
    let more = if others > 0 { format!(" (and {others} more)") } else { String::new() };
    // The reason that decided: a failed drill may have doubts as well.
    let deciding = report.reasons.iter().find(|r| r.verdict == report.verdict).or_else(|| report.reasons.first());
    let first = deciding.map_or("no reason is known", |r| r.text.as_str());
    match report.verdict {
        Verdict::Fail => format!("{first}{more}"),
        Verdict::Inconclusive => format!("Nothing is proved: {first}{more}"),
        Verdict::Pass => {
            let (operations, faults) = (report.load.due, report.faults.len() as u64);
            let (operations, faults) = (things(operations, "operation"), things(faults, "fault"));
            format!("{operations} under {faults}: {}; {}.", proved(report), users(report))
        }
    }
}

/// What a reader wants to know first, in this order.
const FIRST: [&str; 3] = ["no_lost", "at_most_once", "terminal_within"];

/// `0 lost, 0 double (8 invariants held)`, of a drill that passed.
fn proved(report: &Report) -> String {
    let of = |rule: &&str| report.invariants.iter().find(|i| i.rule == *rule);
    let first: Vec<String> = FIRST.iter().filter_map(of).map(|i| format!("0 {}", i.noun)).collect();
    let held = things(report.invariants.len() as u64, "invariant");
    if first.is_empty() { format!("{held} held") } else { format!("{} ({held} held)", first.join(", ")) }
}

fn users(report: &Report) -> String {
    let never = report.faults.iter().filter(|f| f.recovered == Recovery::NotRecovered).count() as u64;
    if never > 0 {
        return format!("{} kept users badly served until the next one", things(never, "fault"));
    }
    match slowest_recovery(&report.faults) {
        None => "the service level held throughout".into(),
        Some((worst, _)) => format!("users were served well again within {}", gap(worst)),
    }
}
