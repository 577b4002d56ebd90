//! The answer on its way down, while the rest of the request may still be on its way up.

use std::future::poll_fn;
use std::task::{Context, Poll};

use mainstay_core::Reason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::attempt::{Answer, poll_send, poll_write_both};
use crate::codec::{Framer, Framing};
use crate::net::Net;
use crate::shard::Shard;
use crate::timer::Timer;
use crate::upload::Upload;

/// Content up to here is copied behind the head, so that one plain write sends both: cheaper than gathering two.
const COALESCE_BYTES_MAX: usize = 4 * 1024;

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relayed {
    /// It is with the client. `reusable` says whether the upstream's connection may carry another request.
    Whole { reusable: bool },
    /// The upstream broke off in the middle.
    UpstreamBroke(Reason),
    /// The client went away or did not read.
    ClientGone,
}

/// Passes on `answer`, whose head for the client is in `out`.
#[expect(clippy::too_many_arguments, reason = "what a relay borrows for its whole length")]
pub(crate) async fn relay<N: Net>(
    shard: &Shard<N>,
    answer: &mut Answer<N::Stream>,
    upload: &mut Upload<'_, N::Stream>,
    timer: &mut Timer,
    out: &mut Vec<u8>,
    http11: bool,
    body_idle: std::time::Duration,
    now: Instant,
) -> Relayed {
    let mut relay = Relay {
        framer: Framer::new(answer.facts.framing),
        out_sent: 0,
        framed: 0,
        // Whoever knows no chunks gets the content alone.
        unwrap: !http11 && answer.facts.framing == Framing::Chunked,
        progress: now,
    };
    let relayed = poll_fn(|cx| relay.poll(cx, shard, answer, upload, timer, out, body_idle)).await;
    let left = answer.buf.len();
    answer.buf.consume(left);
    shard.buffers.take_back(&mut answer.buf);
    match relayed {
        Relayed::Whole { reusable } => Relayed::Whole { reusable: reusable && left == 0 },
        other => other,
    }
}

struct Relay {
    framer: Framer,
    out_sent: usize,
    /// Bytes at the front of the answer's buffer that may be passed on.
    framed: usize,
    unwrap: bool,
    progress: Instant,
}

impl Relay {
    #[expect(clippy::too_many_arguments, reason = "what a relay borrows for its whole length")]
    fn poll<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard<N>,
        answer: &mut Answer<N::Stream>,
        upload: &mut Upload<'_, N::Stream>,
        timer: &mut Timer,
        out: &mut Vec<u8>,
        body_idle: std::time::Duration,
    ) -> Poll<Relayed> {
        if answer.writable && !upload.is_sent() {
            self.poll_upload(cx, answer, upload);
        }
        let down = self.poll_down(cx, shard, answer, upload, out);
        if let Poll::Ready(end) = down {
            return Poll::Ready(match end {
                Relayed::Whole { .. } => {
                    let reusable = answer.facts.keep_alive && answer.writable && upload.is_sent();
                    Relayed::Whole { reusable }
                }
                other => other,
            });
        }
        timer.set(self.progress + body_idle);
        if timer.poll(cx).is_ready() {
            let waits_for_client = self.framed > 0 || self.out_sent < out.len();
            return Poll::Ready(if waits_for_client {
                Relayed::ClientGone
            } else {
                Relayed::UpstreamBroke(Reason::TimeoutTry)
            });
        }
        Poll::Pending
    }

    fn poll_upload<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        answer: &mut Answer<S>,
        upload: &mut Upload<'_, S>,
    ) {
        loop {
            match poll_send(cx, &mut answer.stream, &[], upload) {
                Poll::Ready(Ok(_)) if upload.is_sent() => return,
                Poll::Ready(Ok(_)) => {
                    self.progress = Instant::now();
                    if upload.pending().is_empty() {
                        match upload.poll_fill(cx) {
                            Poll::Ready(Ok(())) => {}
                            // The answer has begun: nothing can be said about the upload any more but by closing.
                            Poll::Ready(Err(_)) => answer.writable = false,
                            Poll::Pending => return,
                        }
                    }
                }
                Poll::Ready(Err(_)) => answer.writable = false,
                Poll::Pending => return,
            }
            if !answer.writable {
                return;
            }
        }
    }

    fn poll_down<N: Net>(
        &mut self,
        cx: &mut Context<'_>,
        shard: &Shard<N>,
        answer: &mut Answer<N::Stream>,
        upload: &mut Upload<'_, N::Stream>,
        out: &mut Vec<u8>,
    ) -> Poll<Relayed> {
        let Some(client) = upload.client.as_deref_mut() else { return Poll::Ready(Relayed::ClientGone) };
        loop {
            if self.frame(answer, out).is_err() {
                return Poll::Ready(Relayed::UpstreamBroke(Reason::UpstreamProtocol));
            }
            if self.out_sent == 0 && !out.is_empty() && self.framed > 0 && self.framed <= COALESCE_BYTES_MAX {
                out.extend_from_slice(&answer.buf.unread()[..self.framed]);
                answer.buf.consume(self.framed);
                self.framed = 0;
            }
            let (head, body) = (&out[self.out_sent..], &answer.buf.unread()[..self.framed]);
            if !head.is_empty() || !body.is_empty() {
                let of_head_max = head.len();
                match std::task::ready!(poll_write_both(cx, client, head, body)) {
                    Ok(n) if n > 0 => {
                        let of_head = n.min(of_head_max);
                        self.out_sent += of_head;
                        self.framed -= n - of_head;
                        answer.buf.consume(n - of_head);
                        if self.framer.is_done() && self.framed == 0 && self.out_sent == out.len() {
                            return Poll::Ready(Relayed::Whole { reusable: true });
                        }
                        self.progress = Instant::now();
                        continue;
                    }
                    _ => return Poll::Ready(Relayed::ClientGone),
                }
            }
            if self.framer.is_done() {
                return Poll::Ready(Relayed::Whole { reusable: true });
            }
            shard.buffers.lend_upstream(&mut answer.buf);
            if !answer.buf.has_space() {
                answer.buf.grow();
            }
            match answer.buf.poll_read(&mut answer.stream, cx) {
                Poll::Ready(Ok(0)) => {
                    if !self.framer.end_of_stream() {
                        return Poll::Ready(Relayed::UpstreamBroke(Reason::UpstreamReset));
                    }
                }
                Poll::Ready(Ok(_)) => self.progress = Instant::now(),
                Poll::Ready(Err(_)) => return Poll::Ready(Relayed::UpstreamBroke(Reason::UpstreamReset)),
                Poll::Pending => {
                    shard.buffers.take_back(&mut answer.buf);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Finds out how much of what came may be passed on.
    fn frame<S>(&mut self, answer: &mut Answer<S>, out: &mut Vec<u8>) -> Result<(), crate::codec::Reject> {
        if !self.unwrap {
            let unread = &answer.buf.unread()[self.framed..];
            self.framed += self.framer.advance(unread)?;
            return Ok(());
        }
        if self.out_sent == out.len() {
            out.clear();
            self.out_sent = 0;
        }
        while !answer.buf.is_empty() && !self.framer.is_done() {
            let step = self.framer.step(answer.buf.unread())?;
            out.extend_from_slice(&answer.buf.unread()[step.data]);
            answer.buf.consume(step.consumed);
        }
        Ok(())
    }
}
