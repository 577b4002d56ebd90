//! Malformed requests: each gets a reason and the connection is closed, and not one byte reaches the upstream.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod common;

use std::sync::atomic::Ordering;

use common::{Client, Mock, Rig, get, ok, options, snapshot};
use mainstay_gateway::{Limits, Options, UpstreamPolicy};

struct Corpus {
    rig: Rig,
    mock: Mock,
}

impl Corpus {
    async fn new() -> Self {
        let mock = Mock::start(|_, _| ok("leaked")).await;
        let limits = Limits { head_bytes_max: 4096, headers_max: 20, body_bytes_max: 100_000, ..Limits::default() };
        let rig = Rig::with(Options { limits, ..options() }, snapshot(UpstreamPolicy::default()), &[mock.addr]);
        Self { rig, mock }
    }

    /// Sends `raw` with a good request behind it, as a smuggler would: one refusal comes back, then the end.
    async fn check(&self, raw: &str, (status, reason): (u16, &str)) {
        let mut client = Client::connect(self.rig.ingress).await;
        client.send(raw).await;
        client.send(&get("/smuggled")).await;
        let answer = client.answer().await.unwrap_or_else(|| panic!("no answer to {raw:?}"));
        assert_eq!((answer.status(), answer.reason()), (status, reason), "{raw:?} got {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{raw:?}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["reason"], reason);
        assert_eq!(body["docs"], format!("docs/reasons/{reason}.md"));
        assert!(body["message"].as_str().is_some_and(|m| !m.is_empty()));
        assert!(client.is_closed().await, "{raw:?} left the connection open");
        assert_eq!(self.mock.bytes.load(Ordering::SeqCst), 0, "{raw:?} reached the upstream");
        assert_eq!(self.mock.connections.load(Ordering::SeqCst), 0, "{raw:?} opened a connection");
    }
}

const BAD: (u16, &str) = (400, "bad_request");

#[tokio::test]
async fn whatever_has_two_readings_has_none() {
    let corpus = Corpus::new().await;
    for raw in [
        // Two framings, or one that is not plain.
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5.0\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Lines that are not lines.
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: x\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n",
        // Where it goes.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nhost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x/y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x HTTP/1.0\r\n\r\n",
        "GET https://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\nHost: x\r\n\r\n",
        "CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
        // What it is.
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: x\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "GET /\r\nHost: x\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx",
        // An Upgrade that nobody has agreed to, with bytes for whoever believes in it.
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhello",
        // Chunks.
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
    ] {
        corpus.check(raw, BAD).await;
    }
}

#[tokio::test]
async fn limits_are_answered_with_their_own_reason() {
    let corpus = Corpus::new().await;
    let many: String = (0..30).map(|i| format!("h{i}: x\r\n")).collect();
    for (raw, expected) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(5000)), (431, "header_too_large")),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(5000)), (431, "header_too_large")),
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), (431, "header_too_large")),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n\r\n".to_owned(), (413, "body_too_large")),
    ] {
        corpus.check(&raw, expected).await;
    }
}

/// The corpus must be able to fail: what is almost the same and right goes through.
#[tokio::test]
async fn what_is_right_goes_through() {
    let corpus = Corpus::new().await;
    for raw in [
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length:  5 \r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let before = corpus.mock.count();
        let answer = corpus.rig.ask(raw).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "leaked"), "{raw:?}");
        assert_eq!(corpus.mock.count(), before + 1, "{raw:?}");
        assert!(corpus.mock.last().header("upgrade").is_none());
    }
}

/// A bad chunk after a good one: what came before it has been passed on, what comes after is not.
#[tokio::test]
async fn a_body_that_turns_bad_is_cut_off() {
    let corpus = Corpus::new().await;
    let mut client = Client::connect(corpus.rig.ingress).await;
    client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    common::until("the first chunk arrives", || corpus.mock.bytes.load(Ordering::SeqCst) > 0).await;
    client.send("6\nsecret\r\n0\r\n\r\n").await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status(), answer.reason()), BAD);
    assert!(client.is_closed().await);
    common::until("the mock has read what came to its end", || corpus.mock.count() == 1).await;
    assert_eq!(corpus.mock.last().body, b"hello");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let mock = Mock::start(|_, _| ok("")).await;
    let limits = Limits { head_timeout: std::time::Duration::from_millis(100), ..Limits::default() };
    let rig = Rig::with(Options { limits, ..options() }, snapshot(UpstreamPolicy::default()), &[mock.addr]);
    let mut client = Client::connect(rig.ingress).await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\nA: ").await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status(), answer.reason()), (408, "bad_request"));
    assert!(client.is_closed().await);
    assert_eq!(mock.bytes.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_unknown_path_changes_nothing_and_the_connection_goes_on() {
    let mock = Mock::start(|_, _| ok("")).await;
    let mut snapshot = snapshot(UpstreamPolicy::default());
    snapshot.routes[0].pattern = "/known/*".to_owned();
    let rig = Rig::with(options(), snapshot, &[mock.addr]);
    let mut client = Client::connect(rig.ingress).await;
    for _ in 0..2 {
        client.send(&get("/unknown")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!((answer.status(), answer.reason()), (404, "no_route"));
    }
    client.send(&get("/known/x")).await;
    assert_eq!(client.answer().await.unwrap().status(), 200);
    assert_eq!(rig.handle.stats().unrouted.total(), 2);
}
