//! Who may call: anybody on loopback may read; who changes something shows the token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;
use mainstay_core::Reason;

use crate::{ApiError, Parts};

/// Wants `Authorization: Bearer TOKEN` or `mainstay-token: TOKEN`.
pub(crate) async fn token(State(parts): State<Arc<Parts>>, request: Request, next: Next) -> Result<Response, ApiError> {
    let shown = shown_token(request.headers()).map(|shown| same(shown.as_bytes(), parts.token.as_bytes()));
    match shown {
        Some(true) => Ok(next.run(request).await),
        Some(false) => Err(ApiError::new(Reason::Unauthorized, "the token is not the one in .mainstay/run/token")),
        None => {
            let fix = "send `Authorization: Bearer TOKEN` with the token in .mainstay/run/token";
            Err(ApiError::new(Reason::Unauthorized, fix))
        }
    }
}

fn shown_token(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let bearer = text("authorization").and_then(|v| v.strip_prefix("Bearer "));
    bearer.or_else(|| text("mainstay-token")).map(str::trim)
}

/// Compares in a time that does not tell where the difference lies.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y)) == 0
}

/// Refuses requests for other hosts than loopback's names.
pub(crate) async fn loopback_host(request: Request, next: Next) -> Result<Response, ApiError> {
    let host = request.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        Ok(next.run(request).await)
    } else {
        Err(ApiError::new(Reason::Forbidden, "this address answers to 127.0.0.1 and localhost only"))
    }
}
