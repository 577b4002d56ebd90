//! A plain proxy in front of a static list of upstreams, all policies on: what benches measure.
//!
//! `proxy --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001 [--upstream …] [--workers 1]`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mainstay_core::{Endpoint, EndpointSet, EndpointState, EventBus, ReplicaId, ServiceName, Shutdown, SystemClock};
use mainstay_gateway::{Gateway, Listener, ListenerId, Options, RoutePolicy, RouteSpec, Snapshot, Target};
use tokio::sync::watch;

const USAGE: &str = "usage: proxy --listen ADDR --upstream ADDR [--upstream ADDR …] [--workers N]";

struct Arguments {
    listen: SocketAddr,
    upstreams: Vec<SocketAddr>,
    workers: usize,
}

fn arguments() -> Option<Arguments> {
    let (mut listen, mut upstreams, mut workers) = (None, Vec::new(), 1);
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next()?;
        match flag.as_str() {
            "--listen" => listen = Some(value.parse().ok()?),
            "--upstream" => upstreams.push(value.parse().ok()?),
            "--workers" => workers = value.parse().ok()?,
            _ => return None,
        }
    }
    let listen = listen?;
    (!upstreams.is_empty()).then_some(Arguments { listen, upstreams, workers })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { listen, upstreams, workers } = arguments().ok_or(USAGE)?;
    let service = ServiceName::new("upstream")?;
    let endpoints = (1..)
        .zip(upstreams)
        .map(|(index, addr)| Endpoint {
            replica: ReplicaId::new(service.clone(), index),
            addr,
            state: EndpointState::Ready,
            incarnation: 1,
        })
        .collect();
    let endpoints = BTreeMap::from([(service.clone(), Arc::new(EndpointSet { endpoints }))]);
    let (_publisher, endpoints) = watch::channel(Arc::new(endpoints));
    let route = RouteSpec {
        pattern: "/*".to_owned(),
        methods: None,
        target: Target::Service(service),
        policy: RoutePolicy::default(),
    };
    let snapshot = Snapshot { routes: vec![route], upstreams: BTreeMap::new() };
    let options = Options { workers, ..Options::default() };
    let listener = Listener { id: ListenerId::Ingress, addr: listen };
    let bus = EventBus::new(Arc::new(SystemClock));
    let (gateway, _handle) = Gateway::bind(options, &[listener], snapshot, endpoints, bus)?;
    gateway.run(&Shutdown::new())?;
    Ok(())
}
