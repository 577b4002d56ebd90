//! Bodies both ways at once, of every framing, with back-pressure; and the end: drain and shutdown.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod common;

use std::time::Duration;

use common::{Client, Mock, Reply, Rig, ask, get, ok, options, post, snapshot, until};
use mainstay_gateway::{Options, UpstreamPolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// An upstream of one connection that a test drives by hand.
async fn by_hand() -> (TcpListener, Rig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::with(options(), snapshot(UpstreamPolicy::default()), &[listener.local_addr().unwrap()]);
    (listener, rig)
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0; 1];
        let n = timeout(common::DEADLINE, stream.read(&mut byte)).await.expect("in time").unwrap();
        assert!(n > 0, "ended after {text:?}");
        text.push(byte[0] as char);
    }
    text
}

#[tokio::test]
async fn the_answer_is_read_while_the_upload_runs() {
    let (listener, rig) = by_hand().await;
    let mut client = Client::connect(rig.ingress).await;
    client.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    read_until(&mut client.stream, "\r\n\r\n").await;
    // Ping-pong within one exchange: neither side finishes before the other.
    for i in 'a'..='e' {
        client.send(&format!("1\r\n{i}\r\n")).await;
        assert_eq!(read_until(&mut upstream, &format!("{i}\r\n")).await, format!("1\r\n{i}\r\n"));
        upstream.write_all(format!("2\r\n#{i}\r\n").as_bytes()).await.unwrap();
        assert_eq!(read_until(&mut client.stream, &format!("#{i}\r\n")).await, format!("2\r\n#{i}\r\n"));
    }
    client.send("0\r\n\r\n").await;
    read_until(&mut upstream, "0\r\n\r\n").await;
    upstream.write_all(b"0\r\n\r\n").await.unwrap();
    read_until(&mut client.stream, "0\r\n\r\n").await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_upload_reaches_the_client() {
    let (listener, rig) = by_hand().await;
    let mut client = Client::connect(rig.ingress).await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\nstart").await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_until(&mut upstream, "start").await;
    upstream.write_all(b"HTTP/1.1 413 X\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig").await.unwrap();
    drop(upstream);
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status(), answer.text().as_str(), answer.header("connection")), (413, "big", Some("close")));
}

#[tokio::test]
async fn a_slow_reader_holds_the_upstream_back() {
    const TOTAL: usize = 64 * 1024 * 1024;
    let (listener, rig) = by_hand().await;
    let mut client = Client::connect(rig.ingress).await;
    client.send(&get("/")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(format!("HTTP/1.1 200 X\r\ncontent-length: {TOTAL}\r\n\r\n").as_bytes()).await.unwrap();
    let piece = vec![b'x'; 64 * 1024];
    let mut written = 0;
    // Until the kernel's buffers on the way are full: whoever buffers in between takes all of it.
    while let Ok(n) = timeout(Duration::from_millis(300), upstream.write(&piece)).await {
        written += n.unwrap();
        assert!(written < TOTAL, "all of it was taken though nobody read");
    }
    let rest = tokio::spawn(async move {
        while written < TOTAL {
            written += upstream.write(&piece[..piece.len().min(TOTAL - written)]).await.unwrap();
        }
    });
    let answer = client.answer().await.unwrap();
    assert_eq!(answer.body.len(), TOTAL);
    rest.await.unwrap();
}

#[tokio::test]
async fn bodies_of_every_size_and_framing_arrive_as_they_were() {
    let mock = Mock::start(|_, s| {
        let body = String::from_utf8(s.body.clone()).unwrap();
        if s.head.starts_with("POST /chunked") {
            Reply::Bytes(format!(
                "HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ))
        } else if s.head.starts_with("POST /close") {
            Reply::Last(format!("HTTP/1.1 200 X\r\n\r\n{body}"))
        } else {
            ok(&body)
        }
    })
    .await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    for size in [1, 100, 16 * 1024 - 150, 16 * 1024, 64 * 1024 - 10, 64 * 1024 + 10, 1_000_000] {
        let body: String = (0..size).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        for path in ["/sized", "/chunked", "/close"] {
            let answer = rig.ask(&post(path, "", &body)).await;
            assert!(answer.status() == 200 && answer.text() == body, "{path} {size}");
            let chunks: String = body
                .as_bytes()
                .chunks(5000)
                .map(|c| format!("{:x}\r\n{}\r\n", c.len(), String::from_utf8_lossy(c)))
                .collect();
            let raw = format!("POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n");
            let answer = rig.ask(&raw).await;
            assert!(answer.status() == 200 && answer.text() == body, "{path} {size} in chunks");
        }
    }
    // HTTP/1.0 knows no chunks.
    let answer = rig.ask("POST /chunked HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!((answer.header("transfer-encoding"), answer.text().as_str()), (None, "hello"));
}

#[tokio::test]
async fn many_requests_use_one_connection_also_when_they_are_sent_at_once() {
    let mock = Mock::start(|n, s| ok(&format!("{n} {}", s.head.split(' ').nth(1).unwrap()))).await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let mut client = Client::connect(rig.ingress).await;
    let all: String =
        (0..50).map(|i| if i % 2 == 0 { get(&format!("/{i}")) } else { post(&format!("/{i}"), "", "body") }).collect();
    client.send(&all).await;
    for i in 0..50 {
        assert_eq!(client.answer().await.unwrap().text(), format!("{i} /{i}"));
    }
    assert_eq!(mock.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(mock.last().header("x-forwarded-for"), Some("127.0.0.1"));
    assert!(mock.last().header("connection").is_none());
}

#[tokio::test]
async fn answers_without_a_body() {
    let mock = Mock::start(|_, s| match s.head.split(' ').nth(1) {
        Some("/204") => Reply::Bytes("HTTP/1.1 204 X\r\n\r\n".into()),
        Some("/304") => Reply::Bytes("HTTP/1.1 304 X\r\ncontent-length: 7\r\n\r\n".into()),
        Some("/early") => {
            Reply::Bytes("HTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 2\r\n\r\nok".into())
        }
        _ => Reply::Bytes("HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n".into()),
    })
    .await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let mut client = Client::connect(rig.ingress).await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let head = common::read_message(&mut client.stream, &mut client.left, true).await.unwrap();
        assert_eq!((head.status(), head.header("content-length")), (200, Some("1000")));
        for (path, status) in [("/204", 204), ("/304", 304), ("/early", 200)] {
            client.send(&get(path)).await;
            assert_eq!(client.answer().await.unwrap().status(), status);
        }
    }
    assert_eq!(mock.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let mock = Mock::start(|_, s| ok(&String::from_utf8_lossy(&s.body))).await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let mut client = Client::connect(rig.ingress).await;
    client.send("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().status(), 100);
    client.send("hello").await;
    assert_eq!(client.answer().await.unwrap().text(), "hello");
    assert!(mock.last().header("expect").is_none());
    // With nobody to send it to the client is spared the upload.
    rig.endpoints.send_replace(common::ready(&[]));
    client.send("POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().reason(), "no_endpoint");
}

#[tokio::test]
async fn an_answer_that_stops_short_is_seen_to_stop_short() {
    let mock = Mock::start(|_, _| Reply::Last("HTTP/1.1 200 X\r\ncontent-length: 100\r\n\r\nhalf".into())).await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let answer = rig.get("/").await;
    assert_eq!((answer.status(), answer.text().as_str(), mock.count()), (200, "half", 1));
}

#[tokio::test]
async fn what_is_no_http_is_an_answer_of_ours() {
    let mock = Mock::start(|_, _| Reply::Last("SSH-2.0-OpenSSH_9\r\n".into())).await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let answer = rig.ask(&post("/", "", "x")).await;
    assert_eq!((answer.status(), answer.reason(), mock.count()), (502, "upstream_protocol", 1));
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (listener, mut rig) = by_hand().await;
    let mut idle = Client::connect(rig.ingress).await;
    let mut busy = Client::connect(rig.ingress).await;
    busy.send(&get("/")).await;
    let (mut upstream, _) = listener.accept().await.unwrap();
    read_until(&mut upstream, "\r\n\r\n").await;
    until("both are accepted", || rig.handle.stats().connections == 2).await;
    rig.shutdown.cancel();
    assert!(idle.is_closed().await);
    until("nothing new is accepted", || std::net::TcpStream::connect(rig.ingress).is_err()).await;
    upstream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\ndone").await.unwrap();
    let answer = busy.answer().await.unwrap();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("done", Some("close")));
    assert!(busy.is_closed().await);
    let thread = rig.thread.take().unwrap();
    until("the workers end", || thread.is_finished()).await;
    thread.join().unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let mock = Mock::start(|_, _| Reply::Hang).await;
    let options = Options { drain_max: Duration::from_millis(50), ..options() };
    let mut rig = Rig::with(options, snapshot(UpstreamPolicy::default()), &[mock.addr]);
    let mut client = Client::connect(rig.ingress).await;
    client.send(&get("/")).await;
    until("it is on its way", || mock.count() == 1).await;
    rig.shutdown.cancel();
    assert!(client.is_closed().await);
    let thread = rig.thread.take().unwrap();
    until("the workers end", || thread.is_finished()).await;
}

#[tokio::test]
async fn a_client_that_breaks_off_is_counted_as_such_and_hurts_nobody() {
    let mock = Mock::start(|_, _| Reply::Hang).await;
    let rig = Rig::new(UpstreamPolicy::default(), &[&mock]);
    let client = Client::connect(rig.ingress).await;
    let mut client = client;
    client.send(&get("/")).await;
    until("it is on its way", || mock.count() == 1).await;
    assert_eq!(rig.handle.in_flight(&common::replica(1)), 1);
    // A reset, not an orderly close: whoever closes one half may still wait for the answer.
    client.stream.set_zero_linger().unwrap();
    drop(client);
    until("it is given up", || rig.handle.stats().services[&common::service()].outcomes.cancelled == 1).await;
    assert_eq!(rig.handle.in_flight(&common::replica(1)), 0);
    assert_eq!(ask(rig.edge, "rubbish\r\n\r\n").await.reason(), "bad_request");
}
