//! The part of a plan that proves the rest: invariants and drills.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::{EdgeEffect, Rate, ReplicaId, ServiceName, Share};

use super::{Call, JsonPath, Sum};

/// What must hold after every drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Invariant {
    /// Its name.
    pub name: String,
    /// What must hold.
    pub rule: Rule,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// `{ every: acked, ends_in: […] }`: every operation that was acknowledged ends in one of these states.
    NoLost {
        /// Good last states, never empty.
        ends_in: Vec<String>,
        /// An answer that holds, at `at`, an object from key to state. None: Mainstay's own record of transactions.
        place: Option<Place>,
    },
    /// `{ at_most_once: payment/charges }`: the object at `place` from key to count holds no count over 1.
    AtMostOnce {
        /// Where the counts stand.
        place: Place,
    },
    /// `{ http: …, equals: {left: right} }`: both sides of every pair are the same number.
    Equal {
        /// What is asked.
        call: Call,
        /// Left and right.
        pairs: Vec<(Sum, Sum)>,
    },
    /// `{ http: …, at_least: {sum: floor} }`: no sum is below its floor.
    AtLeast {
        /// What is asked.
        call: Call,
        /// Sum and floor.
        floors: Vec<(Sum, f64)>,
    },
    /// `{ terminal_within: 30s }`: every transaction is over this long after its start.
    TerminalWithin(Duration),
}

/// A part of a service's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is asked, always by GET.
    pub call: Call,
    /// Where in the answer.
    pub at: JsonPath,
}

/// An experiment: load, faults, and what must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Drill {
    /// Its name.
    pub name: String,
    /// What clients do meanwhile.
    pub load: Load,
    /// The first part of the load: no fault yet, the measure of what is normal.
    pub baseline: Duration,
    /// Longest wait for everything to come to rest after the load.
    pub settle: Duration,
    /// Fixes arrivals, keys and targets. None: a new one each time, printed in the report.
    pub seed: Option<u64>,
    /// By their time.
    pub faults: Vec<TimedFault>,
    /// What must hold beside the invariants.
    pub expect: Expect,
}

/// What clients do during a drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Load {
    /// Arrivals, whether or not earlier ones are answered.
    pub rate: Rate,
    /// From the first arrival to the last, baseline included.
    pub duration: Duration,
    /// Never empty; the shares make 100 %.
    pub mix: Vec<Operation>,
}

/// One kind of request of the load.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Upper case.
    pub method: String,
    /// May hold `{key}`, a fresh one for each arrival.
    pub path: String,
    /// Of all arrivals.
    pub share: Share,
    /// JSON text; may hold `{key}`.
    pub body: Option<String>,
    /// Extra headers; values may hold `{key}`.
    pub headers: BTreeMap<String, String>,
}

/// A fault and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedFault {
    /// From the first arrival of the load; never within the baseline.
    pub at: Duration,
    /// What is done.
    pub what: FaultPlan,
}

/// What a drill does to the system.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultPlan {
    /// SIGKILL, once.
    Kill {
        /// Whom.
        whom: Whom,
    },
    /// SIGSTOP, then SIGCONT.
    Freeze {
        /// Whom.
        whom: Whom,
        /// How long.
        duration: Duration,
    },
    /// All replicas are killed and stay away.
    Down {
        /// Whom.
        service: ServiceName,
        /// How long.
        duration: Duration,
    },
    /// An effect on a share of the calls to a service.
    Edge {
        /// Whose answers are spoilt.
        service: ServiceName,
        /// Only those of this replica.
        replica: Option<ReplicaId>,
        /// Of the attempts.
        share: Share,
        /// What happens to them.
        effect: EdgeEffect,
        /// How long.
        duration: Duration,
    },
    /// SIGKILL to Mainstay itself, which is then started again.
    KillMainstay,
}

impl FaultPlan {
    /// How long it lasts; zero for what happens once.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Kill { .. } | Self::KillMainstay => Duration::ZERO,
            Self::Freeze { duration, .. } | Self::Down { duration, .. } | Self::Edge { duration, .. } => *duration,
        }
    }
}

/// Which replicas a fault hits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// This many of the service, drawn by the seed.
    Any {
        /// Of which.
        service: ServiceName,
        /// 1 up to as many as there are.
        count: u16,
    },
    /// This one.
    Replica(ReplicaId),
}

/// What must hold beside the invariants. None: measured and shown, not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expect {
    /// Right answers in time, of all arrivals.
    pub availability: Option<Share>,
    /// Of the answers.
    pub p99: Option<Duration>,
    /// From each fault to the first event that names its target.
    pub detect_within: Option<Duration>,
    /// From each fault's end to service as before.
    pub recover_within: Option<Duration>,
}
