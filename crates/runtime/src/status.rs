//! What is shown of services and replicas: a snapshot for the API and the console.

use std::net::SocketAddr;

use mainstay_core::{ReplicaId, ServiceName, WallMs};
use mainstay_detect::{Kind, Verdict};
use serde::Serialize;

/// Lines of a replica's log that are kept with its last exit.
pub(crate) const LOG_TAIL_LINES_MAX: usize = 10;

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// How many replicas there should be.
    pub wanted: u16,
    /// How many take traffic.
    pub ready: u16,
    /// Needs that have no ready replica yet, while it has not been started.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<ServiceName>,
    /// Most of its replicas failed their live probes together, so the cause is thought to lie elsewhere and restarts are
    /// made one at a time, with pauses.
    pub common_cause: bool,
    /// In the order of their numbers.
    pub replicas: Vec<ReplicaStatus>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaStatus {
    /// Which.
    pub id: ReplicaId,
    /// What it is doing.
    pub state: ReplicaState,
    /// Since when.
    pub since: WallMs,
    /// Its process.
    pub pid: Option<u32>,
    /// Where it listens.
    pub addr: Option<SocketAddr>,
    /// Which start of the replica this is.
    pub incarnation: u64,
    /// Restarts since this Mainstay started.
    pub restarts: u32,
    /// Taken over, running, from an earlier Mainstay.
    pub adopted: bool,
    /// A drill has frozen it.
    pub frozen: bool,
    /// One sentence for a person, where something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it last ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Its probes.
    pub probes: Vec<ProbeStatus>,
}

/// What a replica is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// For the services that it needs.
    Waiting,
    /// Its process is being started.
    Starting,
    /// Its process runs; it takes no traffic.
    NotReady,
    /// It takes traffic.
    Ready,
    /// It takes no new requests; those in flight finish.
    Draining,
    /// It was told to end.
    Stopping,
    /// It ended; the next start is due after a pause.
    BackOff,
    /// A drill keeps it down.
    Held,
    /// It was given up: too many restarts, or it cannot be started. A person must look.
    Failed,
    /// It was stopped, and stays so.
    Stopped,
}

/// How a replica last ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastExit {
    /// When.
    pub at: WallMs,
    /// `exit status 1`, `signal 9, KILL`, or why it could not be started.
    pub status: String,
    /// The last lines that it wrote, oldest first.
    pub log_tail: Vec<String>,
}

/// One probe of a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeStatus {
    /// What it asks.
    pub kind: Kind,
    /// What its results so far mean.
    pub verdict: Verdict,
    /// Failures since the last success.
    pub failures: u32,
    /// What the last failure was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
