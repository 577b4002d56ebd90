//! A call of the control plane, carried out on a worker: the same exchange as any request, from memory to memory.

use std::future::poll_fn;
use std::io::Write as _;
use std::rc::Rc;
use std::task::Poll;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use mainstay_core::{Reason, ServiceName};
use mainstay_policy::Repeatable;
use tokio::time::Instant;

use crate::attempt::{Answer, Message};
use crate::buffer::Buf;
use crate::caller::{CALL_BODY_BYTES_MAX, Call, CallError, Request, Response};
use crate::codec::{Framer, Framing};
use crate::exchange::{Answered, Exchanged, Terms, exchange};
use crate::net::Net;
use crate::shard::Shard;
use crate::timer::Timer;
use crate::upload::Upload;

/// Carries out `call` and replies.
pub(crate) async fn carry_out<N: Net>(shard: Rc<Shard<N>>, call: Call) {
    let Call { service, request, reply } = call;
    // An error only says that nobody waits any more.
    let _ = reply.send(perform(&shard, &service, request).await);
}

async fn perform<N: Net>(shard: &Rc<Shard<N>>, service: &ServiceName, request: Request) -> Result<Response, CallError> {
    let unsent = |reason, message: &str| CallError { reason, sent: false, message: message.to_owned() };
    if !request.path.starts_with('/') || !request.path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(unsent(Reason::BadRequest, "the path of a call begins with '/' and has no spaces"));
    }
    let begun = Instant::now();
    let Some(upstream) = shard.compiled().upstreams.get(service).cloned() else {
        return Err(unsent(Reason::NoEndpoint, "there is no such service"));
    };
    let policy = &upstream.policy;
    let total = request.timeout.unwrap_or(policy.timeouts.total);
    let deadline = begun + total;
    // Whoever calls from inside and sends a key vouches for the other side honouring it.
    let keyed = request.headers.contains_key("idempotency-key");
    let repeatable = Repeatable::of(request.method.as_str(), policy.retries.idempotent, keyed);
    let mut head = shard.buffers.scratch();
    write_head(&mut head, service, &request);
    let length = request.body.len() as u64;
    let mut buf = Buf::from_vec(request.body.into());
    // A body without a limit, whose length is known, cannot be refused.
    let Ok(mut upload) = Upload::<N::Stream>::new(None, &mut buf, Framing::Length(length), false, u64::MAX) else {
        return Err(unsent(Reason::BadRequest, "the body is malformed"));
    };
    let terms = Terms { timeouts: &policy.timeouts, retries: &policy.retries, repeatable, total, begun };
    let message = Message { head: &head, to_head: request.method == Method::HEAD, http11: true };
    let mut timer = Timer::new(deadline);
    let mut out = shard.buffers.scratch();
    let exchanged = exchange(shard, &upstream, &terms, &message, &mut upload, &mut timer, &mut out).await;
    let result = match exchanged {
        Exchanged::Answer(Answered { mut answer, mut try_, .. }) => {
            timer.set(deadline);
            match collect(shard, &mut answer, &mut timer).await {
                Ok((body, reusable)) => {
                    if reusable && upload.is_sent() && answer.writable {
                        try_.peer.check_in(answer.stream, Instant::now());
                    }
                    let status = StatusCode::from_u16(answer.facts.status).unwrap_or(StatusCode::BAD_GATEWAY);
                    out.extend_from_slice(b"\r\n");
                    Ok(Response { status, headers: read_headers(&out), body: body.into() })
                }
                Err((reason, message)) => {
                    try_.failed(reason);
                    Err(CallError { reason, sent: true, message: message.to_owned() })
                }
            }
        }
        Exchanged::Failed(gave_up) => {
            Err(CallError { reason: gave_up.reason, sent: gave_up.sent, message: gave_up.detail })
        }
        Exchanged::Client(_) => Err(CallError {
            reason: Reason::UpstreamReset,
            sent: true,
            message: "the body of the call could not be sent again".to_owned(),
        }),
    };
    let (status, own) = match &result {
        Ok(response) => (response.status.as_u16(), None),
        Err(error) => (error.reason.status(), Some(error.reason)),
    };
    upstream.counters.outcomes.record(status, own, begun.elapsed());
    shard.buffers.give_scratch(head);
    shard.buffers.give_scratch(out);
    result
}

fn write_head(out: &mut Vec<u8>, service: &ServiceName, request: &Request) {
    let _ = write!(out, "{} {} HTTP/1.1\r\nhost: {service}\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        if !matches!(
            name.as_str(),
            "host" | "content-length" | "transfer-encoding" | "connection" | "keep-alive" | "upgrade" | "te" | "expect"
        ) {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
    let expects_body = matches!(request.method, Method::POST | Method::PUT | Method::PATCH);
    if expects_body || !request.body.is_empty() {
        let _ = write!(out, "content-length: {}\r\n", request.body.len());
    }
    out.extend_from_slice(b"\r\n");
}

/// The content of an answer, and whether its connection may be used again.
async fn collect<N: Net>(
    shard: &Shard<N>,
    answer: &mut Answer<N::Stream>,
    timer: &mut Timer,
) -> Result<(Vec<u8>, bool), (Reason, &'static str)> {
    let mut framer = Framer::new(answer.facts.framing);
    let mut body = Vec::new();
    loop {
        while !answer.buf.is_empty() && !framer.is_done() {
            let step = framer
                .step(answer.buf.unread())
                .map_err(|_| (Reason::UpstreamProtocol, "the body of the answer is malformed"))?;
            body.extend_from_slice(&answer.buf.unread()[step.data]);
            answer.buf.consume(step.consumed);
        }
        if body.len() > CALL_BODY_BYTES_MAX {
            return Err((Reason::UpstreamProtocol, "the body of the answer is over the limit"));
        }
        if framer.is_done() {
            break;
        }
        shard.buffers.lend_upstream(&mut answer.buf);
        let read = poll_fn(|cx| match answer.buf.poll_read(&mut answer.stream, cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => timer.poll(cx).map(|()| None),
        });
        match read.await {
            Some(Ok(n)) if n > 0 => {}
            Some(Ok(_)) if framer.end_of_stream() => {}
            Some(_) => return Err((Reason::UpstreamReset, "the connection broke within the answer")),
            None => return Err((Reason::TimeoutTotal, "the answer did not end in time")),
        }
    }
    let clean = answer.buf.is_empty();
    let left = answer.buf.len();
    answer.buf.consume(left);
    shard.buffers.take_back(&mut answer.buf);
    Ok((body, clean && answer.facts.keep_alive))
}

/// The headers of a head that has been parsed before.
fn read_headers(head: &[u8]) -> HeaderMap {
    let mut room = [httparse::EMPTY_HEADER; crate::options::HEADERS_CAPACITY + 1];
    let mut parsed = httparse::Response::new(&mut room);
    let mut headers = HeaderMap::new();
    if parsed.parse(head).is_ok() {
        for header in parsed.headers.iter() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_bytes(header.value))
            {
                headers.append(name, value);
            }
        }
    }
    headers
}
