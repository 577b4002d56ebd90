//! The machine interface: REST and JSON on loopback, over the handles of the parts.
//!
//! Reading is free on loopback; whatever changes something wants the token that lies in the state folder. Requests that
//! were sent to another name than loopback's are refused: a web page in the user's browser must not reach this by
//! pointing its own host name at 127.0.0.1.

mod error;
mod events;
mod faults;
mod guard;
mod transactions;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Json, Router, middleware};
use mainstay_core::{EventBus, Reason, Shutdown};
use mainstay_observe::{Format, Metrics};
use serde_json::json;

pub use error::ApiError;
pub use faults::{FaultDesk, FaultRefused, LiveFault};
pub use transactions::{Report, WAIT_MAX};

/// Largest request body.
pub const BODY_BYTES_MAX: usize = 80 << 10;

/// What the API speaks for.
pub struct Parts {
    /// Everything there is to see, as JSON: made by the assembly, which alone knows all parts.
    pub status: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Transactions.
    pub transactions: mainstay_txn::Handle,
    /// Where drills put faults in.
    pub faults: Arc<dyn FaultDesk>,
    /// `/metrics`.
    pub metrics: Metrics,
    /// Events.
    pub bus: EventBus,
    /// Wanted from every call that changes something.
    pub token: String,
    /// Cancelled by `POST /v1/shutdown`.
    pub stop: Shutdown,
}

/// The API's routes, without the console's.
pub fn router(parts: Parts) -> Router {
    let parts = Arc::new(parts);
    let changing = Router::new()
        .route("/v1/transactions", post(transactions::start))
        .route("/v1/faults", post(faults::inject))
        .route("/v1/faults/{lease}", delete(faults::clear))
        .route("/v1/faults/{lease}/renew", post(faults::renew))
        .route("/v1/shutdown", post(shutdown))
        .route_layer(middleware::from_fn_with_state(parts.clone(), guard::token));
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/status", get(status))
        .route("/v1/events", get(events::events))
        .route("/v1/transactions", get(transactions::list))
        .route("/v1/transactions/{id}", get(transactions::one))
        .route("/v1/faults", get(faults::list))
        .route("/metrics", get(metrics))
        .merge(changing)
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(parts)
}

/// Puts the loopback check around everything that is served on the API's address.
pub fn on_loopback_only(router: Router) -> Router {
    router.layer(middleware::from_fn(guard::loopback_host))
}

async fn health() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

async fn status(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    Json((parts.status)())
}

async fn metrics(State(parts): State<Arc<Parts>>, headers: HeaderMap) -> impl IntoResponse {
    let format = Format::accepted(headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()));
    ([(header::CONTENT_TYPE, format.content_type())], parts.metrics.render(format))
}

async fn shutdown(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    parts.stop.cancel();
    (axum::http::StatusCode::ACCEPTED, Json(json!({ "status": "stopping" })))
}

async fn nothing_here(method: axum::http::Method, uri: axum::http::Uri) -> ApiError {
    ApiError::new(Reason::NoRoute, format!("there is no {method} {}", uri.path()))
}

#[cfg(test)]
mod tests;
