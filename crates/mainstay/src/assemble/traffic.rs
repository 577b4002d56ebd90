//! Plan → what the gateway does: listeners, routes, policies.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use mainstay_config::{Plan, Policy, Route, RouteTarget};
use mainstay_core::{Endpoints, EventBus};
use mainstay_gateway::{
    Balancer, Budget, Ejection, Gateway, Handle, Listener, ListenerId, LocalHandler, Options, Retries, RoutePolicy,
    RouteSpec, Snapshot, Target, Timeouts, UpstreamPolicy,
};

use tokio::sync::watch;

use crate::assemble::services::Addresses;
use crate::mutation::Mutations;
use crate::state::StateDir;

/// Code that answers the routes of a transaction, by its name.
pub(crate) type TransactionRoutes = BTreeMap<String, Arc<dyn LocalHandler>>;

/// The ingress, and a listener for every edge. An edge keeps its port over restarts where that is possible: replicas
/// that outlive us have it in their environment.
pub(crate) fn listeners(plan: &Plan, ports: &BTreeMap<String, u16>) -> Vec<Listener> {
    let edges = plan.services.iter().flat_map(|caller| {
        caller.needs.iter().map(|callee| {
            let port = ports.get(&edge_name(caller.name.as_str(), callee.as_str())).copied().unwrap_or(0);
            Listener {
                id: ListenerId::Edge { callee: callee.clone(), caller: Some(caller.name.clone()) },
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            }
        })
    });
    [Listener { id: ListenerId::Ingress, addr: plan.listen.ingress }].into_iter().chain(edges).collect()
}

fn edge_name(caller: &str, callee: &str) -> String {
    format!("{caller}->{callee}")
}

/// Binds everything. Where the kept port of an edge has been taken meanwhile, all edges get new ones, and the
/// supervisor will replace the callers, whose environment has changed.
pub(crate) fn bind(
    plan: &Plan,
    state: &StateDir,
    mutations: Mutations,
    seed: u64,
    endpoints: &watch::Receiver<Endpoints>,
    bus: &EventBus,
) -> anyhow::Result<(Gateway, Handle, Addresses)> {
    let first = snapshot(plan, &TransactionRoutes::new(), mutations);
    let ports = state.edge_ports();
    let try_bind = |ports: &BTreeMap<String, u16>| {
        Gateway::bind(
            Options { seed, ..Options::default() },
            &listeners(plan, ports),
            first.clone(),
            endpoints.clone(),
            bus.clone(),
        )
    };
    let bound = match try_bind(&ports) {
        Err(_) if !ports.is_empty() => try_bind(&BTreeMap::new()),
        bound => bound,
    };
    let fix = "end what listens there, or set `listen: { ingress: … }` in the file";
    // Its cause is in its text already.
    let (gateway, handle) = bound.map_err(|error| anyhow::anyhow!("{error}\n  fix: {fix}"))?;
    let addresses = addresses(&handle);
    let kept =
        addresses.edges.iter().map(|((caller, callee), a)| (edge_name(caller.as_str(), callee.as_str()), a.port()));
    state.keep_edge_ports(&kept.collect())?;
    Ok((gateway, handle, addresses))
}

fn addresses(handle: &Handle) -> Addresses {
    let mut addresses = Addresses { ingress: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), edges: BTreeMap::new() };
    for (id, addr) in handle.addresses() {
        match id {
            ListenerId::Ingress => addresses.ingress = addr,
            ListenerId::Edge { callee, caller: Some(caller) } => {
                addresses.edges.insert((caller, callee), addr);
            }
            ListenerId::Edge { caller: None, .. } => {}
        }
    }
    addresses
}

/// Routes and policies, whole.
pub(crate) fn snapshot(plan: &Plan, transactions: &TransactionRoutes, mutations: Mutations) -> Snapshot {
    let routes = plan.routes.iter().filter_map(|route| route_spec(route, transactions, mutations)).collect();
    let upstreams = plan.services.iter().map(|s| (s.name.clone(), upstream(&s.policy, mutations))).collect();
    Snapshot { routes, upstreams }
}

fn route_spec(route: &Route, transactions: &TransactionRoutes, mutations: Mutations) -> Option<RouteSpec> {
    let target = match &route.target {
        RouteTarget::Service(name) => Target::Service(name.clone()),
        RouteTarget::Transaction(name) => Target::Local(transactions.get(name)?.clone()),
    };
    let methods =
        route.methods.as_ref().map(|methods| methods.iter().filter_map(|m| m.parse::<Method>().ok()).collect());
    let policy = route.policy.as_ref().map(|policy| upstream(policy, mutations));
    let policy = policy.map_or_else(RoutePolicy::default, |policy| RoutePolicy {
        timeouts: Some(policy.timeouts),
        retries: Some(policy.retries),
    });
    Some(RouteSpec { pattern: route.pattern.clone(), methods, target, policy })
}

fn upstream(policy: &Policy, mutations: Mutations) -> UpstreamPolicy {
    let mut upstream = UpstreamPolicy {
        timeouts: Timeouts {
            connect: policy.connect,
            per_try: policy.per_try,
            total: policy.timeout,
            body_idle: policy.body_idle,
        },
        retries: Retries { enabled: false, idempotent: policy.idempotent, ..Retries::default() },
        budget: Budget::default(),
        ejection: Ejection { enabled: false, ..Ejection::default() },
        balancer: Balancer::default(),
    };
    if mutations.failure_penalty_off {
        upstream.balancer.failure_penalty = Duration::ZERO;
    }
    if let Some(retry) = policy.retry.filter(|_| !mutations.retries_off) {
        upstream.retries.enabled = true;
        upstream.retries.max = retry.attempts;
        upstream.retries.backoff_base = retry.backoff_base;
        upstream.retries.backoff_max = retry.backoff_max;
        upstream.budget.share = retry.budget;
        upstream.budget.floor_per_s = retry.floor.per_second() as u32;
    }
    if let Some(eject) = policy.eject.filter(|_| !mutations.ejection_off) {
        upstream.ejection.enabled = true;
        upstream.ejection.consecutive = eject.failures;
        upstream.ejection.base = eject.time;
        upstream.ejection.cap = eject.max;
    }
    upstream
}
