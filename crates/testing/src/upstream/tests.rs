use super::*;
use crate::eventually;

const DEADLINE: Duration = Duration::from_secs(30);

async fn exchange(upstream: &Upstream, request: &str) -> String {
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_script_is_followed_and_requests_are_remembered() {
    let upstream = Upstream::start(Reply::text(200, "usual")).await;
    upstream.script([
        Reply::text(503, "no").header("retry-after", "1").after(Duration::from_millis(1)),
        Reply::Close,
        Reply::Raw(vec![Wire::Send("HTTP/1.1 200 OK\r\ncontent-le".into()), Wire::Wait(Duration::from_millis(1))]),
    ]);
    let get = "GET /a?b HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(exchange(&upstream, get).await, "HTTP/1.1 503 Mock\r\nretry-after: 1\r\ncontent-length: 2\r\n\r\nno");
    assert_eq!(exchange(&upstream, get).await, "");
    assert_eq!(exchange(&upstream, get).await, "HTTP/1.1 200 OK\r\ncontent-le");
    assert_eq!(exchange(&upstream, get).await, "HTTP/1.1 200 Mock\r\ncontent-length: 5\r\n\r\nusual");
    assert_eq!((upstream.requests().len(), upstream.connections()), (4, 4));
    assert_eq!(upstream.requests()[0].target, "/a?b");
    assert_eq!(upstream.requests()[0].header("host"), Some("x"));
}

#[tokio::test]
async fn bodies_are_read_by_length_and_in_chunks_on_one_connection() {
    let upstream = Upstream::start(Reply::text(204, "")).await;
    let two = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
               POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x=y\r\nf\r\n0\r\nt: 1\r\n\r\n";
    assert_eq!(exchange(&upstream, two).await, "HTTP/1.1 204 Mock\r\n\r\n".repeat(2));
    let bodies: Vec<Bytes> = upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, ["abc", "def"]);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_hanging_request_is_seen_and_a_dropped_server_lets_go() {
    let upstream = Upstream::start(Reply::Hang).await;
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    eventually(DEADLINE, || upstream.requests().len() == 1).await;
    drop(upstream);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut rest)).await.expect("the connection ends");
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_reset_is_no_orderly_end() {
    let upstream = Upstream::start(Reply::Raw(vec![Wire::Reset])).await;
    let mut stream = TcpStream::connect(upstream.addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
