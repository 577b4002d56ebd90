//! hyper's client with single layers around it: a try that hangs is cut off and repeated, and a service that is gone
//! is left alone.
//!
//! `cargo run -p mainstay-policy --features http --example hyper`
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::TokioExecutor;
use mainstay_policy::{
    Adapt, BoxError, Breaker, BreakerLayer, BreakerSettings, BreakerState, Deadline, DeadlineLayer, DeadlineSettings,
    Env, Error, Evidence, Http, Reason, Replay, Retry, RetryLayer, RetrySettings, Timeout, TimeoutSettings,
    TryTimeoutLayer,
};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};

/// Runs the example.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    // A service of which the first request gets no answer.
    let asked = Arc::new(AtomicU32::new(0));
    let price = {
        let asked = asked.clone();
        move || async move {
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            "17.50"
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/price", listener.local_addr()?);
    let app = Router::new().route("/price", get(price));
    let server = tokio::spawn(async move { axum::serve(listener, app).await });

    let env = Env::new("catalogue");
    // Only the client knows whether it had a connection: without one the service has seen nothing.
    let http = Http::new(&env).errors_by(|error: &Error<ClientError>| match error {
        Error::Failed { error, .. } if error.is_connect() => Evidence::NeverSent,
        _ => Evidence::Sent,
    });
    // Who asks for a price waits for two seconds, and so no retry waits longer.
    let deadline = DeadlineSettings { total: Duration::from_secs(2), ..DeadlineSettings::default() };
    let deadline = Deadline::new(deadline, &env)?;
    let retry = Retry::new(RetrySettings::default(), &env)?;
    let breaker = Breaker::new(BreakerSettings::default(), &env)?;
    let timeout = TimeoutSettings { per_try: Duration::from_millis(200), ..TimeoutSettings::default() };
    let timeout = Timeout::new(timeout, &env)?;

    // From the outside in. The retry is above the breaker, so that each try is counted and an open breaker stops it.
    let mut catalogue = ServiceBuilder::new()
        .map_request(|request: http::Request<Empty<_>>| request.map(Replay::new))
        .layer(DeadlineLayer::new(deadline).profiled_by(http.clone()))
        .layer(RetryLayer::new(retry).profiled_by(http.clone()).judged_by(http.clone()))
        .layer(BreakerLayer::new(breaker.clone()).judged_by(http.clone()))
        .layer(TryTimeoutLayer::new(timeout).profiled_by(http))
        .layer(Adapt)
        .service(Client::builder(TokioExecutor::new()).build_http());
    let ask = |url: &str| http::Request::get(url).body(Empty::<bytes::Bytes>::new());

    println!("a try that hangs");
    let answer = catalogue.ready().await?.call(ask(&url)?).await?;
    let price = answer.into_body().collect().await?.to_bytes();
    println!("  {price:?} after {} tries", asked.load(Ordering::Relaxed));
    assert_eq!((&price[..], asked.load(Ordering::Relaxed)), (&b"17.50"[..], 2));

    println!("the service is gone");
    let gone = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let mut calls = 0;
    let last = loop {
        calls += 1;
        let error = catalogue.ready().await?.call(ask(&format!("http://{gone}/price"))?).await;
        let error = error.expect_err("nobody listens there any more");
        if error.reason() == Some(Reason::BreakerOpen) || calls == 30 {
            break error;
        }
    };
    println!("  call {calls}: {last}");
    assert_eq!(last.reason(), Some(Reason::BreakerOpen));
    assert_eq!(breaker.state(), BreakerState::Open);
    assert!(last.retry_after().is_some());
    server.abort();
    Ok(())
}
