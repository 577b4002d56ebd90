//! Turning a policy's decision into an answer, for those who serve HTTP.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use super::judge::no_retry;
use super::{NO_RETRY, REASON};
use crate::{Reason, Rejection, RetrySafety};

impl Reason {
    /// The HTTP status of an answer with this reason.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::BreakerOpen
            | Self::BulkheadFull
            | Self::QueueTimeout
            | Self::Shed
            | Self::RetryBudget
            | Self::FaultInjected => StatusCode::SERVICE_UNAVAILABLE,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Deadline | Self::TimeoutTry | Self::TimeoutTotal => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// Whether the caller may send such a request again with hope, unless the rejection itself forbids it.
    pub const fn retryable(self) -> bool {
        !matches!(self, Self::Deadline | Self::RetryBudget | Self::BodyTooLarge)
    }
}

/// The answer to a request that a policy ended: status, `mainstay-reason`, `Retry-After` where the policy knows when,
/// and a JSON body `{reason, message, retryable}`. Where retrying is forbidden, `mainstay-no-retry` says so to those
/// above.
///
/// ```
/// # use mainstay_policy::{Reason, Rejection, rejection_response};
/// # use std::time::Duration;
/// let rejection = Rejection::unsent(Reason::BreakerOpen).after(Duration::from_millis(4200));
/// let answer: http::Response<String> = rejection_response(&rejection);
/// assert_eq!(answer.status(), 503);
/// assert_eq!(answer.headers()["mainstay-reason"], "breaker_open");
/// assert_eq!(answer.headers()["retry-after"], "5");
/// ```
pub fn rejection_response<B: From<String>>(rejection: &Rejection) -> Response<B> {
    let Rejection { reason, retry_safety, retry_after, .. } = *rejection;
    let retryable = reason.retryable() && retry_safety != RetrySafety::No;
    // Codes and messages are our own and have nothing to escape.
    let body = format!(r#"{{"reason":"{}","message":"{}","retryable":{retryable}}}"#, reason.code(), reason.message());
    let mut response = Response::new(body.into());
    *response.status_mut() = reason.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(REASON, HeaderValue::from_static(reason.code()));
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, whole_seconds(wait).into());
    }
    if retry_safety == RetrySafety::No {
        headers.insert(NO_RETRY, no_retry(reason));
    }
    response
}

/// At least one, and never less than what is meant: who comes back early is turned away again.
fn whole_seconds(wait: std::time::Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
