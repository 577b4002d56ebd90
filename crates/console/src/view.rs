//! What the console draws: plain data, filled by whoever connects the parts.

use std::time::Duration;

use mainstay_core::WallMs;

/// Where the console gets its figures. Asked once a second per open page and must answer from memory.
pub trait Source: Send + Sync + 'static {
    /// The state of this moment.
    fn view(&self) -> View;
}

/// All figures of one moment. What is not known stays at its default and is not drawn.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Name of the app.
    pub app: String,
    /// When this was taken.
    pub now: WallMs,
    /// How long this Mainstay runs.
    pub uptime: Duration,
    /// Where users send their requests: `127.0.0.1:8080`.
    pub ingress: Option<String>,
    /// Share of the requests at the ingress that succeeded, 0 to 1.
    pub availability: Option<f64>,
    /// What the availability is measured over: `since start`, `1 h`.
    pub availability_over: String,
    /// Requests a second at the ingress.
    pub rate: f64,
    /// Its course, oldest first.
    pub rate_points: Vec<f64>,
    /// Latency of 99 % of the requests at the ingress, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Its course, oldest first.
    pub p99_points: Vec<f64>,
    /// Every service of the app, in any order.
    pub services: Vec<ServiceView>,
    /// Who calls whom; a caller that is no service is drawn as the outside.
    pub edges: Vec<EdgeView>,
    /// Transactions, where the app has any.
    pub transactions: Option<TransactionsView>,
}

/// One service.
#[derive(Debug, Clone, Default)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Its replicas, in order.
    pub replicas: Vec<ReplicaView>,
    /// Requests a second.
    pub rate: f64,
    /// Share of the requests that succeeded in the end, after retries, 0 to 1; none without traffic.
    pub success: Option<f64>,
    /// Attempts a second, retries included.
    pub attempts: f64,
    /// Retries a second.
    pub retries: f64,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// Latency of 99 % in milliseconds.
    pub p99_ms: Option<f64>,
    /// Course of the rate, oldest first.
    pub sparkline: Vec<f64>,
    /// Endpoints that the gateway leaves out now.
    pub ejected: u32,
    /// Something worth saying now.
    pub note: Option<String>,
}

/// One replica.
#[derive(Debug, Clone, Default)]
pub struct ReplicaView {
    /// `payment-1`.
    pub name: String,
    /// Its state.
    pub state: ReplicaState,
    /// Its process.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// Since when it is in this state.
    pub since: WallMs,
}

/// What a square shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReplicaState {
    /// Takes traffic.
    Ready,
    /// Its process runs and was not ready yet.
    #[default]
    Starting,
    /// Its process runs and its probe fails.
    NotReady,
    /// The gateway leaves it out, because calls to it failed.
    Ejected,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// No process; a restart may be due.
    Down,
    /// Restarted too often and left down.
    Failed,
}

impl ReplicaState {
    /// Every state.
    pub const ALL: [ReplicaState; 7] = {
        use ReplicaState as S;
        [S::Ready, S::Starting, S::NotReady, S::Ejected, S::Draining, S::Down, S::Failed]
    };

    /// The word on the screen.
    pub const fn word(self) -> &'static str {
        match self {
            ReplicaState::Ready => "ready",
            ReplicaState::Starting => "starting",
            ReplicaState::NotReady => "not ready",
            ReplicaState::Ejected => "ejected",
            ReplicaState::Draining => "draining",
            ReplicaState::Down => "down",
            ReplicaState::Failed => "failed",
        }
    }
}

/// One line between two services.
#[derive(Debug, Clone, Default)]
pub struct EdgeView {
    /// Who calls: a service, or `ingress`.
    pub caller: String,
    /// Who is called.
    pub callee: String,
    /// Requests a second.
    pub rate: f64,
    /// Share that succeeded in the end; none without traffic.
    pub success: Option<f64>,
    /// Latency of 99 % in milliseconds.
    pub p99_ms: Option<f64>,
}

/// Transactions by what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransactionsView {
    /// Under way.
    pub open: u64,
    /// Done.
    pub committed: u64,
    /// Undone.
    pub rolled_back: u64,
    /// Waiting for a person.
    pub stuck: u64,
}

impl ServiceView {
    /// How many replicas take traffic.
    pub(crate) fn ready(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count()
    }
}
