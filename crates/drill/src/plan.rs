//! The seed turned into a plan: what comes when, to whom. Pure: the same spec against the same replicas gives the same
//! plan, whatever the machine does.

use std::time::Duration;

use fastrand::Rng;
use mainstay_core::{FaultKind, ReplicaId, ServiceName, Span};

use crate::load::Arrivals;
use crate::spec::{Harm, Spec};

/// What a drill will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What all keys of the run start with.
    pub key_prefix: String,
    /// The faults in the order of their times.
    pub faults: Vec<PlannedFault>,
    spec: Spec,
}

/// A fault with its target and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedFault {
    /// When, from the start of the load.
    pub at: Duration,
    /// How long; none for what happens at once.
    pub lasts: Option<Duration>,
    /// What is done.
    pub action: Action,
}

/// What is done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// A fault of the system.
    Fault(FaultKind),
    /// SIGKILL to Mainstay itself.
    KillMainstay,
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Fault(kind) => write!(f, "{kind}"),
            Action::KillMainstay => f.write_str("kill Mainstay itself"),
        }
    }
}

impl PlannedFault {
    /// The service that is hurt; none when it is Mainstay itself.
    pub fn service(&self) -> Option<&ServiceName> {
        match &self.action {
            Action::Fault(kind) => Some(kind.service()),
            Action::KillMainstay => None,
        }
    }
}

/// A target that is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{harm}: {what} is not ready")]
pub struct PlanError {
    harm: &'static str,
    what: String,
}

/// Keeps the choice of targets apart from the arrivals, so that a change of one does not move the other.
const TARGETS_SALT: u64 = 0x7461_7267_6574_7321;

impl Plan {
    /// Plans `spec` against the replicas that are `ready`. `round` makes the keys new when the same seed is run again
    /// on the same state.
    pub fn make(spec: &Spec, ready: &[ReplicaId], round: u32) -> Result<Self, PlanError> {
        let mut rng = Rng::with_seed(spec.seed ^ TARGETS_SALT);
        let mut faults: Vec<PlannedFault> = Vec::with_capacity(spec.faults.len());
        let mut hurt: Vec<(Span, ReplicaId)> = Vec::new();
        for fault in &spec.faults {
            let jitter = fault.jitter.0.mul_f64(rng.f64());
            // Two faults at one time that leave the choice to the seed hurt two replicas, while there are two.
            let unhurt: Vec<ReplicaId> =
                ready.iter().filter(|r| !hurt.contains(&(fault.at, (*r).clone()))).cloned().collect();
            let free = |service: &ServiceName| unhurt.iter().any(|r| r.service == *service);
            let from = if fault.harm.picks().is_some_and(free) { &unhurt } else { ready };
            let action = choose(&fault.harm, from, &mut rng)?;
            if let Action::Fault(kind) = &action {
                hurt.extend(kind.replica().map(|r| (fault.at, r.clone())));
            }
            faults.push(PlannedFault { at: fault.at.0 + jitter, lasts: fault.lasts.map(|l| l.0), action });
        }
        faults.sort_by_key(|f| f.at);
        Ok(Self { key_prefix: Self::key_prefix_of(spec.seed, round), faults, spec: spec.clone() })
    }

    /// What the keys of `round` start with.
    pub(crate) fn key_prefix_of(seed: u64, round: u32) -> String {
        format!("d{seed:x}-{round}-")
    }

    /// The arrivals, without end.
    pub(crate) fn arrivals(&self) -> Arrivals {
        Arrivals::new(&self.spec.load, self.spec.seed, &self.key_prefix)
    }

    /// The first `count` arrivals, as text: what comes when with which key and body.
    pub fn preview(&self, count: usize) -> Vec<String> {
        let line = |a: crate::load::Arrival| {
            let body = String::from_utf8_lossy(&a.request.body).into_owned();
            format!("{:.6} {} {} {} {body}", a.due.as_secs_f64(), a.request.key, a.request.method, a.request.path)
        };
        self.arrivals().take(count).map(line).collect()
    }
}

impl Harm {
    /// The service of which the seed picks a replica.
    fn picks(&self) -> Option<&ServiceName> {
        match self {
            Harm::Kill { service, replica: None } | Harm::Freeze { service, replica: None } => Some(service),
            _ => None,
        }
    }
}

fn choose(harm: &Harm, ready: &[ReplicaId], rng: &mut Rng) -> Result<Action, PlanError> {
    let mut one = |harm: &'static str, service: &ServiceName, wanted: Option<u16>| {
        let mut of_service: Vec<&ReplicaId> = ready.iter().filter(|r| r.service == *service).collect();
        of_service.sort();
        // Drawn even when the replica is given, so that naming one target leaves the others where they were.
        let draw = rng.u64(..);
        if let Some(index) = wanted {
            of_service.retain(|r| r.index == index);
        }
        if of_service.is_empty() {
            let what = wanted.map_or_else(|| service.to_string(), |index| format!("{service}-{index}"));
            return Err(PlanError { harm, what });
        }
        Ok(of_service[(draw % of_service.len() as u64) as usize].clone())
    };
    Ok(Action::Fault(match harm {
        Harm::Kill { service, replica } => FaultKind::Kill { replica: one("kill", service, *replica)? },
        Harm::Freeze { service, replica } => FaultKind::Freeze { replica: one("freeze", service, *replica)? },
        Harm::Down { service } => {
            one("down", service, None)?;
            FaultKind::Down { service: service.clone() }
        }
        Harm::Edge { service, replica, share, effect } => {
            let picked = one("edge", service, *replica)?;
            let replica = replica.map(|_| picked);
            FaultKind::Edge { service: service.clone(), replica, share: *share, effect: effect.clone() }
        }
        Harm::KillMainstay => return Ok(Action::KillMainstay),
    }))
}

#[cfg(test)]
mod tests;
