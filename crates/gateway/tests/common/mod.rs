//! A gateway with everything around it, for tests: upstreams that record what reaches them, and a client that sees
//! every byte.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::{
    Endpoint, EndpointSet, EndpointState, Endpoints, EventBus, EventKind, ReplicaId, ServiceName, Shutdown, SystemClock,
};
use mainstay_gateway::{
    Gateway, Handle, Listener, ListenerId, Options, RoutePolicy, RouteSpec, Snapshot, Target, UpstreamPolicy,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn service() -> ServiceName {
    ServiceName::new("svc").unwrap()
}

pub fn replica(index: u16) -> ReplicaId {
    ReplicaId::new(service(), index)
}

/// A message as it was read.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub head: String,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn reason(&self) -> &str {
        self.header("mainstay-reason").unwrap_or("")
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads one message, decoding its body. `None` at the end of the stream.
pub async fn read_message(stream: &mut TcpStream, left: &mut Vec<u8>, to_head: bool) -> Option<Seen> {
    let end = loop {
        if let Some(at) = left.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        if fill(stream, left).await == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&left.drain(..end).collect::<Vec<_>>()).into_owned();
    let mut seen = Seen { head, body: Vec::new() };
    let status = if seen.head.starts_with("HTTP/") { Some(seen.status()) } else { None };
    if to_head || matches!(status, Some(100..=199 | 204 | 304)) {
        return Some(seen);
    }
    if seen.header("transfer-encoding").is_some() {
        loop {
            let line = loop {
                if let Some(at) = left.windows(2).position(|w| w == b"\r\n") {
                    break left.drain(..at + 2).collect::<Vec<_>>();
                }
                if fill(stream, left).await == 0 {
                    return Some(seen);
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
            while left.len() < size + 2 {
                if fill(stream, left).await == 0 {
                    return Some(seen);
                }
            }
            seen.body.extend(left.drain(..size));
            left.drain(..2);
            if size == 0 {
                return Some(seen);
            }
        }
    }
    let length = match seen.header("content-length") {
        Some(length) => length.parse().unwrap(),
        None if status.is_some() => usize::MAX,
        None => 0,
    };
    while left.len() < length && fill(stream, left).await > 0 {}
    seen.body.extend(left.drain(..length.min(left.len())));
    Some(seen)
}

async fn fill(stream: &mut TcpStream, left: &mut Vec<u8>) -> usize {
    let mut piece = vec![0; 16 * 1024];
    let n = stream.read(&mut piece).await.unwrap_or(0);
    left.extend_from_slice(&piece[..n]);
    n
}

/// What a mock does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Writes this and reads the next request.
    Bytes(String),
    /// Writes this and closes.
    Last(String),
    /// Says nothing and keeps the connection.
    Hang,
    /// Closes without a word.
    Close,
}

pub fn ok(body: &str) -> Reply {
    status(200, body)
}

pub fn status(code: u16, body: &str) -> Reply {
    Reply::Bytes(format!("HTTP/1.1 {code} X\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// An upstream that records what reaches it.
pub struct Mock {
    pub addr: SocketAddr,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub bytes: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
    /// Connections that have ended.
    pub closed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Mock {
    /// `reply` gets the number of the request, from 0, and the request.
    pub async fn start(reply: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Mock {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (bytes, connections, closed): (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let reply = Arc::new(reply);
        let task = tokio::spawn({
            let (seen, bytes, connections, closed) = (seen.clone(), bytes.clone(), connections.clone(), closed.clone());
            async move {
                let mut open = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    let served = serve(stream, seen.clone(), bytes.clone(), reply.clone());
                    let closed = closed.clone();
                    open.spawn(async move {
                        served.await;
                        closed.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Mock { addr, seen, bytes, connections, closed, task }
    }

    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    bytes: Arc<AtomicUsize>,
    reply: Arc<impl Fn(usize, &Seen) -> Reply>,
) {
    let mut left = Vec::new();
    loop {
        // Counted before anything is understood: not one byte may come of what is to be refused.
        if left.is_empty() {
            let n = fill(&mut stream, &mut left).await;
            if n == 0 {
                return;
            }
            bytes.fetch_add(n, Ordering::SeqCst);
        }
        let Some(request) = read_message(&mut stream, &mut left, false).await else { return };
        let n = {
            let mut seen = seen.lock().unwrap();
            seen.push(request.clone());
            seen.len() - 1
        };
        match reply(n, &request) {
            Reply::Bytes(answer) => stream.write_all(answer.as_bytes()).await.unwrap_or(()),
            Reply::Last(answer) => return stream.write_all(answer.as_bytes()).await.unwrap_or(()),
            Reply::Hang => std::future::pending().await,
            Reply::Close => return,
        }
    }
}

/// A running gateway in front of mocks of one service: ingress with `/*`, and an edge.
pub struct Rig {
    pub handle: Handle,
    pub bus: EventBus,
    pub endpoints: watch::Sender<Endpoints>,
    pub ingress: SocketAddr,
    pub edge: SocketAddr,
    pub shutdown: Shutdown,
    pub thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub fn options() -> Options {
    Options { workers: 1, drain_max: Duration::from_secs(5), seed: 7, ..Options::default() }
}

pub fn route(pattern: &str, target: Target) -> RouteSpec {
    RouteSpec { pattern: pattern.to_owned(), methods: None, target, policy: RoutePolicy::default() }
}

pub fn snapshot(policy: UpstreamPolicy) -> Snapshot {
    Snapshot { routes: vec![route("/*", Target::Service(service()))], upstreams: [(service(), policy)].into() }
}

pub fn ready(addrs: &[SocketAddr]) -> Endpoints {
    let endpoints = (1..)
        .zip(addrs)
        .map(|(i, addr)| Endpoint { replica: replica(i), addr: *addr, state: EndpointState::Ready, incarnation: 1 })
        .collect();
    Arc::new(BTreeMap::from([(service(), Arc::new(EndpointSet { endpoints }))]))
}

impl Rig {
    pub fn new(policy: UpstreamPolicy, mocks: &[&Mock]) -> Rig {
        let addrs: Vec<_> = mocks.iter().map(|m| m.addr).collect();
        Rig::with(options(), snapshot(policy), &addrs)
    }

    pub fn with(options: Options, snapshot: Snapshot, addrs: &[SocketAddr]) -> Rig {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let edge = ListenerId::Edge { callee: service(), caller: None };
        let listeners = [Listener { id: ListenerId::Ingress, addr: any }, Listener { id: edge, addr: any }];
        let (endpoints, receiver) = watch::channel(ready(addrs));
        let bus = EventBus::new(Arc::new(SystemClock));
        let (gateway, handle) = Gateway::bind(options, &listeners, snapshot, receiver, bus.clone()).unwrap();
        let shutdown = Shutdown::new();
        let thread = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || gateway.run(&shutdown)
        });
        let addresses = handle.addresses();
        let (ingress, edge) = (addresses[0].1, addresses[1].1);
        Rig { handle, bus, endpoints, ingress, edge, shutdown, thread: Some(thread) }
    }

    /// Sends `raw` on a new connection and reads one answer.
    pub async fn ask(&self, raw: &str) -> Seen {
        ask(self.ingress, raw).await
    }

    pub async fn get(&self, path: &str) -> Seen {
        self.ask(&get(path)).await
    }

    pub fn events(&self, wanted: impl Fn(&EventKind) -> bool) -> usize {
        self.bus.recent().iter().filter(|e| wanted(&e.kind)).count()
    }
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")
}

pub fn post(path: &str, more: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: x\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
}

pub async fn ask(addr: SocketAddr, raw: &str) -> Seen {
    let mut client = Client::connect(addr).await;
    client.send(raw).await;
    client.answer().await.expect("an answer")
}

/// A client connection.
pub struct Client {
    pub stream: TcpStream,
    pub left: Vec<u8>,
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Client {
        Client { stream: TcpStream::connect(addr).await.unwrap(), left: Vec::new() }
    }

    pub async fn send(&mut self, raw: &str) {
        self.stream.write_all(raw.as_bytes()).await.unwrap();
    }

    pub async fn answer(&mut self) -> Option<Seen> {
        timeout(DEADLINE, read_message(&mut self.stream, &mut self.left, false)).await.expect("an answer in time")
    }

    /// The gateway has closed, and nothing came before that.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = [0; 64];
        self.left.is_empty()
            && matches!(timeout(DEADLINE, self.stream.read(&mut rest)).await.expect("closed in time"), Ok(0) | Err(_))
    }
}

/// Waits for a condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
