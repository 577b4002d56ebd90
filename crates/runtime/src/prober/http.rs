//! `GET path`, and whether the status is 200 to 399. So little of HTTP is needed that a client is not worth its weight.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Trouble, connect, trouble};

/// A status line ends within this many bytes.
const STATUS_BYTES_MAX: usize = 256;
/// What is read of an answer, so that the server can finish in peace.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long it is read after the verdict is clear.
const LINGER: Duration = Duration::from_millis(50);

pub(super) async fn get(addr: SocketAddr, path: &str) -> Result<(), Trouble> {
    let mut stream = connect(addr).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUser-Agent: mainstay-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(|e| trouble("send", &e))?;
    let mut answer = [0; STATUS_BYTES_MAX];
    let mut len = 0;
    let line = loop {
        if let Some(end) = answer[..len].iter().position(|b| *b == b'\n') {
            break &answer[..end];
        }
        if len == answer.len() {
            return Err(not_http());
        }
        match stream.read(&mut answer[len..]).await.map_err(|e| trouble("read", &e))? {
            0 => return Err(Trouble::Failed("the connection was closed before an answer".to_owned())),
            n => len += n,
        }
    };
    let verdict = judge(line);
    // To close with unread bytes would reset the connection and make the server log an error for each probe.
    let rest = async {
        let mut sink = vec![0; 4096];
        let mut read = 0;
        while let Ok(n @ 1..) = stream.read(&mut sink).await {
            read += n;
            if read > ANSWER_BYTES_MAX {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
    verdict
}

fn not_http() -> Trouble {
    Trouble::Failed("answered with something that is not HTTP".to_owned())
}

/// `HTTP/1.1 200 OK`
fn judge(line: &[u8]) -> Result<(), Trouble> {
    let text = std::str::from_utf8(line).map_err(|_| not_http())?;
    let mut words = text.trim_end().split(' ');
    let status = match (words.next(), words.next()) {
        (Some("HTTP/1.1" | "HTTP/1.0"), Some(code)) if code.len() == 3 => {
            code.parse::<u16>().map_err(|_| not_http())?
        }
        _ => return Err(not_http()),
    };
    match status {
        200..=399 => Ok(()),
        _ => Err(Trouble::Failed(format!("status {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn success_is_200_to_399() {
        let answer = |line: &str| match judge(line.as_bytes()) {
            Ok(()) => String::new(),
            Err(Trouble::Failed(why)) => why,
            Err(other) => panic!("{other:?}"),
        };
        for good in ["HTTP/1.1 200 OK\r", "HTTP/1.0 204\r", "HTTP/1.1 399 x"] {
            assert_eq!(answer(good), "", "{good}");
        }
        for bad in ["HTTP/1.1 400 Bad\r", "HTTP/1.1 503 \r", "HTTP/1.1 199 x"] {
            assert_eq!(answer(bad), format!("status {}", &bad[9..12]), "{bad}");
        }
        for other in ["", "SSH-2.0-OpenSSH", "HTTP/2 200", "HTTP/1.1 20", "HTTP/1.1 +20 x", "HTTP/1.1 2000"] {
            let why = answer(other);
            assert!(why.contains("not HTTP") || why.starts_with("status"), "{other}: {why}");
        }
    }
}
