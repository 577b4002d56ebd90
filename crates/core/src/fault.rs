//! Faults that a drill puts into the system. Each is a lease: whoever carries it out drops it by itself when nobody
//! renews it, so that no fault outlives the drill that wanted it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{ReplicaId, ServiceName};
use crate::unit::{Share, Span};

/// Longest time a fault may live without being renewed.
pub const FAULT_TTL_MAX: Duration = Duration::from_secs(600);

/// Names a fault while it lasts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub String);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A fault and how long it lasts unless it is renewed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// What is done, and to whom.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Time to live.
    pub ttl: Span,
}

/// What is done, and to whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum FaultKind {
    /// SIGKILL to one replica, once.
    Kill {
        /// Whom.
        replica: ReplicaId,
    },
    /// SIGSTOP to one replica for as long as the lease lasts.
    Freeze {
        /// Whom.
        replica: ReplicaId,
    },
    /// Every replica of the service is killed and none is started again while the lease lasts.
    Down {
        /// Whom.
        service: ServiceName,
    },
    /// An effect on a share of the calls to a service.
    Edge {
        /// The service whose answers are spoilt.
        service: ServiceName,
        /// Only calls to this replica.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replica: Option<ReplicaId>,
        /// Share of the attempts that are hit.
        share: Share,
        /// What happens to them.
        effect: EdgeEffect,
    },
}

/// What happens to an attempt that an edge fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
pub enum EdgeEffect {
    /// The attempt waits before it is sent.
    Delay {
        /// How long.
        by: Span,
    },
    /// The attempt is answered with this status and never sent.
    Error {
        /// HTTP status, 400 to 599.
        status: u16,
    },
    /// The attempt is sent and the service acts, but its answer is thrown away and the connection counts as reset.
    LoseResponse,
}

impl FaultKind {
    /// The service that is hurt.
    pub fn service(&self) -> &ServiceName {
        match self {
            FaultKind::Kill { replica } | FaultKind::Freeze { replica } => &replica.service,
            FaultKind::Down { service } | FaultKind::Edge { service, .. } => service,
        }
    }

    /// The replica that is hurt, where it is just one.
    pub fn replica(&self) -> Option<&ReplicaId> {
        match self {
            FaultKind::Kill { replica } | FaultKind::Freeze { replica } => Some(replica),
            FaultKind::Down { .. } => None,
            FaultKind::Edge { replica, .. } => replica.as_ref(),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Kill { replica } => write!(f, "kill {replica}"),
            FaultKind::Freeze { replica } => write!(f, "freeze {replica}"),
            FaultKind::Down { service } => write!(f, "{service} down"),
            FaultKind::Edge { service, replica, share, effect } => {
                match replica {
                    Some(replica) => write!(f, "{replica}: ")?,
                    None => write!(f, "{service}: ")?,
                }
                match effect {
                    EdgeEffect::Delay { by } => write!(f, "{by} delay on {share}"),
                    EdgeEffect::Error { status } => write!(f, "{status} to {share}"),
                    EdgeEffect::LoseResponse => write!(f, "response lost on {share}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_plain_json() {
        let text =
            r#"{"fault":"edge","service":"payment","share":"30%","effect":{"effect":"error","status":503},"ttl":"5s"}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.kind.to_string(), "payment: 503 to 30%");
        assert_eq!(serde_json::to_string(&fault).unwrap(), text);
    }
}
