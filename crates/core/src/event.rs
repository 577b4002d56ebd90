//! Everything Mainstay notices or does is one typed event on one bounded bus; log, metrics, console and drill subscribe.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::{Clock, WallMs};
use crate::id::{ReplicaId, ServiceName, TransactionId};

/// How many events the bus remembers for those who come later; also how far a slow subscriber may fall behind.
pub const EVENTS_KEPT_MAX: usize = 4096;

/// Which turn of the loop an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Something was noticed.
    Detect,
    /// Harm was kept from spreading.
    Isolate,
    /// Something was put right.
    Recover,
    /// It was seen to be right again.
    Verify,
    /// Neither: start, stop, a fault of a drill.
    Info,
}

/// How much a person should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Handled, but not normal.
    Warn,
    /// Needs a person, or users are hurt.
    Error,
}

/// Why an endpoint was taken out or a replica restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The process ended.
    Exit,
    /// The startup probe never succeeded.
    StartupProbe,
    /// The ready probe failed.
    ReadyProbe,
    /// The live probe failed.
    LiveProbe,
    /// Calls to it failed one after the other.
    ConsecutiveFailures,
    /// Too many of the calls to it failed.
    FailureRate,
    /// It was much slower than its peers.
    Latency,
    /// Its configuration changed.
    Changed,
    /// A drill did it.
    Drill,
    /// Somebody asked for it.
    Requested,
}

impl Cause {
    /// The word in metrics and messages.
    pub const fn code(self) -> &'static str {
        match self {
            Cause::Exit => "exit",
            Cause::StartupProbe => "startup_probe",
            Cause::ReadyProbe => "ready_probe",
            Cause::LiveProbe => "live_probe",
            Cause::ConsecutiveFailures => "consecutive_failures",
            Cause::FailureRate => "failure_rate",
            Cause::Latency => "latency",
            Cause::Changed => "changed",
            Cause::Drill => "drill",
            Cause::Requested => "requested",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What happened. Closed: whoever handles events handles all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum EventKind {
    /// Mainstay is up.
    Started { app: String, adopted: u32 },
    /// Mainstay begins an orderly stop.
    Stopping,
    /// A process was started.
    ReplicaStarting { replica: ReplicaId, pid: u32 },
    /// A process that an earlier Mainstay had started was taken over, running.
    ReplicaAdopted { replica: ReplicaId, pid: u32 },
    /// A ready probe passed: it takes traffic.
    ReplicaReady { replica: ReplicaId, after_ms: u64 },
    /// It takes no more traffic.
    ReplicaNotReady { replica: ReplicaId, cause: Cause },
    /// The first failed probe of a row: not yet a verdict.
    ProbeFailing { replica: ReplicaId, probe: String, error: String },
    /// The process ended by itself.
    ReplicaExited { replica: ReplicaId, pid: u32, status: String },
    /// A restart is due.
    ReplicaRestarting { replica: ReplicaId, cause: Cause, attempt: u32, backoff_ms: u64 },
    /// Too many restarts, or it cannot be started at all (`restarts` is 0): it is left down, and a person must look.
    ReplicaFailed {
        replica: ReplicaId,
        restarts: u32,
        within_ms: u64,
        #[serde(default)]
        why: String,
    },
    /// An orderly stop began.
    ReplicaStopping { replica: ReplicaId, cause: Cause },
    /// An orderly stop ended; `forced` says that KILL was needed.
    ReplicaStopped { replica: ReplicaId, forced: bool },
    /// The gateway sends it no more traffic.
    EndpointEjected { replica: ReplicaId, cause: Cause, failures: u32, for_ms: u64 },
    /// The gateway tries it again, slowly.
    EndpointReturned { replica: ReplicaId },
    /// Retries to the service are withheld.
    RetryBudgetExhausted { service: ServiceName },
    /// A transaction is being undone.
    TransactionCompensating { transaction: TransactionId, name: String, step: String, why: String },
    /// A transaction is past its deadline and past its pivot: it goes on, but somebody should know.
    TransactionLate { transaction: TransactionId, name: String, step: String },
    /// A transaction needs a person.
    TransactionStuck { transaction: TransactionId, name: String, step: String, why: String },
    /// Open transactions of an earlier process go on.
    TransactionsRecovered { count: u64 },
    /// A drill hurts something.
    FaultInjected { lease: String, fault: String, service: ServiceName, replica: Option<ReplicaId> },
    /// A fault is over.
    FaultCleared { lease: String, fault: String, service: ServiceName, replica: Option<ReplicaId>, expired: bool },
}

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Counted from 1 by each Mainstay process.
    pub seq: u64,
    /// Which Mainstay process: its start time.
    pub boot: WallMs,
    /// When.
    pub at: WallMs,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl EventKind {
    /// The service that it is about.
    pub fn service(&self) -> Option<&ServiceName> {
        use EventKind as K;
        match self {
            K::RetryBudgetExhausted { service }
            | K::FaultInjected { service, .. }
            | K::FaultCleared { service, .. } => Some(service),
            _ => self.replica().map(|r| &r.service),
        }
    }

    /// The replica that it is about.
    pub fn replica(&self) -> Option<&ReplicaId> {
        use EventKind as K;
        match self {
            K::ReplicaStarting { replica, .. }
            | K::ReplicaAdopted { replica, .. }
            | K::ReplicaReady { replica, .. }
            | K::ReplicaNotReady { replica, .. }
            | K::ProbeFailing { replica, .. }
            | K::ReplicaExited { replica, .. }
            | K::ReplicaRestarting { replica, .. }
            | K::ReplicaFailed { replica, .. }
            | K::ReplicaStopping { replica, .. }
            | K::ReplicaStopped { replica, .. }
            | K::EndpointEjected { replica, .. }
            | K::EndpointReturned { replica } => Some(replica),
            K::FaultInjected { replica, .. } | K::FaultCleared { replica, .. } => replica.as_ref(),
            K::Started { .. }
            | K::Stopping
            | K::RetryBudgetExhausted { .. }
            | K::TransactionCompensating { .. }
            | K::TransactionLate { .. }
            | K::TransactionStuck { .. }
            | K::TransactionsRecovered { .. } => None,
        }
    }

    /// Which turn of the loop.
    pub fn phase(&self) -> Phase {
        use EventKind as K;
        match self {
            K::ProbeFailing { .. } | K::ReplicaExited { .. } | K::TransactionLate { .. } => Phase::Detect,
            K::ReplicaNotReady { .. }
            | K::EndpointEjected { .. }
            | K::ReplicaFailed { .. }
            | K::RetryBudgetExhausted { .. }
            | K::TransactionStuck { .. } => Phase::Isolate,
            K::ReplicaRestarting { .. }
            | K::ReplicaStarting { .. }
            | K::ReplicaAdopted { .. }
            | K::TransactionCompensating { .. }
            | K::TransactionsRecovered { .. } => Phase::Recover,
            K::ReplicaReady { .. } | K::EndpointReturned { .. } => Phase::Verify,
            K::Started { .. }
            | K::Stopping
            | K::ReplicaStopping { .. }
            | K::ReplicaStopped { .. }
            | K::FaultInjected { .. }
            | K::FaultCleared { .. } => Phase::Info,
        }
    }

    /// How much a person should care.
    pub fn severity(&self) -> Severity {
        use EventKind as K;
        match self {
            K::ReplicaFailed { .. } | K::TransactionStuck { .. } => Severity::Error,
            K::ProbeFailing { .. }
            | K::ReplicaNotReady { .. }
            | K::ReplicaExited { .. }
            | K::ReplicaRestarting { .. }
            | K::EndpointEjected { .. }
            | K::RetryBudgetExhausted { .. }
            | K::TransactionCompensating { .. }
            | K::TransactionLate { .. }
            | K::FaultInjected { .. } => Severity::Warn,
            _ => Severity::Info,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EventKind as K;
        match self {
            K::Started { app, adopted: 0 } => write!(f, "{app} is up"),
            K::Started { app, adopted } => write!(f, "{app} is up; {adopted} running replicas adopted"),
            K::Stopping => f.write_str("stopping"),
            K::ReplicaStarting { replica, pid } => write!(f, "{replica} started (pid {pid})"),
            K::ReplicaAdopted { replica, pid } => write!(f, "{replica} adopted, still running (pid {pid})"),
            K::ReplicaReady { replica, after_ms } => write!(f, "{replica} ready after {}", seconds(*after_ms)),
            K::ReplicaNotReady { replica, cause } => write!(f, "{replica} out of rotation ({cause})"),
            K::ProbeFailing { replica, probe, error } => write!(f, "{replica} fails its {probe} probe: {error}"),
            K::ReplicaExited { replica, pid, status } => write!(f, "{replica} ended (pid {pid}, {status})"),
            K::ReplicaRestarting { replica, cause, attempt, backoff_ms } => {
                write!(f, "{replica} restart #{attempt} in {} ({cause})", seconds(*backoff_ms))
            }
            K::ReplicaFailed { replica, restarts: 0, why, .. } => write!(f, "{replica} is left down: {why}"),
            K::ReplicaFailed { replica, restarts, within_ms, why } => {
                write!(f, "{replica} is left down after {restarts} restarts within {}: {why}", seconds(*within_ms))
            }
            K::ReplicaStopping { replica, cause } => write!(f, "{replica} stopping ({cause})"),
            K::ReplicaStopped { replica, forced: false } => write!(f, "{replica} stopped"),
            K::ReplicaStopped { replica, forced: true } => write!(f, "{replica} killed: it did not stop in time"),
            K::EndpointEjected { replica, cause, failures, for_ms } => {
                write!(f, "{replica} ejected for {} after {failures} failures ({cause})", seconds(*for_ms))
            }
            K::EndpointReturned { replica } => write!(f, "{replica} back in rotation, slowly"),
            K::RetryBudgetExhausted { service } => write!(f, "{service}: retry budget used up"),
            K::TransactionCompensating { transaction, name, step, why } => {
                write!(f, "{name} {transaction} undone from step {step}: {why}")
            }
            K::TransactionLate { transaction, name, step } => {
                write!(f, "{name} {transaction} is past its deadline at step {step}, and goes on")
            }
            K::TransactionStuck { transaction, name, step, why } => {
                write!(f, "{name} {transaction} stuck at step {step}: {why}")
            }
            K::TransactionsRecovered { count } => write!(f, "{count} open transactions go on"),
            K::FaultInjected { fault, .. } => write!(f, "drill: {fault}"),
            K::FaultCleared { fault, expired: false, .. } => write!(f, "drill: {fault} is over"),
            K::FaultCleared { fault, expired: true, .. } => write!(f, "drill: {fault} expired, nobody renewed it"),
        }
    }
}

fn seconds(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", ms as f64 / 1000.0) }
}

/// The bus: publish from anywhere, subscribe from anywhere, never wait.
///
/// A subscriber that falls more than [`EVENTS_KEPT_MAX`] behind loses the oldest and is told so by its receiver.
#[derive(Clone)]
pub struct EventBus {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    boot: WallMs,
    sender: broadcast::Sender<Arc<Event>>,
    kept: Mutex<Kept>,
}

struct Kept {
    next_seq: u64,
    events: VecDeque<Arc<Event>>,
}

impl EventBus {
    /// An empty bus that stamps events with `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (sender, _) = broadcast::channel(EVENTS_KEPT_MAX);
        let boot = clock.wall_ms();
        let kept = Mutex::new(Kept { next_seq: 1, events: VecDeque::new() });
        Self { shared: Arc::new(Shared { clock, boot, sender, kept }) }
    }

    /// The start time of this process, which every event carries.
    pub fn boot(&self) -> WallMs {
        self.shared.boot
    }

    /// Stamps and hands out `kind`.
    pub fn publish(&self, kind: EventKind) {
        let mut kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let event =
            Arc::new(Event { seq: kept.next_seq, boot: self.shared.boot, at: self.shared.clock.wall_ms(), kind });
        kept.next_seq += 1;
        if kept.events.len() == EVENTS_KEPT_MAX {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        // Sent under the lock, so that subscribers see events in the order of their numbers.
        // An error only says that nobody listens.
        let _ = self.shared.sender.send(event);
    }

    /// What is remembered with a number above `seq`, and everything after it: nothing is missed, nothing comes twice.
    pub fn subscribe_since(&self, seq: u64) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let past = kept.events.iter().filter(|e| e.seq > seq).cloned().collect();
        (past, self.shared.sender.subscribe())
    }

    /// What is remembered, oldest first.
    pub fn recent(&self) -> Vec<Arc<Event>> {
        self.subscribe_since(0).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn the_bus_remembers_a_bounded_past_and_misses_nothing() {
        let bus = EventBus::new(Arc::new(SystemClock));
        for _ in 0..EVENTS_KEPT_MAX + 10 {
            bus.publish(EventKind::Stopping);
        }
        let (past, mut live) = bus.subscribe_since(EVENTS_KEPT_MAX as u64);
        assert_eq!(past.iter().map(|e| e.seq).collect::<Vec<_>>(), (4097..=4106).collect::<Vec<_>>());
        assert_eq!(bus.recent().len(), EVENTS_KEPT_MAX);
        bus.publish(EventKind::Stopping);
        assert_eq!(live.try_recv().unwrap().seq, 4107);
    }

    #[test]
    fn an_event_is_flat_json() {
        let event = Event {
            seq: 1,
            boot: 5,
            at: 7,
            kind: EventKind::ReplicaNotReady { replica: "payment-1".parse().unwrap(), cause: Cause::Exit },
        };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(
            text,
            r#"{"seq":1,"boot":5,"at":7,"kind":"replica_not_ready","replica":"payment-1","cause":"exit"}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
        assert_eq!(event.kind.to_string(), "payment-1 out of rotation (exit)");
    }
}
