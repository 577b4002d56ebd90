//! tonic with all policies below its client: gRPC's statuses are understood, and deadlines are passed on.
//!
//! `cargo run -p mainstay-policy --features http --example tonic`
//!
//! Messages are bytes, so that the example needs no protocol compiler. Generated clients take the same service:
//! `PriceClient::new(service)`.
#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request as HttpRequest;
use http::uri::PathAndQuery;
use mainstay_policy::{BoxError, Env, Http, Policy, Replay};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Endpoint;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Code, Request, Response, Status};
use tower::{Layer, Service, ServiceBuilder};

/// Runs the example.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), BoxError> {
    let asked = Arc::new(AtomicU32::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let prices = Prices { asked: asked.clone() };
    let server = Server::builder().add_service(prices).serve_with_incoming(TcpIncoming::from(listener));
    let server = tokio::spawn(server);

    // Every gRPC call is a POST. That asking for a price twice does no harm must be said.
    let env = Env::new("prices");
    let reads = Policy::standard().speaking(Http::new(&env).idempotent()).layer(&env)?;
    let writes = Policy::standard().speaking(Http::new(&env)).layer(&env)?;
    let channel = Endpoint::from_shared(url)?.connect_lazy();
    // Bodies become ones that can be sent again, and tonic's own again below.
    let below = ServiceBuilder::new().map_request(|request: HttpRequest<Replay<Body>>| request.map(Body::new));
    let above = ServiceBuilder::new().map_request(|request: HttpRequest<Body>| request.map(Replay::new));
    let mut reads = Grpc::new(above.clone().service(reads.layer(below.clone().service(channel.clone()))));
    let mut writes = Grpc::new(above.service(writes.layer(below.service(channel))));

    println!("a read of which two tries are answered UNAVAILABLE");
    let mut request = Request::new(Bytes::from_static(b"tea"));
    request.set_timeout(Duration::from_secs(5));
    reads.ready().await?;
    let answer = reads.unary(request, PathAndQuery::from_static(PRICE), Plain).await?;
    println!("  {:?} after {} tries", answer.get_ref(), asked.load(Ordering::Relaxed));
    assert_eq!((&answer.get_ref()[..], asked.swap(0, Ordering::Relaxed)), (&b"17.50"[..], 3));

    println!("the same as a write");
    writes.ready().await?;
    let refused = writes.unary(Request::new(Bytes::from_static(b"tea")), PathAndQuery::from_static(PRICE), Plain).await;
    let refused = refused.expect_err("it is not sent again");
    println!("  {:?} after one try", refused.code());
    assert_eq!((refused.code(), asked.load(Ordering::Relaxed)), (Code::Unavailable, 1));

    server.abort();
    Ok(())
}

const PRICE: &str = "/shop.Prices/Price";

/// The server's side, as a compiler would generate it.
#[derive(Clone)]
struct Prices {
    asked: Arc<AtomicU32>,
}

impl Prices {
    fn price(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Status> {
        println!("  asked for {:?}; the caller waits {:?}", request.get_ref(), request.metadata().get("grpc-timeout"));
        assert!(request.metadata().contains_key("mainstay-deadline-ms"));
        match self.asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => Err(Status::unavailable("starting")),
            _ => Ok(Response::new(Bytes::from_static(b"17.50"))),
        }
    }
}

impl tonic::server::NamedService for Prices {
    const NAME: &'static str = "shop.Prices";
}

impl Service<HttpRequest<Body>> for Prices {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let prices = self.clone();
        Box::pin(async move {
            let price = tower::service_fn(move |request: Request<Bytes>| std::future::ready(prices.price(&request)));
            Ok(tonic::server::Grpc::new(Plain).unary(price, request).await)
        })
    }
}

/// Messages that are bytes.
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put(to, message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = bytes::Buf::remaining(from);
        Ok(Some(bytes::Buf::copy_to_bytes(from, length)))
    }
}
