//! The very worker of production inside a simulated host: faults of the network, and the same trace for the same
//! seed.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod common;

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{ready, service, snapshot};
use mainstay_core::{Cause, EventBus, EventKind, Shutdown, TokioClock};
use mainstay_gateway::sim::{Core, Net, Worker};
use mainstay_gateway::{Balancer, ListenerId, Options, Timeouts, UpstreamPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 80;
const REQUESTS: usize = 40;

#[derive(Clone)]
struct Simulated;

impl Net for Simulated {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(addr).await
    }
}

/// Every `bad_every`th of its answers is a 500; none where that is 0.
async fn upstream(bad_every: usize) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let answers = Rc::new(Cell::new(0usize));
    loop {
        let (mut stream, _) = listener.accept().await?;
        let answers = answers.clone();
        tokio::task::spawn_local(async move {
            let mut bytes = [0; 4096];
            while let Ok(n) = stream.read(&mut bytes).await {
                answers.set(answers.get() + 1);
                let status = if answers.get().is_multiple_of(bad_every) { "500 BAD" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nhi");
                if n == 0 || stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn gateway(seed: u64, upstreams: &[&str], policy: UpstreamPolicy, bus: EventBus) -> turmoil::Result {
    let addrs: Vec<_> = upstreams.iter().map(|name| SocketAddr::new(turmoil::lookup(*name), PORT)).collect();
    let (_publisher, endpoints) = watch::channel(ready(&addrs));
    let options = Options { workers: 1, seed, ..Options::default() };
    let (core, mut seats) = Core::new(options, Vec::new(), snapshot(policy), endpoints, bus);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let worker = Worker::new(core, seats.remove(0), Simulated, vec![(ListenerId::Ingress, listener)]);
    worker.run(Shutdown::new()).await;
    Ok(())
}

/// The first line of an answer.
async fn ask() -> io::Result<String> {
    let mut stream = TcpStream::connect(("gateway", PORT)).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or("").to_owned())
}

/// What the client saw and when, in one run.
fn run(seed: u64) -> Vec<(u128, String)> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(120))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    sim.host("up-1", || upstream(0));
    sim.host("up-2", || upstream(0));
    sim.host("gateway", move || {
        let timeouts = Timeouts { per_try: Duration::from_millis(500), ..Timeouts::default() };
        let policy = UpstreamPolicy { timeouts, ..UpstreamPolicy::default() };
        gateway(seed, &["up-1", "up-2"], policy, EventBus::new(Arc::new(TokioClock::starting_at(0))))
    });
    let trace = Rc::new(RefCell::new(Vec::new()));
    let seen = trace.clone();
    sim.client("client", async move {
        let start = tokio::time::Instant::now();
        for i in 0..REQUESTS {
            match i {
                10 => turmoil::partition("gateway", "up-1"),
                30 => turmoil::repair("gateway", "up-1"),
                _ => {}
            }
            let line = ask().await?;
            seen.borrow_mut().push((start.elapsed().as_micros(), line));
        }
        Ok(())
    });
    sim.run().unwrap();
    assert_eq!(service().as_str(), "svc");
    trace.take()
}

#[test]
fn a_partition_is_survived_and_the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let trace = run(seed);
        assert_eq!(trace.len(), REQUESTS);
        assert!(trace.iter().all(|(_, line)| line == "HTTP/1.1 200 OK"), "seed {seed}: {trace:?}");
        assert_eq!(trace, run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

/// It never fails five times in a row, and good answers are counted by the worker alone until it hands them over.
#[test]
fn an_endpoint_that_fails_every_third_call_is_ejected_after_an_interval() {
    let mut sim = turmoil::Builder::new().rng_seed(1).simulation_duration(Duration::from_secs(120)).build();
    let bus = EventBus::new(Arc::new(TokioClock::starting_at(0)));
    for (name, bad_every) in [("up-1", 3), ("up-2", 0), ("up-3", 0)] {
        sim.host(name, move || upstream(bad_every));
    }
    let seen = bus.clone();
    sim.host("gateway", move || {
        // The balancer alone would shun it.
        let balancer = Balancer { failure_penalty: Duration::ZERO };
        gateway(1, &["up-1", "up-2", "up-3"], UpstreamPolicy { balancer, ..UpstreamPolicy::default() }, bus.clone())
    });
    sim.client("client", async move {
        let ejected = || {
            let recent = seen.recent();
            let replicas = recent.iter().filter_map(|event| match &event.kind {
                EventKind::EndpointEjected { replica, cause: Cause::FailureRate, .. } => Some(replica.to_string()),
                _ => None,
            });
            replicas.collect::<Vec<_>>()
        };
        let start = tokio::time::Instant::now();
        while ejected().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "never ejected");
            ask().await?;
        }
        assert_eq!(ejected(), ["svc-1"]);
        for _ in 0..50 {
            assert_eq!(ask().await?, "HTTP/1.1 200 OK");
        }
        Ok(())
    });
    sim.run().unwrap();
}
