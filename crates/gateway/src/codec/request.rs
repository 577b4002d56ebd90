//! Heads of requests: read strictly, passed on with the fewest changes.

use std::mem::MaybeUninit;

use mainstay_core::Reason;

use super::head::{Connection, Declared, check_line_ends, copy_fields, is_hop_by_hop};
use super::{Framing, Reject};
use crate::options::{HEADERS_CAPACITY, Limits};

/// A request head that has one reading.
pub(crate) struct Request<'b> {
    pub(crate) method: &'b str,
    /// In origin form: path and query.
    pub(crate) target: &'b str,
    pub(crate) http11: bool,
    pub(crate) headers: &'b [httparse::Header<'b>],
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) has_idempotency_key: bool,
    /// The head as it came, with its last empty line.
    pub(crate) head: &'b [u8],
    connection: Connection,
    has_host: bool,
}

impl Request<'_> {
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Whether a field is for us only and not for those behind us.
    pub(crate) fn is_hop_by_hop(&self, name: &str) -> bool {
        is_hop_by_hop(name, self.headers, self.connection)
    }
}

/// Reads the request head at the start of `bytes` and hands it to `then`; `None` as long as there is not all of it.
pub(crate) fn read_request<R>(
    bytes: &[u8],
    limits: &Limits,
    then: impl FnOnce(&Request<'_>) -> R,
) -> Result<Option<R>, Reject> {
    const TOO_LARGE: Reject = Reject { reason: Reason::HeaderTooLarge, detail: "the head is over the limit" };
    // httparse would skip empty lines of any kind; the caller has taken away those that may be there.
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return if bytes == b"\r" { Ok(None) } else { Err(Reject::bad("an empty line before the request")) };
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADERS_CAPACITY];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(bytes, &mut room[..limits.headers_max]).map_err(|e| match e {
        httparse::Error::TooManyHeaders => {
            Reject { reason: Reason::HeaderTooLarge, detail: "more headers than the limit" }
        }
        httparse::Error::HeaderName => Reject::bad("a header name is malformed"),
        httparse::Error::HeaderValue => Reject::bad("a header value is malformed"),
        httparse::Error::Version => Reject::bad("the version is not HTTP/1.1"),
        _ => Reject::bad("the request line is malformed"),
    })?;
    let length = match status {
        httparse::Status::Complete(length) if length <= limits.head_bytes_max => length,
        httparse::Status::Partial if bytes.len() < limits.head_bytes_max => return Ok(None),
        _ => return Err(TOO_LARGE),
    };
    let head = &bytes[..length];
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Reject::bad("the request line is malformed"));
    };
    let headers: &[httparse::Header<'_>] = parsed.headers;
    check_line_ends(head, headers)?;
    let mut request = Request {
        method,
        target,
        http11: version == 1,
        headers,
        framing: Framing::None,
        keep_alive: false,
        expects_continue: false,
        has_idempotency_key: false,
        head,
        connection: Connection::default(),
        has_host: false,
    };
    judge(&mut request, &bytes[length..])?;
    Ok(Some(then(&request)))
}

fn judge(request: &mut Request<'_>, following: &[u8]) -> Result<(), Reject> {
    let mut declared = Declared::default();
    let mut host: Option<&[u8]> = None;
    let mut upgrade = false;
    for header in request.headers {
        let (name, value) = (header.name, header.value.trim_ascii());
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                if host.is_some() {
                    return Err(Reject::bad("two Host headers"));
                }
                if !is_host(value) {
                    return Err(Reject::bad("the Host header is malformed"));
                }
                host = Some(value);
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reject::bad("an expectation that cannot be met"));
                }
                request.expects_continue = request.http11;
            }
            7 if name.eq_ignore_ascii_case("upgrade") => upgrade = true,
            10 if name.eq_ignore_ascii_case("connection") => request.connection.read(value),
            14 if name.eq_ignore_ascii_case("content-length") => declared.content_length(value)?,
            15 if name.eq_ignore_ascii_case("idempotency-key") => request.has_idempotency_key = !value.is_empty(),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if !request.http11 {
                    return Err(Reject::bad("Transfer-Encoding in HTTP/1.0"));
                }
                declared.transfer_encoding(value)?;
            }
            _ => {}
        }
    }
    if host.is_none() && request.http11 {
        return Err(Reject::bad("no Host header"));
    }
    request.has_host = host.is_some();
    request.framing = declared.framing()?.unwrap_or(Framing::None);
    request.keep_alive = request.http11 && !request.connection.close;
    if upgrade && (request.framing != Framing::None || !following.is_empty()) {
        // Whoever believes in the upgrade reads these bytes as another protocol, whoever does not as a request.
        return Err(Reject::bad("bytes follow an Upgrade that nobody has agreed to"));
    }
    if request.method == "CONNECT" {
        return Err(Reject::bad("CONNECT is not served here"));
    }
    request.target = origin_form(request.target, host)?;
    Ok(())
}

/// A host and a port, and nothing that two readers could split differently.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b".-_~:[]%".contains(b))
}

/// The path and query of a target. An absolute one must name the host that the Host header names.
fn origin_form<'b>(target: &'b str, host: Option<&[u8]>) -> Result<&'b str, Reject> {
    if !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(Reject::bad("the target of the request is malformed"));
    }
    if target.starts_with('/') {
        return Ok(target);
    }
    let scheme = target.get(..7).filter(|s| s.eq_ignore_ascii_case("http://"));
    let (Some(_), Some(host)) = (scheme, host) else {
        return Err(Reject::bad("the target of the request is not a path"));
    };
    let rest = &target[7..];
    let authority = rest.find(['/', '?']).map_or(rest, |at| &rest[..at]);
    if !authority.as_bytes().eq_ignore_ascii_case(host) {
        return Err(Reject::bad("the target names another host than the Host header"));
    }
    match &rest[authority.len()..] {
        "" => Ok("/"),
        path if path.starts_with('/') => Ok(path),
        _ => Err(Reject::bad("the target of the request has no path")),
    }
}

/// Writes the head that goes to the upstream. `host` is for those who sent none (HTTP/1.0).
pub(crate) fn write_upstream_head(out: &mut Vec<u8>, request: &Request<'_>, client: &str, host: &str) {
    out.clear();
    out.extend_from_slice(request.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(request.target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let mut forwarded = false;
    copy_fields(out, request.head, request.headers, |h| {
        let is_forwarded = h.name.eq_ignore_ascii_case("x-forwarded-for");
        forwarded |= is_forwarded;
        !(is_forwarded || request.is_hop_by_hop(h.name) || h.name.eq_ignore_ascii_case("expect"))
    });
    if request.framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if !request.has_host {
        out.extend_from_slice(b"host: ");
        out.extend_from_slice(host.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    if forwarded {
        for header in request.headers.iter().filter(|h| h.name.eq_ignore_ascii_case("x-forwarded-for")) {
            out.extend_from_slice(header.value.trim_ascii());
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(client.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

#[cfg(test)]
mod tests;
