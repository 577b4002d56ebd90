//! One client connection: one request after the other, each read strictly, matched, and answered, until either side
//! has had enough.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use mainstay_core::{Reason, Shutdown};
use mainstay_policy::Repeatable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::answer::Own;
use crate::buffer::Buf;
use crate::codec::{Reject, Request, read_request, write_upstream_head};
use crate::in_hand::{Facts, InHand, Next, write_own};
use crate::local::LocalHead;
use crate::net::Net;
use crate::router::{Door, Route};
use crate::shard::Shard;
use crate::snapshot::Target;
use crate::timer::Timer;
use crate::upload::Upload;
use crate::upstream::Upstream;

/// What is still read from a client after the last answer, so that it gets to read it (RFC 9112, 9.6).
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// For how long.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Empty lines that are passed over before a request: some clients end a body with one too many.
const EMPTY_LINES_MAX: u32 = 4;

/// One client connection.
pub(crate) struct Client<N: Net> {
    shard: Rc<Shard<N>>,
    stream: N::Stream,
    ip: IpAddr,
    /// As it is written into every head.
    ip_text: String,
    door: Rc<Door>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    buf: Buf,
    timer: Timer,
    empty_lines: u32,
    answer_begun: bool,
}

/// What the head of a request leads to.
struct Begun<N: Net> {
    head_len: usize,
    facts: Facts,
    way: Way<N>,
}

enum Way<N: Net> {
    Service { upstream: Rc<Upstream<N::Stream>>, route: Option<Rc<Route>>, repeatable: Repeatable, head: Vec<u8> },
    Local { route: Rc<Route>, head: Box<LocalHead> },
    None,
}

impl<N: Net> Client<N> {
    pub(crate) fn new(shard: Rc<Shard<N>>, stream: N::Stream, ip: IpAddr, door: Rc<Door>, drain: Shutdown) -> Self {
        let timer = Timer::new(Instant::now() + shard.core.options.limits.idle_timeout);
        let drain = Box::pin(drain.cancelled_owned());
        Self {
            shard,
            stream,
            ip,
            ip_text: ip.to_string(),
            door,
            drain,
            buf: Buf::default(),
            timer,
            empty_lines: 0,
            answer_begun: false,
        }
    }

    /// Serves until the connection ends.
    pub(crate) async fn serve(mut self) {
        self.shard.counters.connections.add(1);
        self.shard.counters.connections_total.add(1);
        loop {
            let next = match self.next_head().await {
                Some(Ok(begun)) => self.caught(begun).await,
                Some(Err((reject, status))) => self.refuse(reject, status).await,
                None => Next::Abort,
            };
            match next {
                Next::Request => {}
                Next::Close => {
                    linger(&mut self.stream).await;
                    break;
                }
                Next::Abort => break,
            }
        }
        let left = self.buf.len();
        self.buf.consume(left);
        self.shard.buffers.take_back(&mut self.buf);
        self.shard.counters.connections.sub(1);
    }

    /// Waits for the next head. `None` when the client is gone, has been idle for too long, or we are to stop.
    async fn next_head(&mut self) -> Option<Result<Begun<N>, (Reject, u16)>> {
        let limits = self.shard.core.options.limits.clone();
        let mut deadline = Instant::now() + limits.idle_timeout;
        let mut begun = false;
        self.empty_lines = 0;
        let mut look = !self.buf.is_empty();
        poll_fn(move |cx| {
            loop {
                if look {
                    if let Some(result) = self.parse() {
                        return Poll::Ready(Some(result.map_err(|r| (r, r.reason.status()))));
                    }
                    if !begun && !self.buf.is_empty() {
                        begun = true;
                        deadline = Instant::now() + limits.head_timeout;
                    }
                }
                self.shard.buffers.lend_client(&mut self.buf);
                if !self.buf.has_space() {
                    self.buf.grow();
                }
                let before = self.buf.len();
                match self.buf.poll_read(&mut self.stream, cx) {
                    Poll::Ready(Ok(n)) if n > 0 => {
                        // Nothing can be complete that has no new line end in it.
                        look = before == 0 || self.buf.unread()[before..].contains(&b'\n') || self.is_long();
                        continue;
                    }
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => {}
                }
                self.shard.buffers.take_back(&mut self.buf);
                if self.buf.is_empty() && self.drain.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                self.timer.set(deadline);
                ready!(self.timer.poll(cx));
                let late = Reject::bad("the head of the request did not arrive in time");
                return Poll::Ready(begun.then_some(Err((late, 408))));
            }
        })
        .await
    }

    fn is_long(&self) -> bool {
        self.buf.len() >= self.shard.core.options.limits.head_bytes_max
    }

    fn parse(&mut self) -> Option<Result<Begun<N>, Reject>> {
        while self.buf.unread().starts_with(b"\r\n") && self.empty_lines < EMPTY_LINES_MAX {
            self.buf.consume(2);
            self.empty_lines += 1;
        }
        if self.buf.is_empty() {
            return None;
        }
        let limits = &self.shard.core.options.limits;
        read_request(self.buf.unread(), limits, |request| self.begin(request)).transpose()
    }

    /// Decides where a request goes. Nothing waits here, so the head need not be kept.
    fn begin(&self, request: &Request<'_>) -> Begun<N> {
        let compiled = self.shard.compiled();
        let facts = Facts {
            begun: Instant::now(),
            framing: request.framing,
            keep_alive: request.keep_alive,
            http11: request.http11,
            to_head: request.method == "HEAD",
            expects_continue: request.expects_continue,
        };
        let found = self.door.edge.as_ref().or_else(|| compiled.router.find(request.method, request.path()));
        let (service, route) = match found {
            Some(route) => match &route.target {
                Target::Service(name) => (Some(name), Some(route)),
                Target::Local(_) => {
                    let head = Box::new(LocalHead::read(request));
                    let way = Way::Local { route: route.clone(), head };
                    return Begun { head_len: request.head.len(), facts, way };
                }
            },
            None => (None, None),
        };
        let way = match service.and_then(|name| compiled.upstreams.get(name)) {
            Some(upstream) => {
                let of_route = route.and_then(|r| r.policy.retries.as_ref());
                let retries = of_route.unwrap_or(&upstream.policy.retries);
                let keyed = retries.idempotency_key && request.has_idempotency_key;
                let repeatable = Repeatable::of(request.method, retries.idempotent, keyed);
                let mut head = self.shard.buffers.scratch();
                write_upstream_head(&mut head, request, &self.ip_text, upstream.name.as_str());
                Way::Service { upstream: upstream.clone(), route: route.cloned(), repeatable, head }
            }
            None => Way::None,
        };
        Begun { head_len: request.head.len(), facts, way }
    }

    /// Handles a request; a bug of ours ends the request and not the worker.
    async fn caught(&mut self, begun: Begun<N>) -> Next {
        self.answer_begun = false;
        let shard = self.shard.clone();
        let result = {
            let mut handled = pin!(self.handle(begun));
            poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| handled.as_mut().poll(cx))) {
                Ok(Poll::Ready(next)) => Poll::Ready(Some(next)),
                Ok(Poll::Pending) => Poll::Pending,
                Err(_) => Poll::Ready(None),
            })
            .await
        };
        match result {
            Some(next) => next,
            None => {
                shard.counters.panics.add(1);
                shard.counters.unrouted.record(500, Some(Reason::Panic), Duration::ZERO);
                tracing::error!(listener = %self.door.id, "a request met a bug in the data plane");
                if !self.answer_begun {
                    let mut out = Vec::new();
                    Own::new(Reason::Panic).write(&mut out);
                    let _ = write_own(&mut self.stream, &mut self.timer, &out).await;
                }
                Next::Close
            }
        }
    }

    /// Answers what cannot be read as a request, and closes: nobody knows where the next one would begin.
    async fn refuse(&mut self, reject: Reject, status: u16) -> Next {
        self.shard.counters.unrouted.record(status, Some(reject.reason), Duration::ZERO);
        let mut out = Vec::new();
        Own { status, detail: Some(reject.detail), ..Own::new(reject.reason) }.write(&mut out);
        let _ = write_own(&mut self.stream, &mut self.timer, &out).await;
        Next::Close
    }

    async fn handle(&mut self, begun: Begun<N>) -> Next {
        let Begun { head_len, facts, way } = begun;
        self.buf.consume(head_len);
        let limits = &self.shard.core.options.limits;
        let body_bytes_max = match way {
            Way::Local { .. } => crate::snapshot::LOCAL_BODY_BYTES_MAX as u64,
            _ => limits.body_bytes_max,
        };
        let shard = self.shard.clone();
        let upload =
            Upload::new(Some(&mut self.stream), &mut self.buf, facts.framing, facts.expects_continue, body_bytes_max);
        let request = InHand { shard: &shard, facts, timer: &mut self.timer, answer_begun: &mut self.answer_begun };
        let upload = match upload {
            Ok(upload) => upload,
            Err(reject) => {
                shard.counters.unrouted.record(reject.reason.status(), Some(reject.reason), Duration::ZERO);
                let own = Own { detail: Some(reject.detail), ..Own::new(reject.reason) };
                let mut out = Vec::new();
                own.write(&mut out);
                let _ = write_own(&mut self.stream, &mut self.timer, &out).await;
                return Next::Close;
            }
        };
        match way {
            Way::Service { upstream, route, repeatable, head } => {
                let next = request.forward(upload, &upstream, route.as_deref(), repeatable, &head).await;
                shard.buffers.give_scratch(head);
                next
            }
            Way::Local { route, head } => {
                let Target::Local(handler) = &route.target else { unreachable!("a local way has a local target") };
                request.local(upload, &route, Arc::clone(handler), *head, self.ip).await
            }
            Way::None => {
                let took = facts.begun.elapsed();
                shard.counters.unrouted.record(Reason::NoRoute.status(), Some(Reason::NoRoute), took);
                request.own(upload, Own::new(Reason::NoRoute)).await
            }
        }
    }
}

/// Ends our side and reads what the client still sends: closing at once would make the kernel throw away the answer.
async fn linger<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S) {
    let drained = async {
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut rest = [0; 2048];
        let mut total = 0;
        while total < LINGER_BYTES_MAX {
            match stream.read(&mut rest).await {
                Ok(n) if n > 0 => total += n,
                _ => return,
            }
        }
    };
    // Whether it ended or took too long, the connection is closed now.
    let _ = tokio::time::timeout(LINGER_MAX, drained).await;
}
