//! What a drill is: plain data, checked once before anything is touched.
//!
//! All times of faults count from the start of the load, so that one look at the list tells the story of the run.

mod check;

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::{EdgeEffect, Rate, ServiceName, Share, Span};
use serde::{Deserialize, Serialize};

pub use check::SpecError;

use crate::invariant::Invariant;

/// Longest drill: the load, the faults and the settling together.
pub const DRILL_MAX: Duration = Duration::from_secs(3600);

/// Most operations of one drill: the history of all of them is kept in memory for the invariants.
pub const OPERATIONS_MAX: u64 = 1_000_000;

/// Most faults of one drill.
pub const FAULTS_MAX: usize = 200;

/// One drill, complete: the same spec and seed against the same replicas give the same plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// What the drill is called.
    pub name: String,
    /// The app that is drilled: for the report only.
    pub app: String,
    /// Fixes arrivals, keys, targets and fault times.
    pub seed: u64,
    /// The command that repeats the run: for the report only.
    pub replay: String,
    /// What the users do.
    pub load: Load,
    /// What is done to them.
    pub faults: Vec<TimedFault>,
    /// What must be true at the end.
    pub invariants: Vec<Invariant>,
    /// What must be true of the service level.
    pub expect: Expect,
    /// How the service level is judged over time.
    pub windows: Windows,
    /// How long the target may take to answer, and faults of an earlier drill to run out, before the drill gives up.
    pub preflight_max: Span,
    /// Longest time from the removal of all faults until the system has healed and finished all work.
    pub settle_max: Span,
    /// Time to live of each fault's lease. It is renewed at a third of it.
    pub lease_ttl: Span,
    /// Fewest operations that must arrive under faults before the drill says anything.
    pub met_min: u64,
    /// Which services each service calls. What is wrong with a caller of a hurt service follows from the hurt.
    #[serde(default)]
    pub needs: BTreeMap<ServiceName, Vec<ServiceName>>,
}

impl Spec {
    /// A drill of `name` without load and faults, with every default in place.
    pub fn new(app: &str, name: &str, seed: u64) -> Self {
        Self {
            name: name.into(),
            app: app.into(),
            seed,
            replay: format!("mainstay drill {name} --seed {seed}"),
            load: Load::default(),
            faults: Vec::new(),
            invariants: Vec::new(),
            expect: Expect::default(),
            windows: Windows::default(),
            preflight_max: Span(Duration::from_secs(15)),
            settle_max: Span(Duration::from_secs(60)),
            lease_ttl: Span(Duration::from_secs(3)),
            met_min: 10,
            needs: BTreeMap::new(),
        }
    }
}

/// Open-loop load: operations come when they come, whether or not earlier ones were answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Arrivals per second, over the whole mix.
    pub rate: Rate,
    /// Load before this is not measured: connections are made, caches filled.
    pub warm_up: Span,
    /// From the start of the load until all faults are removed.
    pub duration: Span,
    /// Operations in flight at once; an arrival above it is not sent and counts as bad.
    pub in_flight_max: u32,
    /// The kinds of operation, by share.
    pub mix: Vec<Operation>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rate: Rate::new(50.0).expect("50/s is a rate"),
            warm_up: Span(Duration::from_secs(1)),
            duration: Span(Duration::from_secs(60)),
            in_flight_max: 512,
            mix: Vec::new(),
        }
    }
}

/// One kind of operation.
///
/// `path`, `body` and header values are templates: `{key}` is the operation's unique key, `{int:1..5}` a whole number
/// from 1 to 5, `{pick:a|b}` one of the words. Every other brace stands for itself, so that JSON is written as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// What the history calls it.
    pub name: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header names and values. `content-type: application/json` is set when there is a body and no other type.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Body.
    #[serde(default)]
    pub body: Option<String>,
    /// Weight within the mix.
    pub share: u32,
    /// Part of the arrivals that repeat a recent request exactly, as a client does that is not sure.
    pub resend: Share,
    /// The right answers, each with what it tells. Every other status is a wrong answer, and so is every answer that
    /// carries `mainstay-reason`: Mainstay made it because the request could not be carried out.
    pub answers: Vec<(u16, Meaning)>,
    /// A right answer after this is late, which users cannot tell from wrong.
    pub objective: Span,
    /// When the client gives up; the outcome is unknown then.
    pub timeout: Span,
}

impl Operation {
    /// An operation whose only right answer is 200, at once and for good.
    pub fn new(name: &str, method: &str, path: &str) -> Self {
        Self {
            name: name.into(),
            method: method.into(),
            path: path.into(),
            headers: Vec::new(),
            body: None,
            share: 1,
            resend: Share::ZERO,
            answers: vec![(200, Meaning::Done)],
            objective: Span(Duration::from_secs(1)),
            timeout: Span(Duration::from_secs(10)),
        }
    }
}

/// What a right answer tells the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    /// It happened, for good.
    Done,
    /// It was taken on and will end well or be undone: acknowledged, with the outcome still open (202).
    Accepted,
    /// It did not happen and will not (409).
    Refused,
}

/// A fault at its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimedFault {
    /// When, from the start of the load.
    pub at: Span,
    /// Up to this much later, by the seed.
    #[serde(default = "zero")]
    pub jitter: Span,
    /// How long it lasts. None for what happens at once: kills.
    #[serde(default)]
    pub lasts: Option<Span>,
    /// What is done, and to whom.
    #[serde(flatten)]
    pub harm: Harm,
}

fn zero() -> Span {
    Span(Duration::ZERO)
}

impl TimedFault {
    /// `harm` at `at`, for `lasts` where it lasts.
    pub fn new(at: Duration, lasts: Option<Duration>, harm: Harm) -> Self {
        Self { at: Span(at), jitter: zero(), lasts: lasts.map(Span), harm }
    }
}

/// What is done, and to whom. Where a replica is wanted and none is given, the seed picks one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "harm", rename_all = "snake_case")]
pub enum Harm {
    /// SIGKILL to one replica.
    Kill {
        /// Of which service.
        service: ServiceName,
        /// Which one, from 1.
        #[serde(default)]
        replica: Option<u16>,
    },
    /// SIGSTOP to one replica while it lasts.
    Freeze {
        /// Of which service.
        service: ServiceName,
        /// Which one, from 1.
        #[serde(default)]
        replica: Option<u16>,
    },
    /// All replicas killed and none started while it lasts.
    Down {
        /// Which service.
        service: ServiceName,
    },
    /// An effect on a share of the calls to a service.
    Edge {
        /// Which service.
        service: ServiceName,
        /// Only calls to this replica; none means all of them.
        #[serde(default)]
        replica: Option<u16>,
        /// Share of the calls.
        share: Share,
        /// What happens to them.
        effect: EdgeEffect,
    },
    /// SIGKILL to Mainstay itself, which is then started again.
    KillMainstay,
}

/// What must be true of the service level; what is not set is measured and not judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// Lowest share of good answers from the first fault until all are removed.
    pub availability: Option<Share>,
    /// Highest 99th percentile of the time users waited, from the first fault until all are removed.
    pub p99: Option<Span>,
    /// Longest time from a fault to the first event that names its target. A masked fault passes.
    pub detect_within: Option<Span>,
    /// Longest time from a fault until users are served well again.
    pub recover_within: Option<Span>,
}

/// How the service level is judged over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// Width of the window that must be good for users to be well served again.
    pub window: Span,
    /// How long it must stay so, or until the next fault.
    pub hold: Span,
    /// Share of good answers that makes a window good.
    pub good: Share,
    /// How long after its end a fault still explains events that name its target.
    pub explains: Span,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            window: Span(Duration::from_secs(5)),
            hold: Span(Duration::from_secs(15)),
            good: Share::percent(99),
            explains: Span(Duration::from_secs(15)),
        }
    }
}
