use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use mainstay_core::{EventBus, EventKind, Fault, LeaseId, Shutdown, SystemClock};
use mainstay_observe::{Family, Metrics, Source};
use mainstay_txn::{BranchCall, CallTemplate, Definition, Engine, MemoryJournal, Options, Outcome, Participant, Step};
use serde_json::Value;
use tower::ServiceExt;

use super::*;

struct Nothing;

impl Source for Nothing {
    fn families(&self) -> Vec<Family> {
        Vec::new()
    }
}

struct Agrees;

impl Participant for Agrees {
    async fn call(&self, _: BranchCall) -> Outcome {
        Outcome::Done
    }
}

struct Desk;

type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl FaultDesk for Desk {
    fn inject(&self, fault: Fault) -> Boxed<'_, Result<LeaseId, FaultRefused>> {
        let known = fault.kind.service().as_str() == "payment";
        Box::pin(
            async move { if known { Ok(LeaseId("f1".into())) } else { Err(FaultRefused("no such service".into())) } },
        )
    }
    fn renew(&self, lease: LeaseId) -> Boxed<'_, bool> {
        Box::pin(async move { lease.0 == "f1" })
    }
    fn clear(&self, lease: LeaseId) -> Boxed<'_, bool> {
        Box::pin(async move { lease.0 == "f1" })
    }
    fn list(&self) -> Boxed<'_, Vec<LiveFault>> {
        Box::pin(async { Vec::new() })
    }
}

/// An API over an engine that commits everything.
fn api() -> (Router, Shutdown) {
    let bus = EventBus::new(Arc::new(SystemClock));
    let call: CallTemplate = "POST payment/charges".parse().unwrap();
    let step = Step { name: "charge".into(), call, undo: None, pivot: false };
    let minute = std::time::Duration::from_secs(60);
    let definition = Definition::saga("checkout", minute, minute, vec![step]).unwrap();
    let journal = Arc::new(MemoryJournal::default());
    let clock = Arc::new(SystemClock);
    let (engine, transactions) =
        Engine::new(Options::default(), vec![definition], journal, Arc::new(Agrees), clock, bus.clone()).unwrap();
    tokio::spawn(engine.run(Shutdown::new()));
    bus.publish(EventKind::Started { app: "shop".into(), adopted: 0 });
    let stop = Shutdown::new();
    let parts = Parts {
        status: Arc::new(|| serde_json::json!({ "app": "shop" })),
        transactions,
        faults: Arc::new(Desk),
        metrics: Metrics::new(Arc::new(Nothing)),
        bus,
        token: "secret".into(),
        stop: stop.clone(),
    };
    (on_loopback_only(router(parts)), stop)
}

/// One request; `token` and `host` as given.
async fn ask(
    api: &Router,
    method: &str,
    path: &str,
    body: &str,
    token: Option<&str>,
    host: &str,
) -> (StatusCode, Value) {
    let mut request =
        Request::builder().method(method).uri(path).header("host", host).header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = api.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (
        status,
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned())),
    )
}

async fn check(method: &str, path: &str, body: &str, status: u16, says: &str) {
    let (api, _) = api();
    let (got, answer) = ask(&api, method, path, body, Some("secret"), "127.0.0.1:9900").await;
    assert_eq!(got.as_u16(), status, "{method} {path}: {answer}");
    assert!(answer.to_string().contains(says), "{method} {path}: {says:?} is not in {answer}");
}

const FAULT: &str = r#"{"fault":"down","service":"payment","ttl":"5s"}"#;

#[tokio::test]
async fn what_can_be_asked() {
    check("GET", "/v1/health", "", 200, "ok").await;
    check("GET", "/v1/status", "", 200, "shop").await;
    check("GET", "/v1/events?format=json", "", 200, "\"kind\":\"started\"").await;
    check("GET", "/v1/events?format=json&since=1", "", 200, "[]").await;
    check("GET", "/metrics", "", 200, "mainstay_telemetry_dropped_total 0").await;
    check("GET", "/v1/faults", "", 200, "faults").await;
    check("POST", "/v1/faults", FAULT, 201, "f1").await;
    check("POST", "/v1/faults/f1/renew", "", 204, "").await;
    check("DELETE", "/v1/faults/f1", "", 204, "").await;
    check("POST", "/v1/transactions", r#"{"name":"checkout","key":"k","input":{}}"#, 201, "tx-").await;
    check("POST", "/v1/transactions?wait=5s", r#"{"name":"checkout","input":{}}"#, 200, "committed").await;
    check("GET", "/v1/transactions", "", 200, "transactions").await;
}

#[tokio::test]
async fn what_is_refused_says_why() {
    check("POST", "/v1/faults", "{", 400, "bad_request").await;
    check("POST", "/v1/faults", r#"{"fault":"down","service":"nobody","ttl":"5s"}"#, 400, "no such service").await;
    check("POST", "/v1/faults", r#"{"fault":"down","service":"payment","ttl":"5"}"#, 400, "duration").await;
    check("POST", "/v1/faults/f2/renew", "", 404, "there is no fault f2").await;
    check("DELETE", "/v1/faults/f2", "", 404, "there is no fault f2").await;
    check("POST", "/v1/transactions", "no json", 400, "bad_request").await;
    check("POST", "/v1/transactions", r#"{"name":"checkot"}"#, 400, "checkout").await;
    check(
        "POST",
        "/v1/transactions",
        &format!(r#"{{"name":"checkout","input":"{}"}}"#, "x".repeat(70_000)),
        413,
        "body_too_large",
    )
    .await;
    check("POST", "/v1/transactions", &"x".repeat(BODY_BYTES_MAX + 1), 413, "body_too_large").await;
    check("GET", "/v1/transactions/tx-0", "", 404, "there is no transaction").await;
    check("GET", "/v1/transactions?status=lost", "", 400, "bad_request").await;
    check("GET", "/v1/events?limit=x", "", 400, "bad_request").await;
    check("GET", "/v2/anything", "", 404, "no_route").await;
    check("PATCH", "/v1/status", "", 404, "no_route").await;
}

#[tokio::test]
async fn a_key_finds_the_same_transaction_and_refuses_another_input() {
    let (api, _) = api();
    let start = async |input: u32| {
        let body = format!(r#"{{"name":"checkout","key":"k","input":{{"n":{input}}}}}"#);
        ask(&api, "POST", "/v1/transactions", &body, Some("secret"), "localhost").await
    };
    let (first, made) = start(1).await;
    let (second, found) = start(1).await;
    assert_eq!((first, second, &made["id"]), (StatusCode::CREATED, StatusCode::OK, &found["id"]));
    let (third, refused) = start(2).await;
    assert_eq!((third, &refused["reason"]), (StatusCode::CONFLICT, &Value::from("idempotency_conflict")));
}

#[tokio::test]
async fn whatever_changes_something_wants_the_token() {
    let (api, stop) = api();
    let changing = [
        ("POST", "/v1/transactions"),
        ("POST", "/v1/faults"),
        ("DELETE", "/v1/faults/f1"),
        ("POST", "/v1/faults/f1/renew"),
        ("POST", "/v1/shutdown"),
    ];
    for (method, path) in changing {
        for token in [None, Some("wrong!"), Some(""), Some("secretx")] {
            let (status, answer) = ask(&api, method, path, FAULT, token, "localhost:1").await;
            assert_eq!((status, &answer["reason"]), (StatusCode::UNAUTHORIZED, &Value::from("unauthorized")), "{path}");
        }
    }
    assert!(!stop.is_cancelled());
    ask(&api, "POST", "/v1/shutdown", "", Some("secret"), "localhost:1").await;
    assert!(stop.is_cancelled());
}

#[tokio::test]
async fn other_host_names_are_refused() {
    let (api, _) = api();
    for (host, allowed) in [
        ("127.0.0.1:9900", true),
        ("localhost", true),
        ("[::1]:9900", true),
        ("evil.example", false),
        ("", false),
        ("127.0.0.1.evil.example:80", false),
    ] {
        let (status, _) = ask(&api, "GET", "/v1/status", "", None, host).await;
        assert_eq!(status == StatusCode::OK, allowed, "{host}");
    }
}
