//! What an answer means, or an error in place of one.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::date::retry_after;
use super::profile::{Http, SentOnce, digits};
use super::{GRPC_PUSHBACK, GRPC_STATUS, NO_RETRY};
use crate::{Evidence, Health, Judge, Reason, RetrySafety, Verdict, status_may_be_retried};

/// Says of a client's error whether the request had been sent. Any `Fn(&E) -> Evidence` does.
pub trait ErrorEvidence<E>: Clone {
    /// What the error proves.
    fn evidence(&self, error: &E) -> Evidence;
}

impl<E, F: Fn(&E) -> Evidence + Clone> ErrorEvidence<E> for F {
    fn evidence(&self, error: &E) -> Evidence {
        self(error)
    }
}

/// Knows nothing of errors: after any of them the request may have been seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnyError;

impl<E> ErrorEvidence<E> for AnyError {
    fn evidence(&self, _error: &E) -> Evidence {
        Evidence::Sent
    }
}

impl<C, E, F: ErrorEvidence<E>> Judge<Response<C>, E> for Http<F> {
    fn judge(&self, outcome: Result<&Response<C>, &E>) -> Verdict {
        match outcome {
            Ok(response) => answer(response.status(), response.headers(), response.extensions().get()),
            Err(error) => match self.errors.evidence(error) {
                Evidence::NeverSent => Verdict::UNSENT,
                Evidence::Sent => Verdict::FAILED,
                Evidence::Answered(status) => by_status(status, None),
                Evidence::ResponseStarted => Verdict { retry_safety: RetrySafety::No, ..Verdict::FAILED },
            },
        }
    }

    fn forbid_retry(&self, response: &mut Response<C>, reason: Reason) {
        response.headers_mut().insert(NO_RETRY, no_retry(reason));
    }
}

impl<C, E, F: ErrorEvidence<E>> Judge<Response<C>, E> for SentOnce<F> {
    fn judge(&self, outcome: Result<&Response<C>, &E>) -> Verdict {
        self.0.judge(outcome)
    }

    fn forbid_retry(&self, response: &mut Response<C>, reason: Reason) {
        Judge::<_, E>::forbid_retry(&self.0, response, reason);
    }
}

/// What `mainstay-no-retry` says.
pub(super) fn no_retry(reason: Reason) -> HeaderValue {
    HeaderValue::from_static(match reason {
        Reason::RetryBudget => "budget",
        other => other.code(),
    })
}

fn answer(status: StatusCode, headers: &HeaderMap, evidence: Option<&Evidence>) -> Verdict {
    let mut verdict = match headers.get(GRPC_STATUS) {
        Some(code) => by_grpc_status(digits(code.as_bytes()), headers),
        None => by_status(status.as_u16(), retry_after(headers)),
    };
    match evidence {
        // An answer that somebody made without asking the service, and that is no good one.
        Some(Evidence::NeverSent) if verdict.health != Health::Good => verdict.retry_safety = RetrySafety::Safe,
        Some(Evidence::ResponseStarted) => verdict.retry_safety = RetrySafety::No,
        _ => {}
    }
    if headers.contains_key(NO_RETRY) {
        verdict.retry_safety = RetrySafety::No;
    }
    verdict
}

fn by_status(status: u16, after: Option<Duration>) -> Verdict {
    let health = match status {
        429 => Health::Busy,
        500.. => Health::Failed,
        _ => Health::Good,
    };
    // Only these two say "later" by `Retry-After`; on others it is about something else, or nonsense.
    let retry_after = after.filter(|_| matches!(status, 429 | 503));
    let not_now = status_may_be_retried(status) || (status == 429 && retry_after.is_some());
    let retry_safety = if not_now { RetrySafety::IfRepeatable } else { RetrySafety::No };
    Verdict { health, retry_safety, retry_after }
}

/// How a gRPC call went that ended without a message. Codes as in gRPC's `statuscodes`.
fn by_grpc_status(code: Option<u64>, headers: &HeaderMap) -> Verdict {
    const UNKNOWN: u64 = 2;
    const DEADLINE_EXCEEDED: u64 = 4;
    const RESOURCE_EXHAUSTED: u64 = 8;
    const INTERNAL: u64 = 13;
    const UNAVAILABLE: u64 = 14;
    const DATA_LOSS: u64 = 15;

    let (health, asked_again) = match code {
        Some(UNAVAILABLE) => (Health::Failed, true),
        Some(RESOURCE_EXHAUSTED) => (Health::Busy, false),
        Some(UNKNOWN | DEADLINE_EXCEEDED | INTERNAL | DATA_LOSS) | None => (Health::Failed, false),
        Some(_) => (Health::Good, false),
    };
    // A server says by pushback when it wants the call again, or by anything but a number that it never does.
    let pushback = headers.get(GRPC_PUSHBACK).map(|ms| digits(ms.as_bytes()).map(Duration::from_millis));
    let (retry_after, again) = match (code, pushback) {
        (Some(UNAVAILABLE | RESOURCE_EXHAUSTED), Some(after)) => (after, after.is_some()),
        _ => (None, asked_again),
    };
    let retry_safety = if again { RetrySafety::IfRepeatable } else { RetrySafety::No };
    Verdict { health, retry_safety, retry_after }
}
