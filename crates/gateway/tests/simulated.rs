//! The very worker of production inside a simulated host: faults of the network, and the same trace for the same
//! seed.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod common;

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::{ready, service, snapshot};
use mainstay_core::{EventBus, Shutdown, TokioClock};
use mainstay_gateway::sim::{Core, Net, Worker};
use mainstay_gateway::{ListenerId, Options, Timeouts, UpstreamPolicy};
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

async fn upstream() -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok(n) = stream.read(&mut bytes).await {
                if n == 0 || stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn gateway(seed: u64) -> turmoil::Result {
    let addrs: Vec<_> = ["up-1", "up-2"].map(|name| SocketAddr::new(turmoil::lookup(name), PORT)).into();
    let (_publisher, endpoints) = watch::channel(ready(&addrs));
    let timeouts = Timeouts { per_try: Duration::from_millis(500), ..Timeouts::default() };
    let policy = UpstreamPolicy { timeouts, ..UpstreamPolicy::default() };
    let options = Options { workers: 1, seed, ..Options::default() };
    let bus = EventBus::new(Arc::new(TokioClock::starting_at(0)));
    let (core, mut seats) = Core::new(options, Vec::new(), snapshot(policy), endpoints, bus);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let worker = Worker::new(core, seats.remove(0), Simulated, vec![(ListenerId::Ingress, listener)]);
    worker.run(Shutdown::new()).await;
    Ok(())
}

/// What the client saw and when, in one run.
fn run(seed: u64) -> Vec<(u128, String)> {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(120))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(20))
        .build();
    sim.host("up-1", upstream);
    sim.host("up-2", upstream);
    sim.host("gateway", move || gateway(seed));
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
            let mut stream = TcpStream::connect(("gateway", PORT)).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            let line = answer.lines().next().unwrap_or("").to_owned();
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
