//! Answers that we make ourselves: a reason in a header and in a JSON body.

use std::io::Write as _;

use mainstay_core::Reason;

/// An answer of our own, whole, ready to be written.
pub(crate) struct Own<'a> {
    pub(crate) reason: Reason,
    pub(crate) status: u16,
    pub(crate) detail: Option<&'a str>,
    pub(crate) keep_alive: bool,
    pub(crate) to_head: bool,
    /// Tells those before us that the budget is used up.
    pub(crate) no_retry: bool,
}

impl Own<'_> {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, status: reason.status(), detail: None, keep_alive: false, to_head: false, no_retry: false }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let body = self.reason.body(self.detail);
        out.clear();
        write_status(out, self.status);
        // Writing to a Vec cannot fail.
        let _ = write!(
            out,
            "content-type: application/json\r\ncontent-length: {}\r\nmainstay-reason: {}\r\n",
            body.len(),
            self.reason.code()
        );
        if self.no_retry {
            out.extend_from_slice(NO_RETRY_BUDGET);
        }
        if !self.keep_alive {
            out.extend_from_slice(CLOSE);
        }
        out.extend_from_slice(b"\r\n");
        if !self.to_head {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

pub(crate) const NO_RETRY_BUDGET: &[u8] = b"mainstay-no-retry: budget\r\n";
pub(crate) const CLOSE: &[u8] = b"connection: close\r\n";

pub(crate) fn write_status(out: &mut Vec<u8>, status: u16) {
    let phrase = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("Unknown");
    let _ = write!(out, "HTTP/1.1 {status} {phrase}\r\n");
}
