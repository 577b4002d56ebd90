//! Retries, the budget, ejection, timeouts, stale connections and injected faults, against upstreams that misbehave.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Client, Mock, Reply, Rig, get, ok, options, post, ready, replica, service, snapshot, status, until};
use mainstay_core::{EdgeEffect, EventKind, LeaseId, Reason, Share, Span};
use mainstay_gateway::{Balancer, Budget, EdgeFault, Ejection, Retries, Snapshot, Timeouts, UpstreamPolicy};
use tokio::net::TcpListener;
use tokio::time::Instant;

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Quick back-off, and nothing that a test does not ask for.
fn policy() -> UpstreamPolicy {
    UpstreamPolicy {
        retries: Retries { backoff_base: MS(1), backoff_max: MS(2), ..Retries::default() },
        ejection: Ejection { enabled: false, ..Ejection::default() },
        balancer: Balancer { failure_penalty: Duration::ZERO },
        ..UpstreamPolicy::default()
    }
}

#[tokio::test]
async fn what_is_safe_is_sent_again_and_what_is_not_is_not() {
    for (raw, failing, tries, status_seen) in [
        (get("/"), status(503, ""), 3, 503),
        (get("/"), status(502, ""), 3, 502),
        (get("/"), status(500, ""), 1, 500),
        (get("/"), status(404, ""), 1, 404),
        (get("/"), Reply::Close, 3, 502),
        ("PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi".to_owned(), Reply::Close, 3, 502),
        (post("/", "", "hi"), status(503, ""), 1, 503),
        (post("/", "", "hi"), Reply::Close, 1, 502),
        (post("/", "idempotency-key: 7\r\n", "hi"), status(503, ""), 1, 503),
        (get("/"), Reply::Bytes("HTTP/1.1 503 X\r\nmainstay-no-retry: 1\r\ncontent-length: 0\r\n\r\n".into()), 1, 503),
    ] {
        let answer = failing.clone();
        let mock = Mock::start(move |_, _| answer.clone()).await;
        let rig = Rig::new(policy(), &[&mock]);
        assert_eq!(rig.ask(&raw).await.status(), status_seen, "{raw:?} {failing:?}");
        assert_eq!(mock.count(), tries, "{raw:?} {failing:?}");
    }
}

#[tokio::test]
async fn a_key_or_a_declaration_makes_a_post_repeatable_and_its_body_is_sent_again() {
    let keyed = Retries { idempotency_key: true, ..policy().retries };
    let declared = Retries { idempotent: true, ..policy().retries };
    for (retries, more, tries) in [
        (keyed.clone(), "idempotency-key: 7\r\n", 3),
        (keyed, "", 1),
        (declared, "", 3),
        (policy().retries, "idempotency-key: 7\r\n", 1),
    ] {
        let mock = Mock::start(|n, _| if n < 2 { status(503, "") } else { ok("done") }).await;
        let rig = Rig::new(UpstreamPolicy { retries, ..policy() }, &[&mock]);
        let answer = rig.ask(&post("/", more, "a body")).await;
        assert_eq!((mock.count(), answer.status()), (tries, if tries == 3 { 200 } else { 503 }));
        assert!(mock.seen.lock().unwrap().iter().all(|s| s.body == b"a body"));
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_when_a_connection_is_refused() {
    let good = Mock::start(|_, _| ok("good")).await;
    // Bound and dropped: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let policy = UpstreamPolicy { balancer: Balancer::default(), ..policy() };
    let rig = Rig::with(options(), snapshot(policy), &[nobody, good.addr]);
    for _ in 0..40 {
        let answer = rig.ask(&post("/", "", "x")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "good"));
    }
    assert_eq!(rig.handle.stats().services[&service()].retries_sent, 0);
    assert_eq!(good.count(), 40);
}

#[tokio::test]
async fn nothing_ready_and_nothing_listening_have_their_reasons() {
    let mock = Mock::start(|_, _| ok("")).await;
    let rig = Rig::new(policy(), &[&mock]);
    rig.endpoints.send_replace(ready(&[]));
    let answer = rig.get("/").await;
    assert_eq!((answer.status(), answer.reason()), (503, "no_endpoint"));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    rig.endpoints.send_replace(ready(&[nobody]));
    let answer = rig.get("/").await;
    assert_eq!((answer.status(), answer.reason()), (503, "connect_failed"));
    let stats = rig.handle.stats();
    assert_eq!(stats.services[&service()].outcomes.own[&Reason::NoEndpoint], 1);
    assert_eq!(stats.replicas[&replica(1)].attempts.failed[&Reason::ConnectFailed], 3);
    assert_eq!(stats.services[&service()].retries_unsent, 2);
    // Retries that were never sent were given back: the budget is as full as the floor makes it.
    until("the budget is read", || rig.handle.stats().services[&service()].budget_milli == 30_000).await;
}

#[tokio::test]
async fn the_budget_bounds_retries_and_says_so() {
    let mock = Mock::start(|_, _| Reply::Close).await;
    let budget = Budget { share: Share::percent(20), floor_per_s: 1, ..Budget::default() };
    let rig = Rig::new(UpstreamPolicy { budget, ..policy() }, &[&mock]);
    let mut withheld = 0;
    for _ in 0..100 {
        let answer = rig.get("/").await;
        if answer.reason() == "retry_budget" {
            assert_eq!((answer.status(), answer.header("mainstay-no-retry")), (503, Some("budget")));
            withheld += 1;
        }
    }
    // 20 % of 100 first attempts are 20 retries; the floor alone would be 10.
    assert_eq!(mock.count(), 120);
    let stats = rig.handle.stats();
    assert_eq!(stats.services[&service()].retries_sent, 20);
    assert_eq!(stats.services[&service()].retries_withheld, withheld);
    let told = rig.events(|k| matches!(k, EventKind::RetryBudgetExhausted { .. }));
    assert!((1..=5).contains(&told), "once a second at most, told {told} times");

    // A real answer is passed on with the mark; and without the budget there is no bound.
    let mock = Mock::start(|_, _| status(503, "busy")).await;
    let none = Budget { floor_per_s: 0, share: Share::ZERO, ..Budget::default() };
    let rig = Rig::new(UpstreamPolicy { budget: none, ..policy() }, &[&mock]);
    let answer = rig.get("/").await;
    assert_eq!((answer.text().as_str(), answer.header("mainstay-no-retry")), ("busy", Some("budget")));
    let off = Budget { enabled: false, floor_per_s: 0, share: Share::ZERO, ..Budget::default() };
    let upstreams = [(service(), UpstreamPolicy { budget: off, ..policy() })].into();
    rig.handle.publish(Snapshot { upstreams, ..snapshot(policy()) });
    let before = mock.count();
    rig.get("/").await;
    assert_eq!(mock.count(), before + 3);
}

#[tokio::test]
async fn with_retries_off_everything_is_tried_once() {
    let mock = Mock::start(|n, _| if n == 0 { status(503, "") } else { ok("") }).await;
    let rig =
        Rig::new(UpstreamPolicy { retries: Retries { enabled: false, ..policy().retries }, ..policy() }, &[&mock]);
    assert_eq!(rig.get("/").await.status(), 503);
    assert_eq!(mock.count(), 1);
}

#[tokio::test]
async fn timeouts_have_their_reasons() {
    let mock = Mock::start(|_, _| Reply::Hang).await;
    let timeouts = Timeouts { per_try: MS(30), total: MS(2000), ..Timeouts::default() };
    let retries = Retries { max: 1, ..policy().retries };
    let rig = Rig::new(UpstreamPolicy { timeouts, retries, ..policy() }, &[&mock]);
    // Two tries: the first by its own timeout, the last by all that remains.
    let answer = rig.get("/").await;
    assert_eq!((answer.status(), answer.reason(), mock.count()), (504, "timeout_total", 2));
    let stats = rig.handle.stats();
    assert_eq!(stats.replicas[&replica(1)].attempts.failed[&Reason::TimeoutTry], 1);
    assert_eq!(stats.replicas[&replica(1)].attempts.failed[&Reason::TimeoutTotal], 1);
    assert_eq!(rig.handle.in_flight(&replica(1)), 0);
}

#[tokio::test]
async fn a_failing_endpoint_is_ejected_and_returns_by_a_probe() {
    let sick = Arc::new(AtomicBool::new(true));
    let is_sick = sick.clone();
    let bad = Mock::start(move |_, _| if is_sick.load(Ordering::SeqCst) { status(500, "") } else { ok("bad") }).await;
    let good = Mock::start(|_, _| ok("good")).await;
    let ejection = Ejection { base: MS(150), slow_start: MS(50), ..Ejection::default() };
    let rig = Rig::new(UpstreamPolicy { ejection, ..policy() }, &[&bad, &good]);
    let ejected =
        |k: &EventKind| matches!(k, EventKind::EndpointEjected { replica: r, failures: 5, .. } if *r == replica(1));
    let mut client = Client::connect(rig.ingress).await;
    let deadline = Instant::now() + common::DEADLINE;
    while rig.events(ejected) == 0 {
        assert!(Instant::now() < deadline, "never ejected");
        client.send(&get("/")).await;
        client.answer().await.unwrap();
    }
    assert!(rig.handle.stats().replicas[&replica(1)].ejected);
    assert_eq!(bad.count(), 5);
    // While it is out nobody sees it fail.
    sick.store(false, Ordering::SeqCst);
    while rig.events(|k| matches!(k, EventKind::EndpointReturned { .. })) == 0 {
        assert!(Instant::now() < deadline, "never returned");
        client.send(&get("/")).await;
        assert_eq!(client.answer().await.unwrap().status(), 200);
    }
    assert_eq!(bad.count(), 6, "one probe");
    until("it takes traffic again", || {
        rig.handle.stats().replicas.get(&replica(1)).is_some_and(|r| !r.ejected && r.ejections == 1)
    })
    .await;
}

#[tokio::test]
async fn an_endpoint_alone_is_not_ejected_and_ejection_can_be_off() {
    let bad = Mock::start(|_, _| status(500, "")).await;
    let good = Mock::start(|_, _| ok("")).await;
    let eject = UpstreamPolicy { ejection: Ejection::default(), ..policy() };
    for (policy, mocks) in [(eject, vec![&bad]), (policy(), vec![&bad, &good])] {
        let rig = Rig::new(policy, &mocks);
        for _ in 0..30 {
            rig.get("/").await;
        }
        assert_eq!(rig.events(|k| matches!(k, EventKind::EndpointEjected { .. })), 0);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_rested_is_not_used() {
    let mock = Mock::start(|_, s| {
        let body = if s.head.starts_with("GET /last") { "last" } else { "kept" };
        let answer = format!("HTTP/1.1 200 X\r\ncontent-length: 4\r\n\r\n{body}");
        if body == "last" { Reply::Last(answer) } else { Reply::Bytes(answer) }
    })
    .await;
    let rig =
        Rig::new(UpstreamPolicy { retries: Retries { enabled: false, ..policy().retries }, ..policy() }, &[&mock]);
    let mut client = Client::connect(rig.ingress).await;
    for round in 1..=20 {
        // The upstream says nothing of closing, and closes.
        client.send(&get("/last")).await;
        assert_eq!(client.answer().await.unwrap().text(), "last");
        until("it has closed", || mock.closed.load(Ordering::SeqCst) >= round).await;
        client.send(&post("/", "", "not twice")).await;
        assert_eq!(client.answer().await.unwrap().text(), "kept", "round {round}");
    }
    assert_eq!(mock.count(), 40);
}

#[tokio::test]
async fn what_may_have_been_acted_upon_is_not_sent_twice() {
    // Answers the first request of a connection; reads the second one and closes: a reused connection that dies
    // after it took the request.
    let acted = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = acted.clone();
    let task = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut left = Vec::new();
            common::read_message(&mut stream, &mut left, false).await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            if common::read_message(&mut stream, &mut left, false).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let rig = Rig::with(options(), snapshot(policy()), &[addr]);
    let mut client = Client::connect(rig.ingress).await;
    client.send(&get("/")).await;
    assert_eq!(client.answer().await.unwrap().status(), 200);
    client.send(&post("/", "", "pay")).await;
    let answer = client.answer().await.unwrap();
    assert_eq!((answer.status(), answer.reason(), acted.load(Ordering::SeqCst)), (502, "upstream_reset", 1));
    // What is safe is sent again, on a new connection.
    client.send(&get("/")).await;
    assert_eq!(client.answer().await.unwrap().status(), 200);
    client.send(&get("/")).await;
    assert_eq!(client.answer().await.unwrap().status(), 200);
    task.abort();
}

fn fault(share: Share, effect: EdgeEffect, lasts: Duration) -> EdgeFault {
    let lease = LeaseId("l".to_owned());
    EdgeFault { lease, service: service(), replica: None, share, effect, until: Instant::now() + lasts }
}

#[tokio::test]
async fn faults_are_met_by_retries_and_end_by_themselves() {
    let mock = Mock::start(|_, _| ok("good")).await;
    let rig = Rig::new(policy(), &[&mock]);
    let long = Duration::from_secs(60);
    rig.handle.inject(fault(Share::ALL, EdgeEffect::Error { status: 503 }, long)).unwrap();
    let answer = rig.get("/").await;
    assert_eq!((answer.status(), answer.reason(), mock.count()), (503, "fault_injected", 0));
    let stats = rig.handle.stats();
    assert_eq!((stats.faults_injected, stats.replicas[&replica(1)].attempts.status_5xx), (3, 3));
    // A share of the attempts: retries hide nearly all of it.
    rig.handle.inject(fault(Share::percent(30), EdgeEffect::Error { status: 503 }, long)).unwrap();
    let mut good = 0;
    for _ in 0..30 {
        good += usize::from(rig.get("/").await.status() == 200);
    }
    assert!(good >= 25, "{good} of 30");
    assert!(rig.handle.clear(&LeaseId("l".to_owned())));
    assert!(!rig.handle.clear(&LeaseId("l".to_owned())));
    assert_eq!(rig.get("/").await.status(), 200);

    // The service acts and its answer is lost: what is not safe is not repeated.
    rig.handle.inject(fault(Share::ALL, EdgeEffect::LoseResponse, long)).unwrap();
    let before = mock.count();
    let answer = rig.ask(&post("/", "", "pay")).await;
    assert_eq!((answer.status(), answer.reason(), mock.count()), (502, "upstream_reset", before + 1));

    rig.handle.inject(fault(Share::ALL, EdgeEffect::Delay { by: Span(MS(30)) }, long)).unwrap();
    let begun = Instant::now();
    assert_eq!(rig.get("/").await.status(), 200);
    assert!(begun.elapsed() >= MS(30));

    rig.handle.inject(fault(Share::ALL, EdgeEffect::Error { status: 503 }, MS(20))).unwrap();
    until("the fault ends by itself", || Instant::now() > begun + MS(120)).await;
    assert_eq!(rig.get("/").await.status(), 200);
}

#[tokio::test]
async fn injected_failures_eject() {
    let (one, two) = (Mock::start(|_, _| ok("1")).await, Mock::start(|_, _| ok("2")).await);
    let rig = Rig::new(UpstreamPolicy { ejection: Ejection::default(), ..policy() }, &[&one, &two]);
    let mut sick = fault(Share::ALL, EdgeEffect::Error { status: 503 }, Duration::from_secs(60));
    sick.replica = Some(replica(2));
    rig.handle.inject(sick).unwrap();
    let mut client = Client::connect(rig.ingress).await;
    for _ in 0..60 {
        client.send(&get("/")).await;
        assert_eq!(client.answer().await.unwrap().text(), "1");
    }
    let ejected = |k: &EventKind| matches!(k, EventKind::EndpointEjected { replica: r, .. } if *r == replica(2));
    assert_eq!(rig.events(ejected), 1);
    assert_eq!(two.count(), 0);
}

#[tokio::test]
async fn failing_fast_attracts_no_traffic() {
    let bad = Mock::start(|_, _| status(500, "")).await;
    let good = Mock::start(|_, _| ok("good")).await;
    let rig = Rig::new(UpstreamPolicy { balancer: Balancer::default(), ..policy() }, &[&bad, &good]);
    let mut client = Client::connect(rig.ingress).await;
    for _ in 0..100 {
        client.send(&get("/")).await;
        client.answer().await.unwrap();
    }
    assert!(bad.count() <= 1, "{} of 100 went to the endpoint that fails fast", bad.count());
}
