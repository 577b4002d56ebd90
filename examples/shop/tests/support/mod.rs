//! Services in this process on free ports, and a client for them.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of tests fails the test and says why")]

use std::path::Path;

use axum::http::{Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay_shop::{Config, Service};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub(crate) type Answer = (StatusCode, Value);

/// A running replica; it stops when this is dropped.
pub(crate) struct Replica {
    pub(crate) url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _stop: oneshot::Sender<()>,
}

pub(crate) fn config(service: Service, data: &Path) -> Config {
    let data = data.to_str().unwrap().to_owned();
    Config::from_lookup(service, |name| match name {
        "PORT" => Some("0".to_owned()),
        "SHOP_DATA" => Some(data.clone()),
        "SHOP_STOCK" => Some("tea=1000,cup=100,last-one=1".to_owned()),
        "SHOP_CARD_LIMIT" => Some("1000".to_owned()),
        _ => None,
    })
    .unwrap()
}

pub(crate) async fn start(config: Config) -> Replica {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let shutdown = async move {
            let _ = stopped.await;
        };
        if let Err(error) = mainstay_shop::serve(config, listener, shutdown).await {
            eprintln!("the replica ended: {error}");
        }
    });
    Replica::at(url, stop)
}

impl Replica {
    pub(crate) fn at(url: String, stop: oneshot::Sender<()>) -> Self {
        Self { url, client: Client::builder(TokioExecutor::new()).build_http(), _stop: stop }
    }

    pub(crate) async fn send(&self, method: Method, path: &str, key: Option<&str>, body: impl Into<Bytes>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let answer = self.client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| panic!("no JSON: {body:?}")))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, "").await
    }

    pub(crate) async fn post(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(key), body.to_string()).await
    }

    pub(crate) async fn release(&self, order: &str) -> Answer {
        self.send(Method::DELETE, &format!("/reservations/{order}"), None, "").await
    }

    pub(crate) async fn totals(&self) -> Value {
        self.get("/audit").await.1["totals"].clone()
    }
}

pub(crate) fn checkout(order: &str, sku: &str, quantity: i64, card: &str, amount: i64) -> Value {
    json!({ "order_id": order, "sku": sku, "quantity": quantity, "card": card, "amount_cents": amount })
}

/// The two equations that hold at every moment.
pub(crate) fn assert_balanced(totals: &Value) {
    let n = |name: &str| totals[name].as_i64().unwrap();
    if totals.get("charged").is_some() {
        assert_eq!(n("charged") - n("refunded"), n("captured"), "{totals}");
    } else {
        assert_eq!(n("initial"), n("available") + n("reserved") + n("sold"), "{totals}");
        assert!(n("min_available") >= 0, "{totals}");
    }
}
