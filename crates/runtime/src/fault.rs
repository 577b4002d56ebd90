//! Faults that a drill puts on replicas, each a lease.

use mainstay_core::{Fault, LeaseId, WallMs};
use serde::{Deserialize, Serialize};

/// A fault that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// What is done, and to whom.
    #[serde(flatten)]
    pub fault: Fault,
    /// When it ends unless it is renewed.
    pub until: WallMs,
}
