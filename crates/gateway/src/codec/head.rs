//! What heads of requests and of answers have in common.

use super::{Framing, Reject};

/// A character of a method or of a field name (RFC 9110, 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `httparse` takes a bare line feed for the end of a line. Every line of `head` must end with both.
///
/// Each field starts a line and each line but the first is a field, so looking before each name and at the end sees
/// every line end without walking the bytes again.
pub(super) fn check_line_ends(head: &[u8], headers: &[httparse::Header<'_>]) -> Result<(), Reject> {
    let clean = headers.iter().all(|h| {
        let at = offset(head, h.name.as_bytes());
        at >= 2 && head[at - 2..at] == *b"\r\n"
    });
    if clean && head.ends_with(b"\r\n\r\n") {
        Ok(())
    } else {
        Err(Reject::bad("a line ends without a carriage return"))
    }
}

/// Where `part`, which was cut from `whole`, begins.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize) - (whole.as_ptr() as usize)
}

/// The one framing that a head declares, or why there is not one.
#[derive(Default)]
pub(super) struct Declared {
    length: Option<u64>,
    chunked: bool,
}

impl Declared {
    pub(super) fn content_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.length.is_some() {
            return Err(Reject::bad("two Content-Length headers"));
        }
        // Digits only: no sign, no list, no space. 18 of them cannot overflow.
        if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Reject::bad("Content-Length is not a number"));
        }
        self.length = Some(value.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')));
        Ok(())
    }

    pub(super) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.chunked {
            return Err(Reject::bad("two Transfer-Encoding headers"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reject::bad("Transfer-Encoding is not exactly 'chunked'"));
        }
        self.chunked = true;
        Ok(())
    }

    pub(super) fn framing(&self) -> Result<Option<Framing>, Reject> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Reject::bad("both Content-Length and Transfer-Encoding")),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, true) => Ok(Some(Framing::Chunked)),
            (None, false) => Ok(None),
        }
    }
}

/// What `Connection` says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) names_others: bool,
}

impl Connection {
    pub(super) fn read(&mut self, value: &[u8]) {
        for token in tokens(value) {
            match token {
                t if t.eq_ignore_ascii_case(b"close") => self.close = true,
                t if t.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ => self.names_others = true,
            }
        }
    }
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// Fields that a `Connection` header may name and that stay all the same: taking them away would change what the
/// message means to those behind us.
const NEVER_NAMED: [&str; 9] = [
    "host",
    "content-length",
    "authorization",
    "cookie",
    "idempotency-key",
    "x-forwarded-for",
    "x-forwarded-proto",
    "content-type",
    "content-encoding",
];

/// Whether a field is about one connection only (RFC 9110, 7.6.1).
pub(super) fn is_hop_by_hop(name: &str, headers: &[httparse::Header<'_>], connection: Connection) -> bool {
    let known = match name.len() {
        2 => name.eq_ignore_ascii_case("te"),
        7 => name.eq_ignore_ascii_case("upgrade"),
        10 => name.eq_ignore_ascii_case("connection") || name.eq_ignore_ascii_case("keep-alive"),
        16 => name.eq_ignore_ascii_case("proxy-connection"),
        17 => name.eq_ignore_ascii_case("transfer-encoding"),
        _ => false,
    };
    known
        || (connection.names_others
            && !NEVER_NAMED.iter().any(|n| name.eq_ignore_ascii_case(n))
            && headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case("connection"))
                .any(|h| tokens(h.value).any(|t| t.eq_ignore_ascii_case(name.as_bytes()))))
}

/// Copies the lines of the fields that `keep` wants, as they stand, in as few runs as there can be.
pub(super) fn copy_fields(
    out: &mut Vec<u8>,
    head: &[u8],
    headers: &[httparse::Header<'_>],
    mut keep: impl FnMut(&httparse::Header<'_>) -> bool,
) {
    let end_of_fields = head.len() - 2;
    let mut run: Option<usize> = None;
    for header in headers {
        let at = offset(head, header.name.as_bytes());
        match (keep(header), run) {
            (true, None) => run = Some(at),
            (false, Some(start)) => {
                out.extend_from_slice(&head[start..at]);
                run = None;
            }
            _ => {}
        }
    }
    if let Some(start) = run {
        out.extend_from_slice(&head[start..end_of_fields]);
    }
}
