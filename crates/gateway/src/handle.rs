//! What the rest of Mainstay may do to the running data plane.

use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_core::{LeaseId, ReplicaId};

use crate::caller::Caller;
use crate::core::Core;
use crate::snapshot::{EdgeFault, ListenerId, Snapshot};
use crate::stats::Stats;

/// Most edge faults at once.
pub const FAULTS_MAX: usize = 100;

/// Why a fault was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// There are too many already.
    #[error("there are {FAULTS_MAX} faults already: clear one first")]
    TooMany,
}

/// Steers the data plane and reads its counters. Cheap to clone; works before, while and after it runs.
#[derive(Clone)]
pub struct Handle {
    core: Arc<Core>,
}

impl Handle {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// Where each listener really listens.
    pub fn addresses(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.core.addresses.clone()
    }

    /// Replaces routes and policies. Requests that have begun keep those that they began with.
    pub fn publish(&self, snapshot: Snapshot) {
        self.core.snapshot.send_replace(Arc::new(snapshot));
    }

    /// Puts a fault on the calls to a service, or replaces the one with the same lease.
    pub fn inject(&self, fault: EdgeFault) -> Result<(), InjectError> {
        self.core.inject(fault)
    }

    /// Ends a fault; `false` if there was none with that lease.
    pub fn clear(&self, lease: &LeaseId) -> bool {
        self.core.clear(lease)
    }

    /// Attempts on their way to a replica now.
    pub fn in_flight(&self, replica: &ReplicaId) -> u64 {
        self.core.in_flight(replica)
    }

    /// Everything that was counted.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// For the control plane's own calls.
    pub fn caller(&self) -> Caller {
        self.core.caller()
    }
}
