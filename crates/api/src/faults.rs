//! Faults by request: each is a lease that its holder renews.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use mainstay_core::{Fault, LeaseId, Reason};
use serde::Serialize;
use serde_json::json;

use crate::{ApiError, Parts};

/// A future without a name.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a fault was not put in: one sentence that names the place and the fix.
#[derive(Debug)]
pub struct FaultRefused(pub String);

/// A fault that lasts.
#[derive(Debug, Clone, Serialize)]
pub struct LiveFault {
    /// Its lease.
    pub lease: LeaseId,
    /// What it does, in words.
    pub fault: String,
}

/// Carries faults to the part that can do them.
pub trait FaultDesk: Send + Sync + 'static {
    /// Puts a fault in.
    fn inject(&self, fault: Fault) -> Boxed<'_, Result<LeaseId, FaultRefused>>;
    /// Lets it live for its time to live from now on; false if there is none.
    fn renew(&self, lease: LeaseId) -> Boxed<'_, bool>;
    /// Takes it out; false if there is none.
    fn clear(&self, lease: LeaseId) -> Boxed<'_, bool>;
    /// Those that last.
    fn list(&self) -> Boxed<'_, Vec<LiveFault>>;
}

pub(crate) async fn inject(
    State(parts): State<Arc<Parts>>,
    body: Result<Json<Fault>, JsonRejection>,
) -> Result<impl IntoResponse, ApiError> {
    let Json(fault) = body.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let lease = parts.faults.inject(fault).await.map_err(|e| ApiError::bad_request(e.0))?;
    Ok((StatusCode::CREATED, Json(json!({ "lease": lease }))))
}

pub(crate) async fn renew(State(parts): State<Arc<Parts>>, Path(lease): Path<String>) -> Result<StatusCode, ApiError> {
    found(parts.faults.renew(LeaseId(lease.clone())).await, &lease)
}

pub(crate) async fn clear(State(parts): State<Arc<Parts>>, Path(lease): Path<String>) -> Result<StatusCode, ApiError> {
    found(parts.faults.clear(LeaseId(lease.clone())).await, &lease)
}

pub(crate) async fn list(State(parts): State<Arc<Parts>>) -> impl IntoResponse {
    Json(json!({ "faults": parts.faults.list().await }))
}

fn found(there: bool, lease: &str) -> Result<StatusCode, ApiError> {
    let gone = || ApiError::new(Reason::NoRoute, format!("there is no fault {lease}: it was cleared or it expired"));
    if there { Ok(StatusCode::NO_CONTENT) } else { Err(gone()) }
}
