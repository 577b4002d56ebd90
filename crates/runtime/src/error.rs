//! What can go wrong here, by what the caller can do about it.

use mainstay_core::{LeaseId, ReplicaId, ServiceName};

use crate::driver::DriverError;

/// A set of specs that cannot run. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Two services of one name.
    #[error("service '{service}' is there twice")]
    Duplicate {
        /// Its name.
        service: ServiceName,
    },
    /// Nothing to run.
    #[error("service '{service}' has no command: 'run' needs a program")]
    NoCommand {
        /// Whose.
        service: ServiceName,
    },
    /// More replicas than one machine is allowed.
    #[error("service '{service}' has too many replicas: at most {max}")]
    TooManyReplicas {
        /// Whose.
        service: ServiceName,
        /// The bound.
        max: u16,
    },
    /// A need that is no service.
    #[error("service '{service}' needs '{needs}', and there is no such service")]
    UnknownNeed {
        /// Whose.
        service: ServiceName,
        /// The name that is not there.
        needs: ServiceName,
    },
    /// Services that wait for each other: none could start.
    #[error("services need each other in a circle: {circle}")]
    Cycle {
        /// `a → b → a`.
        circle: String,
    },
    /// A probe that cannot work.
    #[error("service '{service}': {why}")]
    Probe {
        /// Whose.
        service: ServiceName,
        /// What is wrong.
        why: String,
    },
}

/// Why the supervisor could not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SupervisorError {
    /// The state folder cannot be used.
    #[error("cannot use the state folder: {0}")]
    State(String),
    /// The driver cannot tell what runs.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// Why a fault, or a request about a replica, was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// There is no such replica.
    #[error("there is no replica '{replica}'; there are: {known}")]
    UnknownReplica {
        /// As asked for.
        replica: ReplicaId,
        /// All there are.
        known: String,
    },
    /// There is no such service.
    #[error("there is no service '{service}'; there are: {known}")]
    UnknownService {
        /// As asked for.
        service: ServiceName,
        /// All there are.
        known: String,
    },
    /// It has no process to act on.
    #[error("{replica} does not run")]
    NotRunning {
        /// Whose process is missing.
        replica: ReplicaId,
    },
    /// Another fault has that id.
    #[error("lease '{0}' exists already")]
    Duplicate(LeaseId),
    /// It has ended, or never was.
    #[error("there is no lease '{0}': it was cleared or has expired")]
    UnknownLease(LeaseId),
    /// Zero, or longer than allowed.
    #[error("a fault lives from 1ms to 10m, renewed as long as it is wanted")]
    Ttl,
    /// Too many at once.
    #[error("at most {max} faults at once")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// A fault on an edge is the gateway's.
    #[error("a fault on an edge is for the gateway, not for the runtime")]
    Edge,
    /// The process could not be signalled, or the lease not be written.
    #[error("{0}")]
    Failed(String),
    /// The supervisor has ended or is stopping.
    #[error("the supervisor is stopping")]
    Stopping,
}
