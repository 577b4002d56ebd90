//! Plan → what the supervisor runs: commands, probes, and the addresses of the edges in each caller's environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use mainstay_config::{Check, Plan, Probe as PlannedProbe, Service};
use mainstay_core::ServiceName;
use mainstay_runtime::{Handler, Probe, ProbeSettings, Probes, Restart, ServiceSpec, Stop};

/// Where the gateway listens, as callers need to know it.
pub(crate) struct Addresses {
    pub(crate) ingress: SocketAddr,
    /// (caller, callee) → the loopback listener of that edge.
    pub(crate) edges: BTreeMap<(ServiceName, ServiceName), SocketAddr>,
}

/// Every service of the plan.
pub(crate) fn specs(plan: &Plan, addresses: &Addresses) -> Vec<ServiceSpec> {
    plan.services.iter().map(|service| spec(service, addresses)).collect()
}

fn spec(service: &Service, addresses: &Addresses) -> ServiceSpec {
    let mut spec = ServiceSpec::new(service.name.clone(), service.command.clone(), &service.dir);
    spec.env = service.env.clone();
    spec.env.insert("MAINSTAY_GATEWAY".into(), format!("http://{}", addresses.ingress));
    for callee in &service.needs {
        if let Some(address) = addresses.edges.get(&(service.name.clone(), callee.clone())) {
            spec.env.insert(callee.url_variable(), format!("http://{address}"));
        }
    }
    spec.needs = service.needs.clone();
    spec.replicas = service.replicas;
    spec.probes = Probes {
        startup: service.probes.startup.as_ref().map(probe),
        ready: Some(probe(&service.probes.ready)),
        live: service.probes.live.as_ref().map(probe),
    };
    spec.restart = Restart { limit: service.restart.limit, within: service.restart.within, ..Restart::default() };
    spec.stop = Stop { drain_max: service.stop.drain, grace: service.stop.grace };
    spec
}

fn probe(planned: &PlannedProbe) -> Probe {
    let handler = match &planned.check {
        Check::Http { path } => Handler::Http { path: path.clone() },
        Check::Tcp => Handler::Tcp,
        Check::Exec { command } => Handler::Exec { command: command.clone() },
    };
    let settings = ProbeSettings {
        initial_delay: planned.delay,
        period: planned.every,
        timeout: planned.timeout,
        failure_threshold: planned.fail_after,
        success_threshold: planned.ok_after,
    };
    Probe { handler, settings }
}
