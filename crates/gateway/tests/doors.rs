//! Routes, edges, local handlers, the caller, limits and the edges of start and stop.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Client, Mock, Reply, Rig, ask, get, ok, options, post, ready, replica, route, service, snapshot, status};
use mainstay_core::{EventBus, Reason, SystemClock};
use mainstay_gateway::{
    BindError, Gateway, HeaderMap, Limits, Listener, ListenerId, LocalFuture, LocalHandler, LocalRequest,
    LocalResponse, Method, Options, Request, Retries, RoutePolicy, RouteSpec, Snapshot, StatusCode, Target,
    UpstreamPolicy,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

struct Echo;

impl LocalHandler for Echo {
    fn call(&self, request: LocalRequest) -> LocalFuture {
        Box::pin(async move {
            assert!(request.path != "/local/panic", "asked to panic");
            let text = format!(
                "{} {} {:?} {:?} {} {}",
                request.method,
                request.path,
                request.query,
                request.headers.get("a").map(|v| v.to_str().unwrap().to_owned()),
                request.headers.contains_key("connection"),
                String::from_utf8_lossy(&request.body),
            );
            LocalResponse { status: StatusCode::CREATED, headers: HeaderMap::new(), body: text.into() }
        })
    }
}

fn with_local() -> Snapshot {
    let mut snapshot = snapshot(UpstreamPolicy::default());
    snapshot.routes.push(route("/local/*", Target::Local(Arc::new(Echo))));
    snapshot
}

#[tokio::test]
async fn code_in_this_process_answers() {
    let rig = Rig::with(options(), with_local(), &[]);
    let mut client = Client::connect(rig.ingress).await;
    for _ in 0..2 {
        client.send(&post("/local/x?q=1", "a: b\r\n", "hello")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status(), 201);
        assert_eq!(answer.text(), "POST /local/x Some(\"q=1\") Some(\"b\") false hello");
        client.send("POST /local/c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().text(), "POST /local/c None None false abcde");
    }
    // 64 KiB fit, one byte more does not, however it is framed.
    let full = "x".repeat(64 * 1024);
    assert_eq!(ask(rig.ingress, &post("/local/x", "", &full)).await.status(), 201);
    for raw in [
        post("/local/x", "", &format!("{full}x")),
        format!("POST /local/x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n10001\r\n{full}x\r\n0\r\n\r\n"),
    ] {
        let answer = ask(rig.ingress, &raw).await;
        assert_eq!((answer.status(), answer.reason()), (413, "body_too_large"));
    }
    assert_eq!(rig.handle.stats().routes["/local/*"].by_class[1], 5);
}

#[tokio::test]
async fn a_bug_ends_the_request_and_not_the_worker() {
    let rig = Rig::with(options(), with_local(), &[]);
    let mut bystander = Client::connect(rig.ingress).await;
    bystander.send(&get("/local/x")).await;
    assert_eq!(bystander.answer().await.unwrap().status(), 201);
    let mut client = Client::connect(rig.ingress).await;
    client.send(&get("/local/panic")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status(), answer.reason()), (500, "panic"));
    assert!(client.is_closed().await);
    bystander.send(&get("/local/x")).await;
    assert_eq!(bystander.answer().await.unwrap().status(), 201);
    assert_eq!(rig.handle.stats().panics, 1);
}

#[tokio::test]
async fn an_edge_needs_no_route_and_an_update_holds_at_once() {
    let (one, two) = (Mock::start(|_, _| ok("one")).await, Mock::start(|_, _| ok("two")).await);
    let mut snapshot = snapshot(UpstreamPolicy::default());
    snapshot.routes.clear();
    let rig = Rig::with(options(), snapshot, &[one.addr]);
    assert_eq!(rig.get("/any").await.reason(), "no_route");
    assert_eq!(ask(rig.edge, &get("/any")).await.text(), "one");
    for _ in 0..10 {
        rig.endpoints.send_replace(ready(&[two.addr]));
        assert_eq!(ask(rig.edge, &get("/")).await.text(), "two");
        rig.endpoints.send_replace(ready(&[one.addr]));
        assert_eq!(ask(rig.edge, &get("/")).await.text(), "one");
    }
    rig.handle.publish(with_local());
    assert_eq!(rig.get("/any").await.text(), "one");
    assert_eq!(rig.get("/local/x").await.status(), 201);
}

#[tokio::test]
async fn a_route_may_differ_from_its_service() {
    let mock = Mock::start(|n, _| if n == 0 { status(503, "") } else { ok("") }).await;
    let mut snapshot = snapshot(UpstreamPolicy::default());
    let retries = Retries { idempotent: true, ..Retries::default() };
    let policy = RoutePolicy { retries: Some(retries), ..RoutePolicy::default() };
    let methods = Some(vec![Method::POST]);
    snapshot.routes.insert(0, RouteSpec { policy, methods, ..route("/twice", Target::Service(service())) });
    let rig = Rig::with(options(), snapshot, &[mock.addr]);
    assert_eq!(rig.ask(&post("/twice", "", "x")).await.status(), 200);
    assert_eq!(mock.count(), 2);
    common::until("it is counted once", || rig.handle.stats().routes["/twice"].total() == 1).await;
}

fn call(method: Method, path: &str, body: &str) -> Request {
    Request {
        method,
        path: path.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        timeout: None,
    }
}

#[tokio::test]
async fn the_control_plane_calls_by_the_same_way() {
    let mock = Mock::start(|n, s| match s.head.split(' ').nth(1) {
        Some("/hang") => Reply::Hang,
        Some("/busy") if n < 1 => status(503, ""),
        Some("/chunks") => {
            Reply::Bytes("HTTP/1.1 200 X\r\nb: c\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".into())
        }
        _ => Reply::Bytes("HTTP/1.1 409 X\r\ncontent-length: 2\r\n\r\nno".into()),
    })
    .await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let caller = rig.handle.caller();
    let name = service();
    let mut busy = call(Method::POST, "/busy", "x");
    busy.headers.insert("idempotency-key", "7".parse().unwrap());
    let answer = caller.call(&name, busy).await.unwrap();
    assert_eq!((answer.status.as_u16(), mock.count()), (409, 2));
    assert_eq!((mock.last().body.as_slice(), mock.last().header("idempotency-key")), (&b"x"[..], Some("7")));
    let answer = caller.call(&name, call(Method::GET, "/chunks", "")).await.unwrap();
    assert_eq!((&answer.body[..], answer.headers["b"].to_str().unwrap()), (&b"hi"[..], "c"));
    assert!(mock.last().header("content-length").is_none());

    let hang = Request { timeout: Some(Duration::from_millis(50)), ..call(Method::POST, "/hang", "") };
    let error = caller.call(&name, hang).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::TimeoutTotal, true));
    let error = caller.call(&name, call(Method::GET, "no path", "")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::BadRequest, false));
    rig.endpoints.send_replace(ready(&[]));
    let error = caller.call(&name, call(Method::POST, "/", "x")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::NoEndpoint, false));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    rig.endpoints.send_replace(ready(&[nobody]));
    let error = caller.call(&name, call(Method::POST, "/", "x")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::ConnectFailed, false));
    rig.shutdown.cancel();
    common::until("it has stopped", || rig.thread.as_ref().unwrap().is_finished()).await;
    let error = caller.call(&name, call(Method::POST, "/", "x")).await.unwrap_err();
    assert_eq!((error.reason, error.sent), (Reason::Draining, false));
}

#[tokio::test]
async fn too_many_connections_are_told_so() {
    let mock = Mock::start(|_, _| ok("")).await;
    let limits = Limits { connections_max: 2, ..Limits::default() };
    let rig = Rig::with(Options { limits, ..options() }, snapshot(UpstreamPolicy::default()), &[mock.addr]);
    let mut two = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(rig.ingress).await;
        client.send(&get("/")).await;
        assert_eq!(client.answer().await.unwrap().status(), 200);
        two.push(client);
    }
    let mut third = Client::connect(rig.ingress).await;
    assert_eq!(third.answer().await.unwrap().reason(), "shed");
    assert_eq!(rig.handle.stats().connections_refused, 1);
    drop(two);
    common::until("they are gone", || rig.handle.stats().connections == 0).await;
    assert_eq!(rig.get("/").await.status(), 200);
}

#[tokio::test]
async fn an_address_in_use_is_named_and_nothing_is_started() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr: SocketAddr = taken.local_addr().unwrap();
    let listeners = [Listener { id: ListenerId::Ingress, addr }];
    let (_publisher, endpoints) = watch::channel(ready(&[]));
    let bus = EventBus::new(Arc::new(SystemClock));
    let error =
        Gateway::bind(options(), &listeners, Snapshot::default(), endpoints.clone(), bus.clone()).err().unwrap();
    assert!(matches!(error, BindError::Listen { .. }));
    assert!(error.to_string().starts_with(&format!("ingress: cannot listen on {addr}: ")), "{error}");
    // Neither is a port that another Mainstay shares between its own workers.
    drop(taken);
    let two = Options { workers: 2, ..options() };
    let (_first, _) =
        Gateway::bind(two.clone(), &listeners, Snapshot::default(), endpoints.clone(), bus.clone()).unwrap();
    assert!(Gateway::bind(two, &listeners, Snapshot::default(), endpoints, bus).is_err());
}

#[tokio::test]
async fn several_workers_count_together() {
    let mock = Mock::start(|_, _| ok("")).await;
    let rig = Rig::with(Options { workers: 3, ..options() }, snapshot(UpstreamPolicy::default()), &[mock.addr]);
    for _ in 0..30 {
        assert_eq!(rig.get("/").await.status(), 200);
    }
    // A request is counted when its answer is out: the client may see it a moment earlier.
    let counted = || rig.handle.stats().services[&service()].outcomes.by_class[1];
    common::until("all are counted", || counted() == 30).await;
    let stats = rig.handle.stats();
    assert_eq!(stats.routes["/*"].latency.count(), 30);
    assert_eq!(stats.replicas[&replica(1)].attempts.ok, 30);
    assert_eq!(stats.connections_total, 30);
}
