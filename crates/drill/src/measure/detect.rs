//! Which events answer which fault, and how soon.
//!
//! A fault *explains* the events that name its target from the moment it took effect until a while after its end.
//! It is *detected* by the first of them that says something is wrong (an exit, a failing probe, an endpoint taken
//! out, a budget used up), or, when Mainstay itself was killed, by the start of its successor. Events that Mainstay
//! ascribes to the drill itself or to a person's request are no detection.
//!
//! A fault on an edge is *masked* when no event names its target and, while it lasted, users were served within the
//! objective all the same: retries did what was needed and nothing had to be decided.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::{Cause, Event, EventKind, FaultKind, ReplicaId, ServiceName, WallMs};

use super::Timeline;
use crate::faults::FaultRecord;
use crate::plan::{Action, PlannedFault};
use crate::report::{Detection, FaultReport, Recovery};
use crate::spec::Windows;

/// Matches events and faults.
pub(crate) struct Attribution<'a> {
    pub(crate) faults: &'a [(PlannedFault, FaultRecord)],
    pub(crate) events: &'a [Event],
    pub(crate) windows: &'a Windows,
    pub(crate) needs: &'a BTreeMap<ServiceName, Vec<ServiceName>>,
    pub(crate) started: WallMs,
    pub(crate) ended: Duration,
}

impl Attribution<'_> {
    /// The last wall time at which fault `at` explains anything.
    fn explains_until(&self, record: &FaultRecord) -> WallMs {
        match record.until {
            Some(until) => until + self.windows.explains.0.as_millis() as WallMs,
            None => WallMs::MAX,
        }
    }

    fn explains(&self, at: usize, event: &Event) -> bool {
        let (fault, record) = &self.faults[at];
        let Some(from) = record.from else { return false };
        event.at >= from && event.at <= self.explains_until(record) && names_target(&fault.action, &event.kind)
    }

    /// The latest fault that explains `event`.
    pub(crate) fn fault_of(&self, event: &Event) -> Option<usize> {
        (0..self.faults.len()).rev().find(|at| self.explains(*at, event))
    }

    /// Events of the run that say something is wrong with what no fault explains.
    pub(crate) fn false_detections(&self) -> u64 {
        let last = self.started + self.ended.as_millis() as WallMs;
        let of_run = |e: &&Event| e.at >= self.started && e.at <= last;
        let wrong = |e: &&Event| says_wrong(&e.kind) && self.fault_of(e).is_none() && !self.follows(e);
        self.events.iter().filter(of_run).filter(wrong).count() as u64
    }

    /// Whether `event` is about a service that calls, directly or not, one that is hurt: it fails because the other does.
    /// That explains the event; it detects nothing.
    fn follows(&self, event: &Event) -> bool {
        let Some(caller) = event.kind.service() else { return false };
        self.faults.iter().any(|(fault, record)| {
            let Action::Fault(kind) = &fault.action else { return false };
            let lasts = record.from.is_some_and(|from| event.at >= from) && event.at <= self.explains_until(record);
            lasts && self.calls(caller, kind.service())
        })
    }

    fn calls(&self, caller: &ServiceName, callee: &ServiceName) -> bool {
        // `needs` has no cycle: the file is refused otherwise.
        self.needs.get(caller).is_some_and(|needed| needed.iter().any(|n| n == callee || self.calls(n, callee)))
    }

    fn offset(&self, wall: WallMs) -> Duration {
        Duration::from_millis(wall.saturating_sub(self.started).max(0) as u64)
    }

    /// Until when what happens is this fault's doing: the next fault's start, or the end of the load. A fault that
    /// starts within one window of this one cannot be told apart from it: the two are one hurt.
    fn horizon(&self, at: usize) -> Duration {
        let apart = self.windows.window.0.as_millis() as WallMs;
        let Some(from) = self.faults[at].1.from else { return self.ended };
        let later = self.faults.iter().filter_map(|(_, r)| r.from).filter(|f| *f >= from + apart).min();
        later.map_or(self.ended, |f| self.offset(f))
    }
}

/// Everything about fault number `at`.
pub(crate) fn fault_report(attribution: &Attribution<'_>, timeline: &Timeline, at: usize) -> FaultReport {
    let (fault, record) = &attribution.faults[at];
    let mut report = FaultReport {
        what: fault.action.to_string(),
        planned_ms: fault.at.as_millis() as u64,
        at_ms: record.from.map(|f| f - attribution.started),
        until_ms: record.until.map(|u| u - attribution.started),
        error: record.error.clone(),
        detected: Detection::NotMeasured,
        isolated_ms: None,
        recovered: Recovery::NotMeasured,
        redundancy_ms: None,
        arrivals: 0,
        bad: 0,
    };
    let Some(from) = record.from else { return report };
    let events: Vec<&Event> = attribution.events.iter().filter(|e| attribution.explains(at, e)).collect();
    let (start, horizon) = (attribution.offset(from), attribution.horizon(at));
    let until = record.until.map_or(attribution.ended, |u| attribution.offset(u));
    let (arrivals, good) = timeline.count(start, horizon);
    (report.arrivals, report.bad) = (arrivals, arrivals - good);
    report.recovered = timeline.recovery(start, until, horizon, attribution.windows);

    let noticed = |e: &&&Event| {
        let speaks = match fault.action {
            Action::KillMainstay => matches!(e.kind, EventKind::Started { .. }),
            Action::Fault(_) => says_wrong(&e.kind),
        };
        speaks && attribution.fault_of(e) == Some(at)
    };
    report.detected = match events.iter().find(noticed) {
        Some(event) => Detection::After((event.at - from) as u64),
        None if is_masked(attribution, timeline, &fault.action, start, until) => Detection::Masked,
        None => Detection::Missed,
    };
    let (isolated, restored) = rotation(attribution, at, &events);
    report.isolated_ms = isolated.map(|at| (at - from) as u64);
    report.redundancy_ms = restored.map(|at| (at - from) as u64);
    report
}

fn is_masked(a: &Attribution<'_>, timeline: &Timeline, action: &Action, from: Duration, until: Duration) -> bool {
    let (all, good) = timeline.count(from, until);
    matches!(action, Action::Fault(FaultKind::Edge { .. }))
        && all > 0
        && good * 10_000 >= all * u64::from(a.windows.good.points())
}

/// When the last of the replicas that were taken out was taken out first, and when the last of them was back. None
/// where none was taken out, or not all came back. What a later fault takes out is the later fault's; what comes back
/// after it has come back for both.
fn rotation(a: &Attribution<'_>, at: usize, events: &[&Event]) -> (Option<WallMs>, Option<WallMs>) {
    let mut out: BTreeMap<&ReplicaId, (WallMs, Option<WallMs>)> = BTreeMap::new();
    for event in events {
        let Some(replica) = event.kind.replica() else { continue };
        match event.kind {
            EventKind::ReplicaNotReady { .. }
            | EventKind::EndpointEjected { .. }
            | EventKind::ReplicaExited { .. }
            | EventKind::ReplicaFailed { .. }
                if a.fault_of(event) == Some(at) =>
            {
                out.entry(replica).or_insert((event.at, None)).1 = None;
            }
            EventKind::ReplicaReady { .. } | EventKind::EndpointReturned { .. } => {
                if let Some((_, back)) = out.get_mut(replica) {
                    back.get_or_insert(event.at);
                }
            }
            _ => {}
        }
    }
    let isolated = out.values().map(|(at, _)| *at).max();
    let all_back: Option<Vec<WallMs>> = out.values().map(|(_, back)| *back).collect();
    (isolated, all_back.and_then(|times| times.into_iter().max()))
}

/// Whether the event is about what `action` hurts.
fn names_target(action: &Action, event: &EventKind) -> bool {
    let Action::Fault(fault) = action else {
        return matches!(
            event,
            EventKind::Started { .. } | EventKind::ReplicaAdopted { .. } | EventKind::TransactionsRecovered { .. }
        );
    };
    // An edge fault spoils calls, not processes: an exit meanwhile is something else.
    let of_calls = matches!(
        event,
        EventKind::EndpointEjected { .. }
            | EventKind::EndpointReturned { .. }
            | EventKind::RetryBudgetExhausted { .. }
            | EventKind::FaultInjected { .. }
            | EventKind::FaultCleared { .. }
    );
    if matches!(fault, FaultKind::Edge { .. }) && !of_calls {
        return false;
    }
    match (fault.replica(), event.replica()) {
        (Some(hurt), Some(named)) => hurt == named,
        _ => event.service() == Some(fault.service()),
    }
}

/// Whether the event says that something is wrong, by Mainstay's own finding.
fn says_wrong(event: &EventKind) -> bool {
    let found = |cause: &Cause| !matches!(cause, Cause::Drill | Cause::Requested | Cause::Changed);
    match event {
        EventKind::ReplicaNotReady { cause, .. } | EventKind::EndpointEjected { cause, .. } => found(cause),
        EventKind::ReplicaExited { .. }
        | EventKind::ProbeFailing { .. }
        | EventKind::ReplicaFailed { .. }
        | EventKind::RetryBudgetExhausted { .. } => true,
        _ => false,
    }
}
