//! The host that runs Mainstay: the gateway's worker on a simulated network, and the engine, whose branches are called
//! through the gateway. Everything but the journal is lost when it crashes.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{Clock, EventBus, ServiceName, Shutdown};
use mainstay_gateway::sim::{Core, Net, Worker};
use mainstay_gateway::{
    Caller, Ejection, HeaderMap, HeaderName, HeaderValue, ListenerId, LocalFuture, LocalHandler, LocalRequest,
    LocalResponse, Request, RoutePolicy, RouteSpec, Snapshot, StatusCode, Target, Timeouts, UpstreamPolicy,
};
use mainstay_txn::{BranchCall, Definition, Engine, Handle, Outcome, Participant, Start, Status, Step};
use serde_json::Value;
use turmoil::net::{TcpListener, TcpStream};

use crate::run::Mutation;
use crate::world::{SimulatedClock, World};

/// The name of the host.
pub(crate) const MAINSTAY: &str = "mainstay";
/// The ingress.
pub(crate) const PORT: u16 = 80;
/// The edge from order to inventory.
pub(crate) const EDGE_PORT: u16 = 81;

/// How long a client of the route waits for the end of its transaction.
const ROUTE_WAIT: Duration = Duration::from_secs(3);
/// For one try of a branch.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Short enough that some sagas turn round because of it.
const DEADLINE: Duration = Duration::from_secs(3);
/// Long enough that nothing gets stuck.
const STUCK_AFTER: Duration = Duration::from_secs(600);

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

/// The process: runs until the host crashes.
pub(crate) async fn mainstay(world: Rc<World>) -> turmoil::Result {
    let start = world.starts.get();
    world.starts.set(start + 1);
    let seed = world.seed.wrapping_mul(1000).wrapping_add(start);
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock);
    let bus = EventBus::new(clock.clone());
    world.buses.borrow_mut().push(bus.clone());

    let options = mainstay_gateway::Options { workers: 1, seed, ..mainstay_gateway::Options::default() };
    let (core, mut seats) =
        Core::new(options, Vec::new(), Snapshot::default(), world.endpoints.subscribe(), bus.clone());
    let gateway = core.handle();

    let options = mainstay_txn::Options {
        seed,
        call_timeout: CALL_TIMEOUT,
        recovery: world.mutation != Mutation::NoRecovery,
        stable_keys: world.mutation != Mutation::FreshKeys,
        ..mainstay_txn::Options::default()
    };
    let participant = Arc::new(ThroughGateway(gateway.caller()));
    let (engine, transactions) =
        Engine::new(options, vec![checkout()], world.journal.clone(), participant, clock, bus)?;
    gateway.publish(snapshot(transactions));

    let edge = ListenerId::Edge { callee: ServiceName::new("inventory")?, caller: Some(ServiceName::new("order")?) };
    let listeners = vec![
        (ListenerId::Ingress, TcpListener::bind(("0.0.0.0", PORT)).await?),
        (edge, TcpListener::bind(("0.0.0.0", EDGE_PORT)).await?),
    ];
    let worker = Worker::new(core, seats.remove(0), Simulated, listeners);
    let shutdown = Shutdown::new();
    tokio::select! {
        biased;
        end = engine.run(shutdown.clone()) => end?,
        () = worker.run(shutdown) => {}
    }
    Err("Mainstay ended by itself".into())
}

fn checkout() -> Definition {
    let step = |name: &str, call: &str, undo: Option<&str>, pivot| Step {
        name: name.into(),
        call: call.parse().unwrap(),
        undo: undo.map(|undo| undo.parse().unwrap()),
        pivot,
    };
    let steps = vec![
        step("place", "POST order/orders", Some("POST order/orders/{key}/cancel"), false),
        step("reserve", "POST inventory/reservations", Some("DELETE inventory/reservations/{key}"), false),
        step("charge", "POST payment/charges", Some("POST payment/refunds"), true),
        step("sell", "POST inventory/reservations/{key}/sale", None, false),
        step("confirm", "POST order/orders/{key}/confirm", None, false),
    ];
    Definition::saga("checkout", DEADLINE, STUCK_AFTER, steps).unwrap()
}

fn snapshot(transactions: Handle) -> Snapshot {
    let route = |pattern: &str, target| RouteSpec {
        pattern: pattern.into(),
        methods: None,
        target,
        policy: RoutePolicy::default(),
    };
    let policy = UpstreamPolicy {
        timeouts: Timeouts {
            connect: Duration::from_millis(300),
            per_try: Duration::from_millis(700),
            total: Duration::from_secs(2),
            ..Timeouts::default()
        },
        ejection: Ejection {
            consecutive: 3,
            base: Duration::from_secs(1),
            slow_start: Duration::from_secs(1),
            ..Ejection::default()
        },
        ..UpstreamPolicy::default()
    };
    let services = ["order", "inventory", "payment"].map(|name| ServiceName::new(name).unwrap());
    let upstreams: BTreeMap<_, _> = services.iter().map(|name| (name.clone(), policy.clone())).collect();
    let routes = vec![
        route("/checkout", Target::Local(Arc::new(Starts(transactions)))),
        route("/catalog/*", Target::Service(services[0].clone())),
    ];
    Snapshot { routes, upstreams }
}

/// The adapter of the binary.
struct ThroughGateway(Caller);

impl Participant for ThroughGateway {
    async fn call(&self, call: BranchCall) -> Outcome {
        let headers = call
            .headers
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)));
        let request = Request {
            method: call.method,
            path: call.path,
            headers: headers.collect(),
            body: call.body,
            timeout: Some(call.timeout),
        };
        match self.0.call(&call.service, request).await {
            Ok(answer) => {
                let retry_after = answer.headers.get("retry-after").and_then(|v| v.to_str().ok());
                Outcome::from_http(answer.status.as_u16(), retry_after, &answer.body)
            }
            Err(error) => Outcome::Unknown { why: error.to_string() },
        }
    }
}

/// The route that starts a checkout: 200 committed, 409 rolled back, 202 durable and under way, 503 nobody knows.
struct Starts(Handle);

impl LocalHandler for Starts {
    fn call(&self, request: LocalRequest) -> LocalFuture {
        let handle = self.0.clone();
        Box::pin(async move {
            let input: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let key = input["order_id"].as_str().map(str::to_owned);
            let status = match handle.start(Start { name: "checkout".into(), key, input }).await {
                Ok(started) => match handle.wait(&started.id, ROUTE_WAIT).await {
                    Ok(record) => match record.map_or(started.status, |r| r.status) {
                        Status::Committed => StatusCode::OK,
                        Status::RolledBack => StatusCode::CONFLICT,
                        _ => StatusCode::ACCEPTED,
                    },
                    Err(_) => StatusCode::SERVICE_UNAVAILABLE,
                },
                Err(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            LocalResponse { status, headers: HeaderMap::new(), body: Bytes::new() }
        })
    }
}
