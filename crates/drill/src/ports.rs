//! How a drill reaches the system: through these traits and events alone, so that the one who judges shares nothing
//! with the one who is judged.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use mainstay_core::{Fault, LeaseId, ReplicaId, WallMs};

use crate::invariant::FinalState;

/// A future of a port: boxed, because ports are chosen at run time.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, PortError>> + Send + 'a>>;

/// Why a port did not do what it was asked to. The runner asks again where that makes sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// Longest wait for an answer of a port.
pub(crate) const PORT_ANSWER_MAX: Duration = Duration::from_secs(10);

/// Waits for `answer`, but not for ever.
pub(crate) async fn within<T>(time_max: Duration, answer: PortFuture<'_, T>) -> Result<T, PortError> {
    match tokio::time::timeout(time_max, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(PortError(format!("no answer within {} ms", time_max.as_millis()))),
    }
}

/// What the system says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspection {
    /// The replicas that take traffic now.
    pub ready: Vec<ReplicaId>,
    /// The faults that are in force now.
    pub leases: Vec<LeaseId>,
}

/// Puts faults into the system and takes them out.
pub trait Injector: Send + Sync + 'static {
    /// Which replicas take traffic, which faults are in force.
    fn inspect(&self) -> PortFuture<'_, Inspection>;

    /// Starts `fault`, which ends by itself after its time to live unless it is renewed.
    fn inject<'a>(&'a self, fault: &'a Fault) -> PortFuture<'a, LeaseId>;

    /// Starts the time to live anew. `false` when the lease is not known (any more).
    fn renew<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool>;

    /// Ends a fault. `false` when the lease is not known (any more), which is as good.
    fn clear<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool>;

    /// Kills Mainstay with SIGKILL and starts it again. Returns the time of the kill as soon as the new process is
    /// started; it need not be up.
    fn kill_mainstay(&self) -> PortFuture<'_, WallMs>;
}

/// Reads what the system holds.
pub trait StateReader: Send + Sync + 'static {
    /// How many transactions are not terminal.
    fn open(&self) -> PortFuture<'_, u64>;

    /// The audit of every service, and every transaction whose key starts with `key_prefix`.
    fn read<'a>(&'a self, key_prefix: &'a str) -> PortFuture<'a, FinalState>;
}
