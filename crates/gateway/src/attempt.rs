//! One try: one endpoint, one connection, one request, up to the head of the answer.
//!
//! The request is written and the answer is read at the same time: an upstream may answer before it has read all of
//! the body, or stream its answer while it reads, and whoever finishes the upload first waits for ever.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use mainstay_core::{EdgeEffect, Reason};
use mainstay_policy::Evidence;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::buffer::Buf;
use crate::codec::{Reject, ResponseFacts, read_response, write_client_head};
use crate::net::Net;
use crate::shard::Shard;
use crate::snapshot::Timeouts;
use crate::timer::Timer;
use crate::upload::{Upload, UploadError};
use crate::upstream::Peer;

/// Connections of the pool that are tried before a new one is made.
const STALE_MAX: u32 = 5;

/// What is sent, however often.
pub(crate) struct Message<'m> {
    pub(crate) head: &'m [u8],
    pub(crate) to_head: bool,
    /// Whether the client understands chunks.
    pub(crate) http11: bool,
}

/// When what is too late.
pub(crate) struct Deadlines<'t> {
    pub(crate) timeouts: &'t Timeouts,
    /// For everything until the head of the answer. Moved when a long upload ends.
    pub(crate) total: Instant,
    pub(crate) total_length: std::time::Duration,
    /// When this try began.
    pub(crate) begun: Instant,
    /// Nothing may follow this try: it gets all the time that remains.
    pub(crate) last: bool,
}

/// The head of an answer has come.
pub(crate) struct Answer<S> {
    pub(crate) facts: ResponseFacts,
    pub(crate) stream: S,
    /// What came after the head.
    pub(crate) buf: Buf,
    /// The upstream took all that was sent so far.
    pub(crate) writable: bool,
}

/// A try without an answer.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) evidence: Evidence,
    pub(crate) reason: Reason,
    pub(crate) detail: String,
    /// The status of an injected answer.
    pub(crate) status: Option<u16>,
    /// It tells nothing about the endpoint: the connection was an old one.
    pub(crate) neutral: bool,
}

/// How a try ended.
pub(crate) enum Tried<S> {
    Answer(Answer<S>),
    Failed(Failed),
    /// The client broke off or sent rubbish: nobody's failure but its own.
    Client(UploadError),
}

impl Failed {
    pub(crate) fn new(evidence: Evidence, reason: Reason, detail: impl Into<String>) -> Self {
        Self { evidence, reason, detail: detail.into(), status: None, neutral: false }
    }
}

/// Makes one try. `out` gets the head for the client.
#[expect(clippy::too_many_arguments, reason = "what a try borrows for its whole length")]
pub(crate) async fn attempt<N: Net>(
    shard: &Shard<N>,
    peer: &Rc<Peer<N::Stream>>,
    fault: Option<EdgeEffect>,
    message: &Message<'_>,
    upload: &mut Upload<'_, N::Stream>,
    deadlines: &mut Deadlines<'_>,
    timer: &mut Timer,
    out: &mut Vec<u8>,
) -> Tried<N::Stream> {
    let begun = deadlines.begun;
    let mut lose = false;
    match fault {
        Some(EdgeEffect::Delay { by }) => {
            let (at, reason) = deadlines.answer_by(begun);
            let until = begun + by.0;
            if until >= at {
                tokio::time::sleep_until(at).await;
                return Tried::Failed(Failed::new(Evidence::Sent, reason, "no answer in time"));
            }
            tokio::time::sleep_until(until).await;
        }
        Some(EdgeEffect::Error { status }) => {
            let failed =
                Failed::new(Evidence::Answered(status), Reason::FaultInjected, "a drill made this request fail");
            return Tried::Failed(Failed { status: Some(status), ..failed });
        }
        Some(EdgeEffect::LoseResponse) => lose = true,
        None => {}
    }
    for stale in 0..=STALE_MAX {
        let (stream, reused) = match connection(shard, peer, deadlines, stale == STALE_MAX).await {
            Ok(connection) => connection,
            Err(failed) => return Tried::Failed(failed),
        };
        let mut running = Running {
            stream,
            buf: Buf::default(),
            head_sent: 0,
            body_sent: false,
            writable: true,
            begun,
            progress: begun,
            streaming: !upload.is_complete(),
        };
        let result = poll_fn(|cx| running.poll(cx, shard, message, upload, deadlines, timer, out)).await;
        let Running { stream, mut buf, head_sent, writable, .. } = running;
        let mut failed = match result {
            Ok(facts) if !lose => {
                buf.consume(facts.head_len);
                return Tried::Answer(Answer { facts, stream, buf, writable });
            }
            Ok(_) => Failed::new(Evidence::Sent, Reason::UpstreamReset, "the answer was lost"),
            Err(Broken::Client(error)) => return Tried::Client(error),
            Err(Broken::Upstream(failed)) => failed,
        };
        let nothing_read = buf.is_empty();
        let leftover = buf.len();
        buf.consume(leftover);
        shard.buffers.take_back(&mut buf);
        let reset = failed.reason == Reason::UpstreamReset && !lose && nothing_read;
        if reused && reset {
            // It had been closed while it rested, and the others beside it probably were as well.
            peer.forget_idle();
            if head_sent == 0 {
                continue;
            }
            failed.neutral = true;
        }
        return Tried::Failed(failed);
    }
    // The last round made a new connection, which is never stale.
    Tried::Failed(Failed::new(Evidence::NeverSent, Reason::ConnectFailed, "no connection could be kept"))
}

/// A pooled connection or a new one, and whether it was used before.
async fn connection<N: Net>(
    shard: &Shard<N>,
    peer: &Rc<Peer<N::Stream>>,
    deadlines: &Deadlines<'_>,
    fresh: bool,
) -> Result<(N::Stream, bool), Failed> {
    if !fresh {
        let pooled = poll_fn(|cx| {
            let mut scratch = Buf::default();
            shard.buffers.lend_upstream(&mut scratch);
            let pooled = peer.check_out(cx, &mut scratch);
            shard.buffers.take_back(&mut scratch);
            Poll::Ready(pooled)
        });
        if let Some(stream) = pooled.await {
            return Ok((stream, true));
        }
    }
    let by = (Instant::now() + deadlines.timeouts.connect).min(deadlines.total);
    match tokio::time::timeout_at(by, shard.net.connect(peer.key.addr)).await {
        Ok(Ok(stream)) => {
            peer.counters.connects.add(1);
            Ok((stream, false))
        }
        Ok(Err(e)) => {
            let detail = format!("{} at {}: {e}", peer.key.replica, peer.key.addr);
            Err(Failed::new(Evidence::NeverSent, Reason::ConnectFailed, detail))
        }
        Err(_) => {
            let detail = format!("{} at {} did not accept in time", peer.key.replica, peer.key.addr);
            Err(Failed::new(Evidence::NeverSent, Reason::TimeoutConnect, detail))
        }
    }
}

impl Deadlines<'_> {
    /// When the head of an answer must be here, and what it is called when it is not.
    fn answer_by(&self, from: Instant) -> (Instant, Reason) {
        let try_by = from + self.timeouts.per_try;
        if self.last || try_by >= self.total {
            (self.total, Reason::TimeoutTotal)
        } else {
            (try_by, Reason::TimeoutTry)
        }
    }
}

enum Broken {
    Client(UploadError),
    Upstream(Failed),
}

struct Running<S> {
    stream: S,
    buf: Buf,
    head_sent: usize,
    body_sent: bool,
    writable: bool,
    begun: Instant,
    /// When the upload last moved.
    progress: Instant,
    /// The body was not whole when the try began.
    streaming: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Running<S> {
    #[expect(clippy::too_many_arguments, reason = "what a try borrows for its whole length")]
    fn poll<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard<N>,
        message: &Message<'_>,
        upload: &mut Upload<'_, S>,
        deadlines: &mut Deadlines<'_>,
        timer: &mut Timer,
        out: &mut Vec<u8>,
    ) -> Poll<Result<ResponseFacts, Broken>> {
        let mut waits_for_client = false;
        while self.writable && !self.body_sent {
            match poll_send(cx, &mut self.stream, &message.head[self.head_sent..], upload) {
                Poll::Ready(Ok(Sent { head, all })) => {
                    self.head_sent += head;
                    self.body_sent = all;
                    if self.streaming {
                        self.progress = Instant::now();
                    }
                    if all && self.streaming {
                        // A long upload does not eat the time for the answer.
                        self.begun = self.progress;
                        deadlines.total = self.progress + deadlines.total_length;
                    }
                    if !all && upload.pending().is_empty() && self.head_sent == message.head.len() {
                        match upload.poll_fill(cx) {
                            Poll::Ready(Ok(())) => self.progress = Instant::now(),
                            Poll::Ready(Err(e)) => return Poll::Ready(Err(Broken::Client(e))),
                            Poll::Pending => {
                                waits_for_client = true;
                                break;
                            }
                        }
                    }
                }
                // It takes no more, but it may have said why.
                Poll::Ready(Err(_)) => self.writable = false,
                Poll::Pending => break,
            }
        }
        if let Poll::Ready(read) = self.poll_head(cx, shard, message, out) {
            return Poll::Ready(read.map_err(Broken::Upstream));
        }
        if self.body_sent && upload.poll_gone(cx) {
            return Poll::Ready(Err(Broken::Client(UploadError::Gone)));
        }
        let (at, reason) = if self.body_sent || !self.streaming {
            deadlines.answer_by(self.begun)
        } else if waits_for_client {
            (self.progress + deadlines.timeouts.body_idle, Reason::BadRequest)
        } else {
            (self.progress + deadlines.timeouts.per_try, Reason::TimeoutTry)
        };
        timer.set(at);
        if timer.poll(cx).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Err(if reason == Reason::BadRequest {
            Broken::Client(UploadError::Reject(Reject::bad("the body did not arrive in time")))
        } else {
            let evidence = if self.head_sent > 0 { Evidence::Sent } else { Evidence::NeverSent };
            Broken::Upstream(Failed::new(evidence, reason, "no answer in time"))
        }))
    }

    /// Reads until the head of the answer is whole. Answers of the 1xx kind are passed over: what asked for them was
    /// taken out of the request.
    fn poll_head<N: Net<Stream = S>>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard<N>,
        message: &Message<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<ResponseFacts, Failed>> {
        let evidence = |running: &Self| if running.head_sent > 0 { Evidence::Sent } else { Evidence::NeverSent };
        loop {
            shard.buffers.lend_upstream(&mut self.buf);
            if !self.buf.has_space() {
                self.buf.grow();
            }
            let read = match self.buf.poll_read(&mut self.stream, cx) {
                Poll::Ready(read) => read,
                Poll::Pending => {
                    shard.buffers.take_back(&mut self.buf);
                    return Poll::Pending;
                }
            };
            match read {
                Ok(n) if n > 0 => {}
                end => {
                    let why = match end {
                        Err(e) => format!("the connection broke: {e}"),
                        Ok(_) => "the connection was closed before the answer".to_owned(),
                    };
                    return Poll::Ready(Err(Failed::new(evidence(self), Reason::UpstreamReset, why)));
                }
            }
            loop {
                let parsed = read_response(self.buf.unread(), message.to_head, |r| {
                    write_client_head(out, r, message.http11);
                    r.facts
                });
                match parsed {
                    Ok(None) => break,
                    Ok(Some(facts)) if facts.status < 200 => self.buf.consume(facts.head_len),
                    Ok(Some(facts)) => return Poll::Ready(Ok(facts)),
                    Err(reject) => {
                        return Poll::Ready(Err(Failed::new(Evidence::Sent, Reason::UpstreamProtocol, reject.detail)));
                    }
                }
                if self.buf.is_empty() {
                    break;
                }
            }
        }
    }
}

/// What one write did.
pub(crate) struct Sent {
    /// Bytes of the head.
    head: usize,
    /// Head and body are out, and no more will come.
    all: bool,
}

/// Writes what is left of the head and what is here of the body, in one call of the kernel where it can be.
pub(crate) fn poll_send<S: AsyncRead + AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    head: &[u8],
    upload: &mut Upload<'_, S>,
) -> Poll<io::Result<Sent>> {
    if head.is_empty() && upload.pending().is_empty() {
        return Poll::Ready(Ok(Sent { head: 0, all: upload.is_sent() }));
    }
    let n = std::task::ready!(poll_write_both(cx, stream, head, upload.pending()))?;
    if n == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    let of_head = n.min(head.len());
    upload.mark_sent(n - of_head);
    Poll::Ready(Ok(Sent { head: of_head, all: of_head == head.len() && upload.is_sent() }))
}

/// One write of two pieces.
pub(crate) fn poll_write_both<S: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut S,
    first: &[u8],
    second: &[u8],
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    match (first, second) {
        (only, []) | ([], only) => stream.poll_write(cx, only),
        (first, second) => stream.poll_write_vectored(cx, &[IoSlice::new(first), IoSlice::new(second)]),
    }
}
