//! What is shown of the fleet: endpoints for the gateway, status for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::{Endpoint, EndpointSet, EndpointState, Endpoints, ServiceName};
use mainstay_detect::Kind;

use super::replica::{Phase, Replica};
use super::{Fleet, Service};
use crate::status::{ProbeStatus, ReplicaState, ReplicaStatus, ServiceStatus};

impl Fleet {
    /// Every process that has an address.
    pub(crate) fn endpoints(&self) -> Endpoints {
        let endpoint = |replica: &Replica| {
            let (run, state) = (replica.run.as_ref()?, replica.endpoint()?);
            let (addr, incarnation) = (run.instance.addr, run.instance.incarnation);
            Some(Endpoint { replica: replica.id.clone(), addr, state, incarnation })
        };
        let set = |service: &Service| {
            Arc::new(EndpointSet { endpoints: service.replicas.iter().filter_map(endpoint).collect() })
        };
        Arc::new(self.services.iter().map(|(name, s)| (name.clone(), set(s))).collect::<BTreeMap<_, _>>())
    }

    /// Every service.
    pub(crate) fn status(&self) -> Vec<ServiceStatus> {
        self.services.values().map(|s| self.service_status(s)).collect()
    }

    fn service_status(&self, service: &Service) -> ServiceStatus {
        let waits = !service.released && service.replicas.iter().any(|r| r.phase == Phase::Waiting);
        let waiting_for = if waits { self.unmet(service) } else { Vec::new() };
        ServiceStatus {
            name: service.spec.name.clone(),
            wanted: service.spec.replicas,
            ready: service.replicas.iter().filter(|r| r.in_rotation()).count() as u16,
            common_cause: service.common_cause,
            replicas: service.replicas.iter().map(|r| replica_status(r, &waiting_for)).collect(),
            waiting_for,
        }
    }
}

fn replica_status(replica: &Replica, waiting_for: &[ServiceName]) -> ReplicaStatus {
    let run = replica.run.as_ref();
    let state = match replica.phase {
        Phase::Waiting => ReplicaState::Waiting,
        Phase::Starting => ReplicaState::Starting,
        Phase::Running if replica.endpoint() == Some(EndpointState::Ready) => ReplicaState::Ready,
        Phase::Running => ReplicaState::NotReady,
        Phase::Draining { .. } => ReplicaState::Draining,
        Phase::Stopping { .. } => ReplicaState::Stopping,
        Phase::BackOff { .. } => ReplicaState::BackOff,
        Phase::Held => ReplicaState::Held,
        Phase::Failed => ReplicaState::Failed,
        Phase::Stopped => ReplicaState::Stopped,
    };
    let probe = |kind: Kind| {
        let run = run?;
        let probe = run.probes.get(kind)?;
        let (verdict, failures) = (probe.verdict(), probe.failures_in_row());
        Some(ProbeStatus { kind, verdict, failures, error: run.errors[kind as usize].clone() })
    };
    ReplicaStatus {
        id: replica.id.clone(),
        state,
        since: replica.since,
        pid: run.map(|r| r.instance.pid),
        addr: run.map(|r| r.instance.addr),
        incarnation: replica.incarnation,
        restarts: replica.restarts,
        adopted: run.is_some_and(|r| r.adopted),
        frozen: run.is_some_and(|r| r.frozen),
        message: message(replica, state, waiting_for),
        last_exit: replica.last_exit.clone(),
        probes: Kind::ALL.into_iter().filter_map(probe).collect(),
    }
}

/// One sentence for a person, where something is not as it should be.
fn message(replica: &Replica, state: ReplicaState, waiting_for: &[ServiceName]) -> Option<String> {
    let probe_error = |kind: Kind| {
        let error = replica.run.as_ref()?.errors[kind as usize].as_ref()?;
        Some(format!("{} probe: {error}", kind.name()))
    };
    match state {
        ReplicaState::Waiting if !waiting_for.is_empty() => {
            let names: Vec<&str> = waiting_for.iter().map(ServiceName::as_str).collect();
            Some(format!("waits until {} is ready", names.join(" and ")))
        }
        ReplicaState::NotReady | ReplicaState::Ready => {
            let wants = replica.wants.map(|why| format!("to be restarted ({why}), when others can do without it"));
            wants.or_else(|| Kind::ALL.into_iter().find_map(probe_error))
        }
        ReplicaState::Held => Some("kept down by a drill".to_owned()),
        ReplicaState::BackOff | ReplicaState::Failed => replica.message.clone(),
        _ => None,
    }
}
