//! What a client may conclude from what it saw, over real sockets.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Rate, Shutdown, Span};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::history::{Ending, Ledger, Op};
use crate::spec::{Load, Meaning, Operation};

/// Sends one operation to a server that answers every connection with `answer` and closes it; none answers nothing and
/// keeps the connection, an empty answer just closes.
async fn check(answer: Option<&'static str>, ending: Ending) -> Op {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await;
            match answer {
                Some(answer) => {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
                None => held.push(stream),
            }
        }
    });
    let op = first_of(&format!("http://{address}")).await;
    server.abort();
    assert_eq!(op.ending, ending, "{op:?}");
    op
}

/// The first operation of a load on `url`.
async fn first_of(url: &str) -> Op {
    let mut operation = Operation::new("checkout", "POST", "/checkout");
    operation.body = Some(r#"{"id":"{key}"}"#.into());
    operation.answers = vec![(200, Meaning::Done), (202, Meaning::Accepted), (409, Meaning::Refused)];
    operation.timeout = Span(Duration::from_millis(300));
    let load = Load { rate: Rate::new(1000.0).unwrap(), mix: vec![operation], in_flight_max: 1, ..Load::default() };
    let arrivals = Arrivals::new(&load, 1, "d1-1-");
    let ledger = Arc::new(Ledger::new(None));
    let (stop, abandon) = (Shutdown::new(), Shutdown::new());
    let client = Client::new(url).unwrap();
    let driven = drive(load, arrivals, client, ledger.clone(), Instant::now(), stop.clone(), abandon);
    let watched = async {
        loop {
            let done = ledger.finished_since(Duration::ZERO, Duration::MAX / 2);
            if done.iter().any(|op| op.index == 0) {
                return stop.cancel();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(driven, watched);
    ledger.history().operations.into_iter().next().unwrap()
}

#[tokio::test]
async fn an_answer_means_what_the_operation_says() {
    let op = check(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"), Ending::Done).await;
    assert!(op.good && op.reply.is_some() && op.status == Some(200));
    check(Some("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"), Ending::Accepted).await;
    assert!(check(Some("HTTP/1.1 409 Conflict\r\ncontent-length: 0\r\n\r\n"), Ending::Refused).await.good);
    assert!(!check(Some("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"), Ending::Rejected).await.good);
}

#[tokio::test]
async fn a_refusal_by_mainstay_is_not_the_services() {
    const BUSY: &str = "HTTP/1.1 409 Conflict\r\nmainstay-reason: idempotency_in_flight\r\ncontent-length: 0\r\n\r\n";
    let op = check(Some(BUSY), Ending::Rejected).await;
    assert_eq!(op.detail.as_deref(), Some("idempotency_in_flight"));
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_unknown() {
    check(Some("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), Ending::Unknown).await;
    check(Some(""), Ending::Unknown).await;
    check(Some("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"), Ending::Unknown).await;
    let op = check(None, Ending::Unknown).await;
    assert!(op.detail.unwrap().contains("no answer within 300 ms"));
}

#[tokio::test]
async fn without_a_connection_nothing_was_sent() {
    // The port was free a moment ago, and nobody listens on it.
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let op = first_of(&format!("http://{address}")).await;
    assert_eq!(op.ending, Ending::NotConnected);
    assert_eq!(op.ending.history_type(), "fail");
    assert!(op.detail.unwrap().contains("refused"));
}

#[test]
fn only_plain_http_can_be_drilled() {
    for bad in ["", "localhost", "https://x", "ftp://x", "/path"] {
        assert!(Client::new(bad).is_err(), "{bad}");
    }
    assert!(Client::new("http://127.0.0.1:8080/").is_ok());
}
