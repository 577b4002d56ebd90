//! What there is to see.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_config::{Plan, RouteTarget};
use mainstay_console::{EdgeView, ReplicaState as Square, ReplicaView, ServiceView, Source, TransactionsView, View};
use mainstay_core::{Clock, EventBus, Shutdown, SystemClock};
use mainstay_gateway::Stats;
use mainstay_runtime::{ReplicaState, ReplicaStatus, ServiceStatus};
use serde_json::{Value, json};

use crate::assemble::rates::{INGRESS, Rates, TRANSACTIONS};

/// How often rates are taken.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How long adoption may take.
const ADOPTION_MAX: Duration = Duration::from_secs(5);

/// Reads the handles of the parts, for the API's status and the console.
pub(crate) struct Screen {
    app: String,
    ingress: SocketAddr,
    gateway: mainstay_gateway::Handle,
    runtime: mainstay_runtime::Handle,
    transactions: mainstay_txn::Handle,
    bus: EventBus,
    edges: Vec<(String, String)>,
    rates: Mutex<Rates>,
}

impl Screen {
    pub(crate) fn new(
        plan: &Plan,
        ingress: SocketAddr,
        gateway: mainstay_gateway::Handle,
        runtime: mainstay_runtime::Handle,
        transactions: mainstay_txn::Handle,
        bus: EventBus,
    ) -> Arc<Self> {
        let (app, edges) = (plan.app.clone(), edges(plan));
        let rates = Mutex::new(Rates::new(routes(plan)));
        Arc::new(Self { app, ingress, gateway, runtime, transactions, bus, edges, rates })
    }

    /// Takes a reading every second.
    pub(crate) async fn sample(self: Arc<Self>, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(SAMPLE_EVERY);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            let stats = self.gateway.stats();
            self.rates().take(&stats);
        }
    }

    /// How many running replicas the supervisor took over; waits until it has looked.
    pub(crate) async fn adopted(&self) -> u32 {
        let mut statuses = self.runtime.statuses();
        let looked = statuses.wait_for(|services| services.iter().any(|s| !s.replicas.is_empty()));
        let Ok(Ok(services)) = tokio::time::timeout(ADOPTION_MAX, looked).await else { return 0 };
        services.iter().flat_map(|s| &s.replicas).filter(|r| r.adopted).count() as u32
    }

    fn rates(&self) -> std::sync::MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the API: everything, as JSON.
    pub(crate) fn status(&self) -> Value {
        let rates = self.rates();
        let services = self.runtime.status().into_iter().map(|service| {
            let traffic = rates.service(&service.name).map(|series| {
                let (flow, seconds) = series.recent();
                json!({
                    "requests_per_s": flow.requests as f64 / seconds,
                    "success": flow.success(),
                    "attempt_success": flow.attempt_success(),
                    "retries_per_s": flow.retries as f64 / seconds,
                    "p50_ms": flow.quantile_ms(0.5),
                    "p99_ms": flow.quantile_ms(0.99),
                })
            });
            let mut value = json!(service);
            value["traffic"] = traffic.unwrap_or(Value::Null);
            value
        });
        json!({
            "app": self.app,
            "pid": std::process::id(),
            "boot": self.bus.boot(),
            "ingress": self.ingress,
            "services": services.collect::<Vec<_>>(),
            "transactions": self.transactions.counts(),
        })
    }
}

/// The pattern of each route, and who answers.
fn routes(plan: &Plan) -> Vec<(String, String)> {
    let target = |target: &RouteTarget| match target {
        RouteTarget::Service(name) => name.to_string(),
        RouteTarget::Transaction(_) => TRANSACTIONS.to_owned(),
    };
    plan.routes.iter().map(|route| (route.pattern.clone(), target(&route.target))).collect()
}

/// Who calls whom: the routes, the branches of transactions, and what services need.
fn edges(plan: &Plan) -> Vec<(String, String)> {
    let mut edges: Vec<_> = routes(plan).into_iter().map(|(_, callee)| (INGRESS.to_owned(), callee)).collect();
    let steps = plan.transactions.iter().flat_map(|t| &t.steps);
    edges.extend(steps.map(|step| (TRANSACTIONS.to_owned(), step.call.service.to_string())));
    for service in &plan.services {
        edges.extend(service.needs.iter().map(|callee| (service.name.to_string(), callee.to_string())));
    }
    edges.sort();
    edges.dedup();
    edges
}

impl Source for Screen {
    fn view(&self) -> View {
        let rates = self.rates();
        let stats = self.gateway.stats();
        let now = SystemClock.wall_ms();
        let (recent, seconds) = rates.ingress().recent();
        let counts = self.transactions.counts();
        View {
            app: self.app.clone(),
            now,
            uptime: Duration::from_millis(now.saturating_sub(self.bus.boot()).max(0) as u64),
            ingress: Some(self.ingress.to_string()),
            availability: rates.ingress().kept().success(),
            availability_over: "10 min".to_owned(),
            rate: recent.requests as f64 / seconds,
            rate_points: rates.ingress().requests().map(|n| n as f64).collect(),
            p99_ms: recent.quantile_ms(0.99),
            p99_points: Vec::new(),
            services: self.runtime.status().iter().map(|service| service_view(service, &rates, &stats)).collect(),
            edges: self.edges.iter().map(|edge| edge_view(edge, &rates)).collect(),
            transactions: Some(TransactionsView {
                open: counts.running + counts.compensating,
                committed: counts.committed,
                rolled_back: counts.rolled_back,
                stuck: counts.stuck,
            }),
        }
    }
}

fn edge_view((caller, callee): &(String, String), rates: &Rates) -> EdgeView {
    let mut view = EdgeView { caller: caller.clone(), callee: callee.clone(), ..EdgeView::default() };
    if let Some(series) = rates.edge(caller, callee) {
        let (flow, seconds) = series.recent();
        view.rate = flow.requests as f64 / seconds;
        view.success = flow.success();
        view.p99_ms = flow.quantile_ms(0.99);
    }
    view
}

fn service_view(service: &ServiceStatus, rates: &Rates, stats: &Stats) -> ServiceView {
    let ejected = |replica: &ReplicaStatus| stats.replicas.get(&replica.id).is_some_and(|r| r.ejected);
    let replicas = service.replicas.iter().map(|replica| ReplicaView {
        name: replica.id.to_string(),
        state: square(replica.state, ejected(replica)),
        pid: replica.pid,
        restarts: replica.restarts,
        since: replica.since,
    });
    let mut view = ServiceView {
        name: service.name.to_string(),
        replicas: replicas.collect(),
        ejected: service.replicas.iter().filter(|r| ejected(r)).count() as u32,
        note: service.replicas.iter().find_map(|r| r.message.clone()),
        ..ServiceView::default()
    };
    if let Some(series) = rates.service(&service.name) {
        let (flow, seconds) = series.recent();
        view.rate = flow.requests as f64 / seconds;
        view.success = flow.success();
        view.attempts = flow.attempts as f64 / seconds;
        view.retries = flow.retries as f64 / seconds;
        view.p50_ms = flow.quantile_ms(0.5);
        view.p99_ms = flow.quantile_ms(0.99);
        view.sparkline = series.requests().map(|n| n as f64).collect();
    }
    view
}

fn square(state: ReplicaState, ejected: bool) -> Square {
    match state {
        ReplicaState::Ready if ejected => Square::Ejected,
        ReplicaState::Ready => Square::Ready,
        ReplicaState::Waiting | ReplicaState::Starting => Square::Starting,
        ReplicaState::NotReady => Square::NotReady,
        ReplicaState::Draining | ReplicaState::Stopping => Square::Draining,
        ReplicaState::BackOff | ReplicaState::Held | ReplicaState::Stopped => Square::Down,
        ReplicaState::Failed => Square::Failed,
    }
}
