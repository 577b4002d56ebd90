//! reqwest with all policies around it: what may be sent again is, what may not is not, whatever the status says.
//!
//! `cargo run -p mainstay-policy --features http --example reqwest`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::routing::{get, post};
use http::{HeaderMap, Request, Response, StatusCode};
use mainstay_policy::{BoxError, Env, Event, Evidence, Http, Observer, Policy, PolicyKind, Replay};
use reqwest::Body;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt};

/// Runs the example.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let asked = Arc::new(AtomicU32::new(0));
    let (url, server) = payment(asked.clone()).await?;

    let env = Env::new("payment").with_observer(Arc::new(Told));
    // POSTs that carry a key may be sent twice, since this service tells them by it. Only reqwest knows whether it had
    // a connection.
    let http = Http::new(&env)
        .with_idempotency_keys()
        .errors_by(|error: &reqwest::Error| if error.is_connect() { Evidence::NeverSent } else { Evidence::Sent });
    let policies = Policy::standard().speaking(http).layer(&env)?;

    let client = reqwest::Client::builder().no_proxy().build()?;
    let send = tower::service_fn(move |request: Request<Replay<Body>>| {
        let client = client.clone();
        async move {
            let request = reqwest::Request::try_from(request.map(Body::wrap))?;
            Ok::<_, reqwest::Error>(Response::<Body>::from(client.execute(request).await?))
        }
    });
    let mut payment = policies.layer(send);

    println!("GET, which fails twice");
    let request = Request::get(format!("{url}/balance")).body(Replay::new(Body::default()))?;
    let answer = payment.ready().await?.call(request).await?;
    assert_eq!((answer.status(), asked.swap(0, Ordering::Relaxed)), (StatusCode::OK, 3));

    println!("POST, which fails: it may have been done, so it is not done again");
    let request = Request::post(format!("{url}/charges")).body(Replay::new(Body::from("250")))?;
    let answer = payment.ready().await?.call(request).await?;
    assert_eq!((answer.status(), asked.swap(0, Ordering::Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1));

    println!("POST with a key, which fails twice");
    let request = Request::post(format!("{url}/charges")).header("idempotency-key", "order-17");
    let answer = payment.ready().await?.call(request.body(Replay::new(Body::from("250")))?).await?;
    assert_eq!((answer.status(), asked.swap(0, Ordering::Relaxed)), (StatusCode::OK, 3));

    println!("the breaker is {}", policies.breaker().state().label());
    server.abort();
    Ok(())
}

/// A service that fails the first two of any three requests, and knows how long its callers wait.
async fn payment(asked: Arc<AtomicU32>) -> Result<(String, tokio::task::JoinHandle<std::io::Result<()>>), BoxError> {
    let answer = move |headers: HeaderMap, body: String| async move {
        let deadline = headers.get("mainstay-deadline-ms").cloned();
        println!("  asked with {body:?}; the caller waits {deadline:?} ms");
        assert!(deadline.is_some_and(|ms| ms.to_str().is_ok_and(|ms| ms.parse().is_ok_and(|ms: u64| ms < 15_000))));
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    };
    let app = Router::new().route("/balance", get(answer.clone())).route("/charges", post(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((url, tokio::spawn(async move { axum::serve(listener, app).await })))
}

/// Says what the policies decide.
struct Told;

impl Observer for Told {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        println!("  {name}/{}: {event:?}", policy.label());
    }
}
