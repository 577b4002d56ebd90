//! The body of a request on its way up. It stays in the buffer into which it was read: while it is short it can be
//! sent again from there, and nothing is copied for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffer::Buf;
use crate::codec::{Framer, Framing, Reject};
use mainstay_core::Reason;

/// Longest body that is kept for another try.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// What the client gets before it sends a body that it announced with `Expect: 100-continue`.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why the body does not arrive.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// The client must be told.
    Reject(Reject),
    /// The client is gone.
    Gone,
}

/// The body of one request.
pub(crate) struct Upload<'c, S> {
    /// Where more of it comes from; `None` if it is all there.
    pub(crate) client: Option<&'c mut S>,
    buf: &'c mut Buf,
    framer: Framer,
    /// Bytes of the body at the front of `buf`.
    framed: usize,
    /// Bytes of them that this try has sent.
    sent: usize,
    keep: bool,
    discarded: bool,
    continue_left: &'static [u8],
    body_bytes_max: u64,
}

impl<'c, S: AsyncRead + AsyncWrite + Unpin> Upload<'c, S> {
    /// A body that begins at the front of `buf`.
    pub(crate) fn new(
        client: Option<&'c mut S>,
        buf: &'c mut Buf,
        framing: Framing,
        expects_continue: bool,
        body_bytes_max: u64,
    ) -> Result<Self, Reject> {
        let keep = !matches!(framing, Framing::Length(n) if n > REPLAY_BYTES_MAX as u64);
        if matches!(framing, Framing::Length(n) if n > body_bytes_max) {
            return Err(Reject { reason: Reason::BodyTooLarge, detail: "the body is over the limit" });
        }
        let mut upload = Self {
            client,
            buf,
            framer: Framer::new(framing),
            framed: 0,
            sent: 0,
            keep,
            discarded: false,
            continue_left: if expects_continue { CONTINUE } else { &[] },
            body_bytes_max,
        };
        upload.frame()?;
        if upload.is_complete() || upload.framed > 0 {
            // It did not wait, so it need not be told.
            upload.continue_left = &[];
        }
        Ok(upload)
    }

    fn frame(&mut self) -> Result<(), Reject> {
        let unread = &self.buf.unread()[self.framed..];
        self.framed += self.framer.advance(unread)?;
        if self.framer.data_bytes() > self.body_bytes_max {
            return Err(Reject { reason: Reason::BodyTooLarge, detail: "the body is over the limit" });
        }
        Ok(())
    }

    /// All of it has come from the client.
    pub(crate) fn is_complete(&self) -> bool {
        self.framer.is_done()
    }

    /// Bytes of it that are here and that this try has not sent.
    pub(crate) fn pending(&self) -> &[u8] {
        &self.buf.unread()[self.sent..self.framed]
    }

    pub(crate) fn mark_sent(&mut self, n: usize) {
        self.sent += n;
        debug_assert!(self.sent <= self.framed, "only what is here can be sent");
    }

    /// This try has sent all of it.
    pub(crate) fn is_sent(&self) -> bool {
        self.is_complete() && self.sent == self.framed
    }

    /// It can be sent from its beginning.
    pub(crate) fn can_rewind(&self) -> bool {
        !self.discarded
    }

    pub(crate) fn rewind(&mut self) {
        debug_assert!(self.can_rewind(), "the beginning is gone");
        self.sent = 0;
    }

    /// Takes the body out of the buffer; what remains is the next request.
    pub(crate) fn finish(self) -> bool {
        let complete = self.is_complete();
        self.buf.consume(self.framed);
        complete
    }

    /// Reads more from the client. Pending too while there is no room because the upstream does not take what is here.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        if self.poll_continue(cx)?.is_pending() {
            return Poll::Pending;
        }
        if !self.keep || self.framed >= REPLAY_BYTES_MAX {
            self.keep = false;
            self.discarded |= self.sent > 0;
            self.buf.consume(self.sent);
            self.framed -= self.sent;
            self.sent = 0;
        }
        if !self.buf.has_space() {
            if !self.keep {
                return Poll::Pending;
            }
            self.buf.grow();
        }
        let Some(client) = self.client.as_deref_mut() else {
            return Poll::Ready(Err(UploadError::Gone));
        };
        match std::task::ready!(self.buf.poll_read(client, cx)) {
            Ok(0) => Poll::Ready(Err(UploadError::Reject(Reject::bad("the body ends before it is whole")))),
            Ok(_) => Poll::Ready(self.frame().map_err(UploadError::Reject)),
            Err(_) => Poll::Ready(Err(UploadError::Gone)),
        }
    }

    fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        while !self.continue_left.is_empty() {
            let Some(client) = self.client.as_deref_mut() else { break };
            match std::task::ready!(Pin::new(client).poll_write(cx, self.continue_left)) {
                Ok(n) if n > 0 => self.continue_left = &self.continue_left[n..],
                _ => return Poll::Ready(Err(UploadError::Gone)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Looks whether the client is still there, once its body is complete. What it sends meanwhile is the next
    /// request. The end of its stream is no departure: it may have closed its half and wait for the answer.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(client) = self.client.as_deref_mut() else { return false };
        if !self.buf.has_space() {
            return false;
        }
        matches!(self.buf.poll_read(client, cx), Poll::Ready(Err(e)) if e.kind() != io::ErrorKind::Interrupted)
    }
}
