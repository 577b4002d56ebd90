//! What the policies must know of HTTP and gRPC.
//!
//! **The problem.** A retry that goes by status codes pays people twice; a breaker that counts 404 opens because of
//! one bad link; a deadline that stays in the process of the caller stops nobody further down. All three need the
//! same small knowledge of HTTP, and it must be the same for every layer.
//!
//! **The rule**, in one value: [`Http`] is a [`Profile`](crate::Profile) of requests and a [`Judge`](crate::Judge)
//! of answers.
//!
//! - *May it be sent twice?* By its method (RFC 9110, 9.2.2), by declaration ([`Http::idempotent`]), or because it
//!   carries an `Idempotency-Key` and the service is known to honour keys ([`Http::with_idempotency_keys`]). Else
//!   only where there is evidence that nobody has seen it.
//! - *How is the service?* 5xx: it failed. 429: it lives and has enough. Anything else: it did its work.
//! - *Does the answer say "not now"?* 502, 503, 504, and 429 with `Retry-After`. 500 and 501 are about this request
//!   and stay what they are. `mainstay-no-retry` on the answer ends the matter: a layer further down has no budget
//!   left, and one retry here would become many there.
//! - *How long will the caller wait?* `mainstay-deadline-ms` and `grpc-timeout`, the shorter of them; what goes on is
//!   what remains less 5 ms, for the answer must travel, too.
//! - *Who is it?* The priority of `mainstay-priority` is believed of trusted peers only
//!   ([`Http::trusting_peers`]), or everybody would be important.
//!
//! **Evidence.** The status never says whether a request was sent, so whoever knows puts it where the judge looks:
//! an [`Evidence`](crate::Evidence) among the extensions of a *response* (an answer made by a proxy or a layer of
//! our own), or, for *errors*, a function of the client's error type ([`Http::errors_by`]): no trait, since the
//! errors are other people's types. Without either, an error means that the request may have been seen.
//!
//! **gRPC** answers 200 and says in `grpc-status` how it went. Where that stands in the head (an answer without
//! messages, as failures mostly are), it is judged: 14 is a 503, 8 a 429, 4, 2, 13 and 15 are failures that are not
//! repeated, the rest did its work. A status that comes in the trailers, after messages, comes too late for retries
//! and is judged as good: a stream that has begun is the reader's.
//!
//! **Bodies.** A body can be read once. [`Replay`] makes one that can be sent again while it is small. A server, which
//! sends nothing again, says so by [`Http::sent_once`] and takes bodies as they are.
//!
//! **On the other side**, [`rejection_response`] makes an answer of what a policy decided.

mod answer;
mod body;
mod date;
mod judge;
mod profile;
mod replay;

pub use answer::rejection_response;
pub use body::Duplicate;
pub use judge::{AnyError, ErrorEvidence};
pub use profile::{Http, SentOnce};
pub use replay::{REPLAY_BYTES_MAX, Replay, ReplayError};

#[cfg(test)]
mod tests;

/// What remains of the caller's patience, in whole milliseconds.
const DEADLINE_MS: http::HeaderName = http::HeaderName::from_static("mainstay-deadline-ms");
/// 0 to 4.
const PRIORITY: http::HeaderName = http::HeaderName::from_static("mainstay-priority");
/// Why this must not be sent again.
const NO_RETRY: http::HeaderName = http::HeaderName::from_static("mainstay-no-retry");
/// Which policy answered.
const REASON: http::HeaderName = http::HeaderName::from_static("mainstay-reason");
/// Tells repetitions of one request from new requests.
const IDEMPOTENCY_KEY: http::HeaderName = http::HeaderName::from_static("idempotency-key");
/// gRPC's deadline: up to eight digits and a unit.
const GRPC_TIMEOUT: http::HeaderName = http::HeaderName::from_static("grpc-timeout");
/// How a gRPC call went.
const GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");
/// When a gRPC server wants to be asked again; negative: not at all.
const GRPC_PUSHBACK: http::HeaderName = http::HeaderName::from_static("grpc-retry-pushback-ms");
