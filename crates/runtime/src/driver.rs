//! The seam below the supervisor: what starts and stops workloads. Processes here; a simulation in tests; a cluster later.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use mainstay_core::{ReplicaId, WallMs};

use crate::spec::ServiceSpec;

/// A future in a box, so that a driver can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What the driver is to start.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Which replica.
    pub replica: ReplicaId,
    /// Counts the starts of this replica.
    pub incarnation: u64,
    /// What it is made from.
    pub spec: std::sync::Arc<ServiceSpec>,
}

/// One started workload. Names the process, not the place: a restarted replica is another instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which replica it is.
    pub replica: ReplicaId,
    /// Counts the starts of this replica.
    pub incarnation: u64,
    /// The process, where it is one on this machine.
    pub pid: u32,
    /// Where it is told to listen.
    pub addr: SocketAddr,
}

/// An instance that runs already when the supervisor starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// It.
    pub instance: Instance,
    /// [`ServiceSpec::hash`] of what it was made from.
    pub spec_hash: String,
    /// When it was started.
    pub started_at: WallMs,
}

/// What is sent to an instance and all its descendants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// End at once.
    Kill,
    /// Stand still.
    Freeze,
    /// Go on.
    Thaw,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// With this exit status.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It is gone, but it was not our child: nobody told us how.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status {code}"),
            ExitStatus::Signal(6) => f.write_str("signal 6, ABRT"),
            ExitStatus::Signal(9) => f.write_str("signal 9, KILL"),
            ExitStatus::Signal(11) => f.write_str("signal 11, SEGV"),
            ExitStatus::Signal(15) => f.write_str("signal 15, TERM"),
            ExitStatus::Signal(signal) => write!(f, "signal {signal}"),
            ExitStatus::Unknown => f.write_str("exit status unknown, not our child"),
        }
    }
}

/// How an orderly stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// KILL was needed.
    pub forced: bool,
}

/// Why a driver could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// Trying again is of no use before a person has acted: the program is missing, for one.
    #[error("{0}")]
    Permanent(String),
    /// It may work the next time.
    #[error("{0}")]
    Transient(String),
}

/// Starts, stops and watches workloads.
pub trait Driver: Send + Sync + 'static {
    /// Starts an instance; answers once its program runs.
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Instance, DriverError>>;

    /// Ends it and its descendants in an orderly way: TERM, at most `grace`, KILL. Answers once all are gone.
    fn stop(&self, instance: &Instance, grace: Duration) -> BoxFuture<'_, Result<Stopped, DriverError>>;

    /// Signals it and its descendants. Does nothing to what has ended, and nothing ever to a foreign process.
    fn signal(&self, instance: &Instance, signal: Signal) -> Result<(), DriverError>;

    /// What still runs from before. Called once, before anything else; whatever of it cannot be taken over is ended.
    fn list(&self) -> BoxFuture<'_, Result<Vec<Running>, DriverError>>;

    /// Answers when it has ended, at once if it has already.
    fn watch(&self, instance: &Instance) -> BoxFuture<'static, ExitStatus>;

    /// The last lines of its output, oldest first; empty where there is none.
    fn log_tail(&self, replica: &ReplicaId, lines_max: usize) -> Vec<String>;
}
