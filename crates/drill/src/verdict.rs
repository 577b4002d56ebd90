//! The verdict, from the evidence alone.
//!
//! What is broken is broken however little happened: a lost order fails the drill even when the load was not held.
//! What was *measured* counts only when there was enough to measure; and a drill in which too little happened is
//! INCONCLUSIVE, never PASS.

use std::time::Duration;

use mainstay_core::{Event, EventKind, LeaseId, Phase, WallMs};

use crate::faults::FaultRecord;
use crate::history::History;
use crate::invariant::{FinalState, Outcome, Standing};
use crate::measure::{Attribution, Parts, Timeline, fault_report, levels, load_report, series};
use crate::plan::PlannedFault;
use crate::progress::DrillPhase;
use crate::report::{
    Detection, EventReport, FaultReport, Levels, LoadReport, Recovery, Report, Verdict, VerdictReason,
};
use crate::run::Settled;
use crate::spec::Spec;

/// Share of the arrivals that must be sent, and in time, in percent.
const HELD_PERCENT_MIN: u64 = 90;

/// Everything that is known at the end of a run.
#[derive(Debug, Clone)]
pub(crate) struct Evidence {
    pub(crate) spec: Spec,
    /// Why the run did not begin.
    pub(crate) preflight: Result<(), String>,
    pub(crate) faults: Vec<(PlannedFault, FaultRecord)>,
    pub(crate) started: WallMs,
    pub(crate) cleared: Duration,
    pub(crate) ended: Duration,
    pub(crate) aborted: bool,
    pub(crate) load_broke: bool,
    pub(crate) history: History,
    pub(crate) events: Vec<Event>,
    pub(crate) events_dropped: u64,
    pub(crate) settled: Settled,
    pub(crate) final_state: Result<FinalState, String>,
    pub(crate) residue: Result<Vec<LeaseId>, String>,
    pub(crate) history_error: Option<String>,
    pub(crate) phases: Vec<(DrillPhase, WallMs)>,
}

impl Evidence {
    /// A run that did not begin.
    pub(crate) fn nothing(spec: &Spec, now: WallMs, why: String) -> Self {
        Self {
            spec: spec.clone(),
            preflight: Err(why.clone()),
            faults: Vec::new(),
            started: now,
            cleared: Duration::ZERO,
            ended: Duration::ZERO,
            aborted: false,
            load_broke: false,
            history: History::default(),
            events: Vec::new(),
            events_dropped: 0,
            settled: Settled::unknown(),
            final_state: Err(why),
            residue: Err("nothing was put in".into()),
            history_error: None,
            phases: Vec::new(),
        }
    }

    fn parts(&self) -> Parts {
        let from = |(_, record): &(PlannedFault, FaultRecord)| record.from;
        let first = self.faults.iter().filter_map(from).min();
        let offset = |wall: WallMs| Duration::from_millis((wall - self.started).max(0) as u64);
        Parts {
            warm: self.spec.load.warm_up.0,
            first_fault: first.map_or(self.cleared, offset).min(self.cleared),
            cleared: self.cleared,
            ended: self.ended,
        }
    }
}

/// What speaks against a pass.
#[derive(Default)]
struct Against {
    /// Broken, whatever was measured.
    broken: Vec<String>,
    /// Measured, and worse than expected.
    missed: Vec<String>,
    /// Too little to say anything.
    doubts: Vec<String>,
}

/// Turns the evidence into the report.
pub(crate) fn judge(evidence: Evidence) -> Report {
    let parts = evidence.parts();
    let timeline = Timeline::new(&evidence.history.operations);
    let attribution = Attribution {
        faults: &evidence.faults,
        events: &evidence.events,
        windows: &evidence.spec.windows,
        needs: &evidence.spec.needs,
        started: evidence.started,
        ended: evidence.ended,
    };
    let count = evidence.faults.len();
    let faults: Vec<FaultReport> = (0..count).map(|at| fault_report(&attribution, &timeline, at)).collect();
    let invariants = check_invariants(&evidence);
    let load = load_report(&evidence.history, parts);
    let levels = levels(&evidence.history, parts);

    let mut against = Against::default();
    weigh_run(&evidence, &mut against);
    weigh_load(&evidence, &load, &faults, &mut against);
    let held = against.doubts.is_empty();
    // What was lost comes before what was left over.
    let rest = std::mem::take(&mut against.broken);
    weigh_invariants(&invariants, &mut against);
    against.broken.extend(rest);
    weigh_expectations(&evidence.spec, &levels, &faults, &mut against);
    let (verdict, reasons) = sum_up(against, held, evidence.aborted || evidence.preflight.is_err());

    let started = evidence.started;
    let last = evidence.history.operations.iter().filter_map(|op| op.done).max().unwrap_or_default();
    Report {
        verdict,
        reasons,
        started,
        duration_ms: last.max(evidence.ended).as_millis() as u64,
        phases: evidence.phases.iter().map(|(phase, at)| (*phase, at - started)).collect(),
        load,
        levels,
        faults,
        invariants,
        events: evidence.events.iter().map(|e| event_report(&attribution, e)).collect(),
        false_detections: attribution.false_detections(),
        residue: evidence.residue.as_ref().ok().map(|r| r.iter().map(|l| l.0.clone()).collect()),
        series: series(&evidence.history, evidence.ended),
        spec: evidence.spec,
    }
}

fn event_report(attribution: &Attribution<'_>, event: &Event) -> EventReport {
    let target = event.kind.replica().map(ToString::to_string);
    EventReport {
        at_ms: event.at - attribution.started,
        wall_ms: event.at,
        // In a drill a start of Mainstay is its recovery from having been killed.
        phase: if matches!(event.kind, EventKind::Started { .. }) { Phase::Recover } else { event.kind.phase() },
        severity: event.kind.severity(),
        kind: kind_word(event),
        target: target.or_else(|| event.kind.service().map(ToString::to_string)),
        text: event.kind.to_string(),
        fault: attribution.fault_of(event).map(|at| at + 1),
    }
}

/// The word of the event in the log.
fn kind_word(event: &Event) -> String {
    let value = serde_json::to_value(&event.kind).unwrap_or_default();
    value.get("kind").and_then(|k| k.as_str()).unwrap_or_default().to_owned()
}

fn check_invariants(evidence: &Evidence) -> Vec<Outcome> {
    let check = |invariant: &crate::invariant::Invariant| match &evidence.final_state {
        Ok(state) => invariant.check(&evidence.history, state),
        Err(why) => {
            let mut outcome = invariant.check(&History::default(), &FinalState::default());
            outcome.standing = Standing::Unreadable;
            outcome.note = Some(why.clone());
            outcome
        }
    };
    evidence.spec.invariants.iter().map(check).collect()
}

fn weigh_run(evidence: &Evidence, against: &mut Against) {
    if let Err(why) = &evidence.preflight {
        against.doubts.push(why.clone());
        return;
    }
    if evidence.aborted {
        against.doubts.push("the drill was aborted; all faults were removed".into());
    }
    match &evidence.residue {
        Ok(leases) if leases.is_empty() => {}
        Ok(leases) => {
            let names: Vec<&str> = leases.iter().map(|l| l.0.as_str()).collect();
            against.broken.push(format!("residue: faults are still in force: {}", names.join(", ")));
        }
        Err(why) => against.doubts.push(format!("nobody knows whether faults are left: {why}")),
    }
    if !evidence.aborted {
        weigh_settling(evidence, against);
    }
    if evidence.events_dropped > 0 {
        against.doubts.push(format!("{} events came after the bound and were not kept", evidence.events_dropped));
    }
    if let Some(why) = &evidence.history_error {
        against.doubts.push(format!("the history could not be written: {why}"));
    }
}

fn weigh_settling(evidence: &Evidence, against: &mut Against) {
    let (settled, max) = (&evidence.settled, evidence.spec.settle_max);
    if settled.served_well == Some(false) {
        against.missed.push(format!("users were not served well again within {max} after all faults were removed"));
    }
    if !settled.missing.is_empty() {
        let names: Vec<String> = settled.missing.iter().map(ToString::to_string).collect();
        against.broken.push(format!("not ready again within {max}: {}", names.join(", ")));
    }
    match settled.open {
        Some(0) => {}
        Some(open) => against.broken.push(format!("{open} transactions are still open after {max}")),
        None => against.doubts.push("nobody knows whether transactions are open: the state could not be read".into()),
    }
}

fn weigh_load(evidence: &Evidence, load: &LoadReport, faults: &[FaultReport], against: &mut Against) {
    if evidence.preflight.is_err() {
        return;
    }
    let in_time = load.sent - load.late;
    if load.due == 0 || in_time * 100 < load.due * HELD_PERCENT_MIN {
        against.doubts.push(format!("the load was not held: {in_time} of {} operations sent in time", load.due));
    }
    if evidence.load_broke {
        against.doubts.push("the load generator broke".into());
    }
    let met_min = evidence.spec.met_min;
    if load.met_faults < met_min && !faults.is_empty() {
        against.doubts.push(format!("only {} operations met a fault; {met_min} are needed", load.met_faults));
    }
    if faults.is_empty() {
        against.doubts.push("no fault was planned: nothing was proved".into());
    }
    for fault in faults {
        match (&fault.error, fault.at_ms) {
            (Some(why), None) => against.doubts.push(format!("{}: could not be put in: {why}", fault.what)),
            (Some(why), Some(_)) => against.doubts.push(format!("{}: {why}", fault.what)),
            (None, None) => against.doubts.push(format!("{}: its time never came", fault.what)),
            (None, Some(_)) if fault.arrivals == 0 => {
                against.doubts.push(format!("{}: no operation met it", fault.what));
            }
            _ => {}
        }
    }
}

fn weigh_invariants(invariants: &[Outcome], against: &mut Against) {
    if invariants.is_empty() {
        against.doubts.push("no invariant was asked for: nothing was proved".into());
    }
    for outcome in invariants {
        let note = outcome.note.as_deref().unwrap_or("no reason is known");
        match outcome.standing {
            Standing::Held => {}
            Standing::Broken => {
                let example = outcome.counterexample.as_ref().map_or(note, |c| &c.what);
                let (broken, noun, checked) = (outcome.broken, outcome.noun, outcome.checked);
                against.broken.push(format!("{}: {broken} {noun} of {checked} checked; {example}", outcome.name));
            }
            Standing::Vacuous => against.doubts.push(format!("{}: vacuous: {note}", outcome.name)),
            Standing::Unreadable => against.doubts.push(format!("{}: not checked: {note}", outcome.name)),
        }
    }
}

fn weigh_expectations(spec: &Spec, levels: &Levels, faults: &[FaultReport], against: &mut Against) {
    let level = &levels.faults;
    if let Some(wanted) = spec.expect.availability {
        match level.availability {
            None => against.doubts.push("availability: not measurable, nothing arrived under faults".into()),
            Some(got) if got < wanted.ratio() => {
                against.missed.push(format!("availability under faults is {:.2} %, expected {wanted}", got * 100.0));
            }
            Some(_) => {}
        }
    }
    if let Some(wanted) = spec.expect.p99 {
        match level.p99_ms {
            None => against.doubts.push("p99: not measurable, nothing was answered under faults".into()),
            Some(got) if got > wanted.0.as_secs_f64() * 1000.0 => {
                against.missed.push(format!("p99 under faults is {got:.0} ms, expected {wanted}"));
            }
            Some(_) => {}
        }
    }
    for fault in faults.iter().filter(|f| f.at_ms.is_some()) {
        weigh_fault(spec, fault, against);
    }
}

fn weigh_fault(spec: &Spec, fault: &FaultReport, against: &mut Against) {
    if let Some(wanted) = spec.expect.detect_within {
        match fault.detected {
            Detection::After(ms) if u128::from(ms) > wanted.0.as_millis() => {
                against.missed.push(format!("{}: detected after {ms} ms, expected {wanted}", fault.what));
            }
            Detection::Missed => against.missed.push(format!("{}: never detected", fault.what)),
            Detection::NotMeasured => against.doubts.push(format!("{}: detection not measurable", fault.what)),
            Detection::After(_) | Detection::Masked => {}
        }
    }
    if let Some(wanted) = spec.expect.recover_within {
        match fault.recovered {
            Recovery::After(ms) if u128::from(ms) > wanted.0.as_millis() => {
                against.missed.push(format!("{}: users served well after {ms} ms, expected {wanted}", fault.what));
            }
            Recovery::NotRecovered => {
                against.missed.push(format!("{}: users were not served well before the next fault", fault.what));
            }
            Recovery::NotMeasured => against.doubts.push(format!("{}: recovery not measurable", fault.what)),
            Recovery::After(_) | Recovery::NoHarm => {}
        }
    }
}

fn sum_up(against: Against, held: bool, cut_short: bool) -> (Verdict, Vec<VerdictReason>) {
    let verdict = match () {
        () if cut_short => Verdict::Inconclusive,
        () if !against.broken.is_empty() => Verdict::Fail,
        () if held && !against.missed.is_empty() => Verdict::Fail,
        () if !against.doubts.is_empty() || !against.missed.is_empty() => Verdict::Inconclusive,
        () => Verdict::Pass,
    };
    let fails = against.broken.into_iter().chain(against.missed).map(|text| (Verdict::Fail, text));
    let doubts = against.doubts.into_iter().map(|text| (Verdict::Inconclusive, text));
    (verdict, fails.chain(doubts).map(|(verdict, text)| VerdictReason { verdict, text }).collect())
}

#[cfg(test)]
mod tests;
