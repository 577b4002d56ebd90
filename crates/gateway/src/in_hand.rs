//! One request in hand: its head has been read and its way is known; now it is answered, by an upstream, by code in
//! this process or by ourselves.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use mainstay_core::Reason;
use mainstay_policy::Repeatable;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::answer::{CLOSE, NO_RETRY_BUDGET, Own};
use crate::attempt::Message;
use crate::codec::Framing;
use crate::exchange::{Answered, Exchanged, GaveUp, Terms, exchange};
use crate::local::{self, LocalHead};
use crate::net::Net;
use crate::relay::{Relayed, relay};
use crate::router::Route;
use crate::shard::Shard;
use crate::timer::Timer;
use crate::upload::{Upload, UploadError};
use crate::upstream::Upstream;

/// Time for a client to take an answer of our own.
const OWN_ANSWER_MAX: Duration = Duration::from_secs(10);
/// What is known of a request from its head.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) begun: Instant,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) http11: bool,
    pub(crate) to_head: bool,
    pub(crate) expects_continue: bool,
}

/// What comes after a request.
pub(crate) enum Next {
    Request,
    /// Say nothing more and let the client read what was said.
    Close,
    /// The client is gone or must notice that something is missing.
    Abort,
}

/// A request whose head has been read.
pub(crate) struct InHand<'r, N: Net> {
    pub(crate) shard: &'r Rc<Shard<N>>,
    pub(crate) facts: Facts,
    pub(crate) timer: &'r mut Timer,
    pub(crate) answer_begun: &'r mut bool,
}

impl<N: Net> InHand<'_, N> {
    pub(crate) async fn forward(
        self,
        mut upload: Upload<'_, N::Stream>,
        upstream: &Rc<Upstream<N::Stream>>,
        route: Option<&Route>,
        repeatable: Repeatable,
        head: &[u8],
    ) -> Next {
        let facts = self.facts;
        let policy = &upstream.policy;
        let timeouts = route.and_then(|r| r.policy.timeouts.as_ref()).unwrap_or(&policy.timeouts);
        let retries = route.and_then(|r| r.policy.retries.as_ref()).unwrap_or(&policy.retries);
        let terms = Terms { timeouts, retries, repeatable, total: timeouts.total, begun: facts.begun };
        let message = Message { head, to_head: facts.to_head, http11: facts.http11 };
        let mut out = self.shard.buffers.scratch();
        let exchanged = exchange(self.shard, upstream, &terms, &message, &mut upload, self.timer, &mut out).await;
        let record = |status, own: Option<Reason>, now: Instant| {
            let took = now.saturating_duration_since(facts.begun);
            upstream.counters.outcomes.record(status, own, took);
            if let Some(route) = route {
                route.counters.record(status, own, took);
            }
        };
        let cancelled = || {
            upstream.counters.outcomes.cancelled.add(1);
            if let Some(route) = route {
                route.counters.cancelled.add(1);
            }
            Next::Abort
        };
        match exchanged {
            Exchanged::Answer(Answered { mut answer, mut try_, budget_exhausted }) => {
                let keep_alive = facts.keep_alive
                    && !self.shard.draining.get()
                    && answer.facts.framing != Framing::Close
                    && upload.is_complete();
                if budget_exhausted {
                    out.extend_from_slice(NO_RETRY_BUDGET);
                }
                if !keep_alive {
                    out.extend_from_slice(CLOSE);
                }
                out.extend_from_slice(b"\r\n");
                *self.answer_begun = true;
                let idle = timeouts.body_idle;
                let shard = self.shard;
                let relayed = relay(
                    shard,
                    &mut answer,
                    &mut upload,
                    self.timer,
                    &mut out,
                    facts.http11,
                    idle,
                    try_.answered_at(),
                )
                .await;
                shard.buffers.give_scratch(out);
                match relayed {
                    Relayed::Whole { reusable } => {
                        let now = Instant::now();
                        if reusable {
                            try_.peer.check_in(answer.stream, now);
                        }
                        record(answer.facts.status, None, now);
                        if upload.finish() && keep_alive { Next::Request } else { Next::Close }
                    }
                    Relayed::UpstreamBroke(reason) => {
                        try_.failed(reason);
                        record(502, Some(reason), Instant::now());
                        // The client sees a body that stops short: all that can still be said.
                        Next::Abort
                    }
                    Relayed::ClientGone => cancelled(),
                }
            }
            Exchanged::Failed(GaveUp { reason, status, detail, budget_exhausted, .. }) => {
                record(status, Some(reason), Instant::now());
                let own = Own { status, detail: Some(&detail), no_retry: budget_exhausted, ..Own::new(reason) };
                self.own(upload, own).await
            }
            Exchanged::Client(UploadError::Reject(reject)) => {
                record(reject.reason.status(), Some(reject.reason), Instant::now());
                self.own(upload, Own { detail: Some(reject.detail), ..Own::new(reject.reason) }).await
            }
            Exchanged::Client(UploadError::Gone) => cancelled(),
        }
    }

    pub(crate) async fn local(
        self,
        mut upload: Upload<'_, N::Stream>,
        route: &Route,
        handler: Arc<dyn crate::snapshot::LocalHandler>,
        head: LocalHead,
        ip: IpAddr,
    ) -> Next {
        let idle = self.shard.core.options.limits.head_timeout;
        let body = match local::collect(&mut upload, self.facts.framing, self.timer, idle).await {
            Ok(body) => body,
            Err(UploadError::Reject(reject)) => {
                route.counters.record(reject.reason.status(), Some(reject.reason), self.facts.begun.elapsed());
                return self.own(upload, Own { detail: Some(reject.detail), ..Own::new(reject.reason) }).await;
            }
            Err(UploadError::Gone) => {
                route.counters.cancelled.add(1);
                return Next::Abort;
            }
        };
        let mut answer = handler.call(head.with_body(body, ip));
        let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if upload.poll_gone(cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let Some(answer) = answer.await else {
            route.counters.cancelled.add(1);
            return Next::Abort;
        };
        let keep_alive = self.facts.keep_alive && !self.shard.draining.get();
        let mut out = self.shard.buffers.scratch();
        local::write(&mut out, &answer, keep_alive, self.facts.to_head);
        *self.answer_begun = true;
        route.counters.record(answer.status.as_u16(), None, self.facts.begun.elapsed());
        let written = match upload.client.as_deref_mut() {
            Some(client) => write_own(client, self.timer, &out).await,
            None => false,
        };
        self.shard.buffers.give_scratch(out);
        match (written, upload.finish() && keep_alive) {
            (false, _) => Next::Abort,
            (true, true) => Next::Request,
            (true, false) => Next::Close,
        }
    }

    /// Answers by ourselves. The connection goes on if the request was read to its end.
    pub(crate) async fn own(self, mut upload: Upload<'_, N::Stream>, own: Own<'_>) -> Next {
        let keep_alive = self.facts.keep_alive && upload.is_complete() && !self.shard.draining.get();
        let mut out = self.shard.buffers.scratch();
        Own { keep_alive, to_head: self.facts.to_head, ..own }.write(&mut out);
        *self.answer_begun = true;
        let written = match upload.client.as_deref_mut() {
            Some(client) => write_own(client, self.timer, &out).await,
            None => false,
        };
        self.shard.buffers.give_scratch(out);
        upload.finish();
        match (written, keep_alive) {
            (false, _) => Next::Abort,
            (true, true) => Next::Request,
            (true, false) => Next::Close,
        }
    }
}

/// Writes `bytes`; `false` if the client does not take them.
pub(crate) async fn write_own<S: tokio::io::AsyncWrite + Unpin>(
    stream: &mut S,
    timer: &mut Timer,
    bytes: &[u8],
) -> bool {
    timer.set(Instant::now() + OWN_ANSWER_MAX);
    let mut written = pin!(stream.write_all(bytes));
    poll_fn(|cx| match written.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(result.is_ok()),
        Poll::Pending => timer.poll(cx).map(|()| false),
    })
    .await
}
