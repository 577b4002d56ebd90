//! HTTP/1.1 without I/O: bytes in, decisions out.
//!
//! Request smuggling lives where two readers of the same bytes disagree about where a message ends. So there is
//! exactly one reading here, the strictest of RFC 9112, and whatever allows another is refused before a byte of it
//! is passed on: two lengths, a length and chunks, any coding but one `chunked`, signs and spaces in numbers, bare
//! line feeds, folded lines, a space before a colon, no Host or two.

mod framer;
mod head;
mod request;
mod response;

pub(crate) use framer::{Framer, Framing};
pub(crate) use request::{Request, read_request, write_upstream_head};
pub(crate) use response::{ResponseFacts, read_response, write_client_head};

use mainstay_core::Reason;

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reject {
    pub(crate) reason: Reason,
    pub(crate) detail: &'static str,
}

impl Reject {
    pub(crate) const fn bad(detail: &'static str) -> Self {
        Self { reason: Reason::BadRequest, detail }
    }
}
