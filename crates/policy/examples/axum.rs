//! A server that protects itself: it keeps to its callers' deadlines, gives each tenant a share, takes no more at
//! once than it can do, and says why it turned somebody away.
//!
//! `cargo run -p mainstay-policy --features http --example axum`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::routing::get;
use mainstay_policy::{
    Adapt, BoxError, Bulkhead, BulkheadLayer, BulkheadSettings, Deadline, DeadlineLayer, DeadlineSettings, Env, Error,
    Http, KeyedRateLimit, KeyedRateLimitLayer, Rate, RateLimitSettings, rejection_response,
};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceBuilder;

/// Runs the example.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    // A report takes as long as somebody wants it to.
    let (started, finish) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let report = {
        let (started, finish) = (started.clone(), finish.clone());
        move || async move {
            started.add_permits(1);
            finish.notified().await;
            "a long report"
        }
    };

    // Knowledge of HTTP. It serves, so there are no copies of bodies to be made; tenants were checked before.
    let env = Env::new("reports");
    let http = Http::new(&env).tenant_from("tenant".parse()?).sent_once();

    let deadline = Deadline::new(DeadlineSettings::default(), &env)?;
    let tenants =
        KeyedRateLimit::<String>::new(RateLimitSettings::new(Rate { count: 3, ..Rate::per_second(1) }, 3), &env)?;
    let bulkhead = Bulkhead::new(BulkheadSettings { in_flight: 1, queue: 0, ..BulkheadSettings::default() }, &env)?;

    let protected = ServiceBuilder::new()
        // What policies decide becomes an answer; nothing else can fail here.
        .layer(HandleErrorLayer::new(|error: Error<_>| async move { answer(&error) }))
        .layer(DeadlineLayer::new(deadline).profiled_by(http.clone()))
        .layer(KeyedRateLimitLayer::new(tenants, |request: &http::Request<Body>| {
            Some(request.headers().get("tenant")?.to_str().ok()?.to_owned())
        }))
        .layer(BulkheadLayer::new(bulkhead).profiled_by(http))
        .layer(Adapt);
    let app = Router::new().route("/report", get(report)).layer(protected);

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/report", listener.local_addr()?);
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let client = reqwest::Client::builder().no_proxy().build()?;
    let ask = |tenant: &'static str| client.get(&url).header("tenant", tenant);

    println!("a caller with half a millisecond left");
    let late = ask("ada").header("mainstay-deadline-ms", "0").send().await?;
    expect(&late, 504, "deadline");

    println!("two callers, and room for one");
    let first = tokio::spawn(ask("ada").send());
    started.acquire().await?.forget();
    let second = ask("bob").send().await?;
    expect(&second, 503, "bulkhead_full");
    finish.notify_one();
    let first = first.await??;
    assert_eq!(first.status(), 200);
    println!("  the first one got {:?}", first.text().await?);

    println!("a tenant who asks too often, and one who does not");
    let mut refused = 0;
    for _ in 0..4 {
        finish.notify_one();
        let answer = ask("eve").send().await?;
        if answer.status() == 429 {
            expect(&answer, 429, "rate_limited");
            assert_eq!(answer.headers()["retry-after"], "1");
            refused += 1;
        }
    }
    assert!(refused > 0, "three a second, and four at once");
    finish.notify_one();
    assert_eq!(ask("bob").send().await?.status(), 200);

    server.abort();
    Ok(())
}

/// The answer to a request that a policy ended.
fn answer(error: &Error<std::convert::Infallible>) -> http::Response<Body> {
    match error {
        Error::Rejected(rejection) => rejection_response(rejection),
        Error::Failed { error, .. } => match *error {},
    }
}

fn expect(answer: &reqwest::Response, status: u16, reason: &str) {
    println!("  {}: {:?}", answer.status(), answer.headers()["mainstay-reason"]);
    assert_eq!(answer.status(), status);
    assert_eq!(answer.headers()["mainstay-reason"], reason);
}
