use mainstay_core::ServiceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that answers every connection with these bytes, then closes, or else says nothing for ever.
async fn server(answer: Option<&'static [u8]>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            if let Some(answer) = answer {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
            } else {
                kept.push(stream);
            }
        }
    });
    addr
}

fn job(handler: Handler, addr: SocketAddr) -> Job {
    let service: ServiceName = "order".parse().unwrap();
    let settings = Settings { timeout: Duration::from_millis(300), ..Settings::default() };
    Job {
        kind: Kind::Ready,
        probe: Probe { handler, settings },
        spec: Arc::new(ServiceSpec::new(service.clone(), vec!["order".to_owned()], "/")),
        instance: Instance { replica: mainstay_core::ReplicaId::new(service, 1), incarnation: 1, pid: 1, addr },
        age: None,
        draw: 1.0,
        owner: "test".into(),
    }
}

async fn check(handler: Handler, addr: SocketAddr, expected: Sample, error: &str) {
    let (sample, said) = job(handler.clone(), addr).ask(false).await;
    let said = said.unwrap_or_default();
    assert_eq!(sample, expected, "{handler:?}: {said}");
    assert!(said.contains(error), "{said:?} lacks {error:?}");
}

#[tokio::test]
async fn http_and_tcp_probes_see_what_there_is() {
    let http = || Handler::Http { path: "/health?x=1".to_owned() };
    let ok = server(Some(b"HTTP/1.1 204 No Content\r\n\r\n")).await;
    check(http(), ok, Sample::Success, "").await;
    check(Handler::Tcp, ok, Sample::Success, "").await;
    let sick = server(Some(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nsick")).await;
    check(http(), sick, Sample::Failure, "status 503").await;
    let other = server(Some(b"220 mail.example ESMTP\r\n")).await;
    check(http(), other, Sample::Failure, "not HTTP").await;
    static ENDLESS: [u8; 8192] = [b'x'; 8192];
    check(http(), server(Some(&ENDLESS)).await, Sample::Failure, "not HTTP").await;
    check(http(), server(Some(b"HTTP/1.1 2")).await, Sample::Failure, "closed before an answer").await;
    let silent = server(None).await;
    check(http(), silent, Sample::Failure, "no answer within 300 ms").await;
    check(Handler::Tcp, silent, Sample::Success, "").await;
    let nobody = {
        let gone = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        gone.local_addr().unwrap()
    };
    check(http(), nobody, Sample::Failure, "").await;
    check(Handler::Tcp, nobody, Sample::Failure, "").await;
}

#[tokio::test]
async fn who_is_late_does_not_judge() {
    let silent = server(None).await;
    let (sample, said) = job(Handler::Http { path: "/".to_owned() }, silent).ask(true).await;
    assert_eq!(sample, Sample::ProberError, "{said:?}");
}

#[tokio::test]
async fn exec_probes_judge_by_status_and_a_missing_program_is_our_fault() {
    let addr = SocketAddr::from(([127, 0, 0, 1], 4321));
    let exec = |words: &[&str]| Handler::Exec { command: words.iter().map(|w| (*w).to_owned()).collect() };
    check(exec(&["sh", "-c", r#"test "$PORT" = 4321 -a "$MAINSTAY_REPLICA" = order-1"#]), addr, Sample::Success, "")
        .await;
    check(exec(&["sh", "-c", "exit 3"]), addr, Sample::Failure, "exit status 3").await;
    check(exec(&["sh", "-c", "sleep 1000"]), addr, Sample::Failure, "no answer within 300 ms").await;
    check(exec(&["no-such-probe"]), addr, Sample::ProberError, "no-such-probe").await;
}

#[test]
fn first_probes_are_spread_after_an_adoption_only() {
    let first = |kind, age| Job { kind, age, ..job(Handler::Tcp, SocketAddr::from(([127, 0, 0, 1], 1))) }.first_after();
    assert_eq!(first(Kind::Live, Some(Duration::ZERO)), Duration::ZERO);
    assert_eq!(first(Kind::Live, None), Duration::from_secs(1));
    assert_eq!(first(Kind::Ready, None), ADOPTED_READY_SPREAD_MAX);
}
