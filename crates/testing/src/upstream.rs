//! A mock HTTP/1.1 server that does what it is told: answer, wait, break off, hang, or send any bytes at all.
//!
//! Written by hand on a TCP stream, because a proper server cannot be made to misbehave. It reads bodies by length and
//! in chunks and keeps connections open.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Requests that are remembered, the first ones.
const RECORDED_MAX: usize = 100_000;
/// Head and body that are read at most.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
const HEADERS_MAX: usize = 128;

/// What one request gets.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A proper answer with `content-length`.
    Answer {
        /// HTTP status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// Waits, then replies.
    After(Duration, Box<Reply>),
    /// Closes the connection without a byte.
    Close,
    /// Reads the request and never answers; the connection stays open.
    Hang,
    /// These steps on the bare connection, which is closed after the last.
    Raw(Vec<Wire>),
}

/// A step on the bare connection.
#[derive(Debug, Clone)]
pub enum Wire {
    /// Sends these bytes.
    Send(Bytes),
    /// Waits.
    Wait(Duration),
    /// Sends RST instead of FIN.
    Reset,
}

impl Reply {
    /// A status and a text.
    pub fn text(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply::Answer { status, headers: Vec::new(), body: body.into() }
    }

    /// With one more header, where there is an answer.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        if let Reply::Answer { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// The same, later.
    pub fn after(self, wait: Duration) -> Reply {
        Reply::After(wait, Box::new(self))
    }
}

/// A request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// In their order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body without its chunks.
    pub body: Bytes,
}

impl Recorded {
    /// The first value of `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

struct State {
    script: VecDeque<Reply>,
    otherwise: Reply,
    requests: Vec<Recorded>,
    connections: u64,
}

/// The running server; it ends, with its connections, when this is dropped.
pub struct Upstream {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    accept: AbortHandle,
}

impl Upstream {
    /// Starts a server on a free port that always gives `otherwise`.
    pub async fn start(otherwise: Reply) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port of 127.0.0.1");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let state = State { script: VecDeque::new(), otherwise, requests: Vec::new(), connections: 0 };
        let state = Arc::new(Mutex::new(state));
        let accept = tokio::spawn(accept(listener, state.clone())).abort_handle();
        Upstream { addr, state, accept }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Replies for the next requests, in order, before it goes back to the usual one.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.state).script.extend(replies);
    }

    /// Changes the usual reply.
    pub fn otherwise(&self, reply: Reply) {
        lock(&self.state).otherwise = reply;
    }

    /// What came in so far.
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state).requests.clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        lock(&self.state).connections
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    // Dropped with this task, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                lock(&state).connections += 1;
                let state = state.clone();
                connections.spawn(async move { connection(stream, &state).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves requests until the peer goes or a reply ends the connection.
async fn connection(mut stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut buffer = BytesMut::new();
    loop {
        let request = read_request(&mut stream, &mut buffer).await?;
        let head = request.method == "HEAD";
        let mut reply = {
            let mut state = lock(state);
            if state.requests.len() < RECORDED_MAX {
                state.requests.push(request);
            }
            state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
        };
        while let Reply::After(wait, inner) = reply {
            tokio::time::sleep(wait).await;
            reply = *inner;
        }
        match reply {
            Reply::Answer { status, headers, body } => {
                stream.write_all(&answer(status, &headers, &body, head)).await.ok()?;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close | Reply::After(..) => return None,
            Reply::Raw(steps) => {
                for step in steps {
                    match step {
                        Wire::Send(bytes) => stream.write_all(&bytes).await.ok()?,
                        Wire::Wait(wait) => tokio::time::sleep(wait).await,
                        Wire::Reset => stream.set_zero_linger().ok()?,
                    }
                }
                return None;
            }
        }
    }
}

fn answer(status: u16, headers: &[(String, String)], body: &[u8], head: bool) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} Mock\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    // These have no body and no length, whatever was scripted.
    let bare = (100..200).contains(&status) || status == 204 || status == 304;
    if !bare {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if !bare && !head {
        out.extend_from_slice(body);
    }
    out
}

async fn read_request(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Recorded> {
    let (length, mut request) = loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(length) = parsed.parse(buffer).ok()? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = parsed.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
            let (method, target) = (parsed.method?.to_owned(), parsed.path?.to_owned());
            break (length, Recorded { method, target, headers, body: Bytes::new() });
        }
        more(stream, buffer).await?;
    };
    buffer.advance(length);
    if request.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.ok()?;
    }
    if request.header("transfer-encoding").is_some() {
        request.body = read_chunks(stream, buffer).await?;
    } else if let Some(length) = request.header("content-length") {
        request.body = take(stream, buffer, length.parse().ok()?).await?;
    }
    Some(request)
}

async fn read_chunks(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let size = match httparse::parse_chunk_size(buffer).ok()? {
            httparse::Status::Complete((line, size)) => {
                buffer.advance(line);
                usize::try_from(size).ok()?
            }
            httparse::Status::Partial => {
                more(stream, buffer).await?;
                continue;
            }
        };
        if size == 0 {
            // Trailers, up to the empty line.
            while !read_line(stream, buffer).await?.is_empty() {}
            return Some(body.freeze());
        }
        body.extend_from_slice(&take(stream, buffer, size).await?);
        read_line(stream, buffer).await?;
        if body.len() > REQUEST_BYTES_MAX {
            return None;
        }
    }
}

async fn read_line(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<Bytes> {
    loop {
        if let Some(end) = buffer.windows(2).position(|pair| pair == b"\r\n") {
            let line = buffer.split_to(end).freeze();
            buffer.advance(2);
            return Some(line);
        }
        more(stream, buffer).await?;
    }
}

async fn take(stream: &mut TcpStream, buffer: &mut BytesMut, length: usize) -> Option<Bytes> {
    while buffer.len() < length {
        more(stream, buffer).await?;
    }
    Some(buffer.split_to(length).freeze())
}

/// Reads on; nothing when the peer is gone or sends too much.
async fn more(stream: &mut TcpStream, buffer: &mut BytesMut) -> Option<()> {
    (buffer.len() <= REQUEST_BYTES_MAX && stream.read_buf(buffer).await.ok()? > 0).then_some(())
}

#[cfg(test)]
mod tests;
