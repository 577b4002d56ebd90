//! Every answer that says no says why: status, `mainstay-reason`, and a JSON body with the fix.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mainstay_core::Reason;

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    reason: Reason,
    message: String,
}

impl ApiError {
    /// With a message that names the place and the fix.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (HeaderName::from_static("mainstay-reason"), HeaderValue::from_static(self.reason.code())),
        ];
        (status, headers, self.reason.body(Some(&self.message))).into_response()
    }
}
