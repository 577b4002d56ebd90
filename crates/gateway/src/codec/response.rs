//! Heads of answers: read as strictly as requests, since a client must not be fooled by them either.

use std::mem::MaybeUninit;

use super::head::{Connection, Declared, check_line_ends, copy_fields, is_hop_by_hop, offset};
use super::{Framing, Reject};
use crate::options::HEADERS_CAPACITY;

/// Longest head of an answer.
pub(crate) const RESPONSE_HEAD_BYTES_MAX: usize = 64 * 1024;

/// What an answer says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResponseFacts {
    pub(crate) status: u16,
    pub(crate) head_len: usize,
    pub(crate) framing: Framing,
    /// The upstream will take another request on this connection.
    pub(crate) keep_alive: bool,
    pub(crate) retry_after_s: Option<u64>,
    /// The upstream asks that nobody tries again.
    pub(crate) no_retry: bool,
}

/// A parsed head with its facts.
pub(crate) struct Response<'b> {
    pub(crate) facts: ResponseFacts,
    pub(crate) head: &'b [u8],
    pub(crate) headers: &'b [httparse::Header<'b>],
    connection: Connection,
}

impl Response<'_> {
    pub(crate) fn is_hop_by_hop(&self, name: &str) -> bool {
        is_hop_by_hop(name, self.headers, self.connection)
    }
}

/// Reads the head of the answer at the start of `bytes` and hands it to `then`; `None` as long as it is not whole.
/// `to_head` says that the request was a HEAD, whose answer has no body whatever it declares.
pub(crate) fn read_response<R>(
    bytes: &[u8],
    to_head: bool,
    then: impl FnOnce(&Response<'_>) -> R,
) -> Result<Option<R>, Reject> {
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Err(Reject::bad("the answer does not begin with a status line"));
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut room)
        .map_err(|_| Reject::bad("the head of the answer is malformed"))?;
    let httparse::Status::Complete(head_len) = status else {
        return if bytes.len() < RESPONSE_HEAD_BYTES_MAX {
            Ok(None)
        } else {
            Err(Reject::bad("the head of the answer is over the limit"))
        };
    };
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else {
        return Err(Reject::bad("the status line is malformed"));
    };
    let head = &bytes[..head_len];
    let headers: &[httparse::Header<'_>] = parsed.headers;
    check_line_ends(head, headers)?;
    let mut declared = Declared::default();
    let mut connection = Connection::default();
    let (mut retry_after_s, mut no_retry) = (None, false);
    for header in headers {
        let (name, value) = (header.name, header.value.trim_ascii());
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => connection.read(value),
            11 if name.eq_ignore_ascii_case("retry-after") => {
                retry_after_s = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
            }
            14 if name.eq_ignore_ascii_case("content-length") => declared.content_length(value)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => declared.transfer_encoding(value)?,
            17 if name.eq_ignore_ascii_case("mainstay-no-retry") => no_retry = true,
            _ => {}
        }
    }
    if !(100..=599).contains(&status) || status == 101 {
        return Err(Reject::bad("the status of the answer is not one that was asked for"));
    }
    let declared = declared.framing()?;
    let framing = if to_head || status < 200 || status == 204 || status == 304 {
        Framing::None
    } else {
        declared.unwrap_or(Framing::Close)
    };
    let keep_alive = version == 1 && !connection.close && framing != Framing::Close;
    let facts = ResponseFacts { status, head_len, framing, keep_alive, retry_after_s, no_retry };
    Ok(Some(then(&Response { facts, head, headers, connection })))
}

/// Writes the head that goes to the client, without the empty line that ends it: more may be added.
/// A client of HTTP/1.0 knows no chunks; it gets the content until the connection closes.
pub(crate) fn write_client_head(out: &mut Vec<u8>, response: &Response<'_>, http11: bool) {
    out.clear();
    out.extend_from_slice(b"HTTP/1.1");
    let first_field =
        response.headers.first().map_or(response.head.len() - 2, |h| offset(response.head, h.name.as_bytes()));
    // "HTTP/1.x" has eight characters; what follows is the status, the phrase and the end of the line.
    out.extend_from_slice(&response.head[8..first_field]);
    let drop_length = matches!(response.facts.status, 100..=199 | 204);
    copy_fields(out, response.head, response.headers, |h| {
        !(response.is_hop_by_hop(h.name) || (drop_length && h.name.eq_ignore_ascii_case("content-length")))
    });
    if response.facts.framing == Framing::Chunked && http11 {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
}

#[cfg(test)]
mod tests;
