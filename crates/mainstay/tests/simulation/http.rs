//! As much HTTP/1.1 as toys need, over simulated connections.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use turmoil::net::TcpStream;

/// Longest message; everything here is far below it.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// A request or an answer.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// A word of the first line: method, path or status.
    pub(crate) fn word(&self, n: usize) -> &str {
        self.head.lines().next().and_then(|line| line.split(' ').nth(n)).unwrap_or("")
    }

    pub(crate) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or(0)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Reads one message, which has a length or no body; `None` at the end of the stream.
pub(crate) async fn read(stream: &mut TcpStream, buf: &mut Vec<u8>) -> io::Result<Option<Message>> {
    loop {
        if let Some(end) = buf.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buf[..end]).into_owned();
            let mut message = Message { head, body: Vec::new() };
            let length: usize = message.header("content-length").map_or(Ok(0), str::parse).map_err(io::Error::other)?;
            if buf.len() >= end + 4 + length {
                message.body = buf[end + 4..end + 4 + length].to_vec();
                buf.drain(..end + 4 + length);
                return Ok(Some(message));
            }
        }
        if buf.len() > MESSAGE_BYTES_MAX {
            return Err(io::Error::other("the message is too long"));
        }
        if stream.read_buf(buf).await? == 0 {
            return if buf.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// One request on a connection of its own, and its answer.
pub(crate) async fn call(
    to: (&str, u16),
    method: &str,
    path: &str,
    body: &str,
    allowed: Duration,
) -> io::Result<Message> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await?;
        read(&mut stream, &mut Vec::new()).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    };
    timeout(allowed, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
