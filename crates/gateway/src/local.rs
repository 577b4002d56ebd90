//! Requests that code in this process answers: the body is read whole, within its bound, and handed over.

use std::future::poll_fn;
use std::io::Write as _;
use std::net::IpAddr;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::answer::{CLOSE, write_status};
use crate::codec::{Framer, Framing, Reject, Request};
use crate::snapshot::{LocalRequest, LocalResponse};
use crate::timer::Timer;
use crate::upload::{Upload, UploadError};

/// A request without its body.
pub(crate) struct LocalHead {
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
}

impl LocalHead {
    pub(crate) fn read(request: &Request<'_>) -> Self {
        let fields = request.headers.iter().filter(|h| !request.is_hop_by_hop(h.name));
        let headers = fields
            .filter_map(|h| {
                let name = HeaderName::from_bytes(h.name.as_bytes()).ok()?;
                Some((name, HeaderValue::from_bytes(h.value).ok()?))
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            });
        Self {
            // httparse has seen to it that the method is a token.
            method: Method::from_bytes(request.method.as_bytes()).unwrap_or_default(),
            path: request.path().to_owned(),
            query: request.query().map(str::to_owned),
            headers,
        }
    }

    pub(crate) fn with_body(self, body: Bytes, peer: IpAddr) -> LocalRequest {
        let Self { method, path, query, headers } = self;
        LocalRequest { method, path, query, headers, body, peer }
    }
}

/// The whole content of a body; the upload refuses what is over its limit.
pub(crate) async fn collect<S: AsyncRead + AsyncWrite + Unpin>(
    upload: &mut Upload<'_, S>,
    framing: Framing,
    timer: &mut Timer,
    idle: Duration,
) -> Result<Bytes, UploadError> {
    let mut content = Vec::new();
    let mut decoder = Framer::new(framing);
    loop {
        let pending = upload.pending();
        let mut at = 0;
        while at < pending.len() {
            let step = decoder.step(&pending[at..]).map_err(UploadError::Reject)?;
            content.extend_from_slice(&pending[at..][step.data]);
            at += step.consumed;
        }
        upload.mark_sent(at);
        if upload.is_complete() {
            return Ok(content.into());
        }
        timer.set(Instant::now() + idle);
        poll_fn(|cx| match upload.poll_fill(cx) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => {
                timer.poll(cx).map(|()| Err(UploadError::Reject(Reject::bad("the body did not arrive in time"))))
            }
        })
        .await?;
    }
}

/// Writes an answer, whole.
pub(crate) fn write(out: &mut Vec<u8>, answer: &LocalResponse, keep_alive: bool, to_head: bool) {
    out.clear();
    write_status(out, answer.status.as_u16());
    for (name, value) in &answer.headers {
        if !matches!(name.as_str(), "content-length" | "transfer-encoding" | "connection" | "keep-alive" | "upgrade") {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    if !keep_alive {
        out.extend_from_slice(CLOSE);
    }
    let bodiless = matches!(answer.status.as_u16(), 100..=199 | 204 | 304);
    if !bodiless {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "content-length: {}\r\n", answer.body.len());
    }
    out.extend_from_slice(b"\r\n");
    if !bodiless && !to_head {
        out.extend_from_slice(&answer.body);
    }
}
