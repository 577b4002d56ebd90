//! Transactions by request: start one, wait for it, look at it, list them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mainstay_core::{Reason, Span, TransactionId, WallMs};
use mainstay_txn::{Cursor, Filter, LIST_LIMIT_MAX, Record, Start, StartError, Status};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{ApiError, Parts};

/// Longest wait for an end, in one request.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// What the starter of a transaction is told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its id.
    pub id: TransactionId,
    /// Where it is.
    pub status: Status,
    /// The step that refused, or at which it is stuck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What was said there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Report {
    /// What a record says to its starter.
    pub fn of(record: &Record) -> Self {
        let why = record.stuck.as_ref().or(record.why.as_ref());
        Self {
            id: record.id.clone(),
            status: record.status,
            step: why.map(|w| w.step.clone()),
            why: why.map(|w| w.text.clone()),
        }
    }

    /// 200 done, 409 undone, 202 not over yet: the id finds it again.
    pub fn http_status(&self) -> u16 {
        match self.status {
            Status::Committed => 200,
            Status::RolledBack => 409,
            _ => 202,
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Wait {
    wait: Option<Span>,
}

pub(crate) async fn start(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    wait: Result<Query<Wait>, QueryRejection>,
    body: Result<Json<Start>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Query(Wait { wait }) = wait.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let Json(mut start) = body.map_err(|e| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::new(Reason::BodyTooLarge, "the input may have 64 KiB"),
        _ => ApiError::bad_request(e.body_text()),
    })?;
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().map_err(|_| ApiError::bad_request("idempotency-key: use visible ASCII"))?;
        if start.key.as_deref().is_some_and(|other| other != key) {
            return Err(ApiError::bad_request("the header idempotency-key and the field key differ; send one of them"));
        }
        start.key = Some(key.to_owned());
    }
    let started = parts.transactions.start(start).await.map_err(|e| refused(&e))?;
    let Some(wait) = wait else {
        let status = if started.existing { StatusCode::OK } else { StatusCode::CREATED };
        return Ok((status, Json(json!({ "id": started.id, "status": started.status }))).into_response());
    };
    let ended = parts.transactions.wait(&started.id, wait.0.min(WAIT_MAX)).await;
    let record = ended.map_err(|e| ApiError::new(Reason::Draining, e.to_string()))?;
    let record = record.ok_or_else(|| ApiError::new(Reason::Draining, "the transaction cannot be read back"))?;
    let over = matches!(record.status, Status::Committed | Status::RolledBack);
    let status = if over { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut response = (status, Json(Report::of(&record))).into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("/v1/transactions/{}", record.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

fn refused(error: &StartError) -> ApiError {
    ApiError::new(error.reason(), error.to_string())
}

#[derive(Deserialize)]
pub(crate) struct Listed {
    name: Option<String>,
    status: Option<Status>,
    key: Option<String>,
    since: Option<WallMs>,
    limit: Option<usize>,
    cursor: Option<i64>,
}

pub(crate) async fn list(
    State(parts): State<Arc<Parts>>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(q) = query.map_err(|e| ApiError::bad_request(e.body_text()))?;
    let filter = Filter { name: q.name, status: q.status, key: q.key, since_ms: q.since, ..Filter::default() };
    let page = parts.transactions.list(filter, q.limit.unwrap_or(LIST_LIMIT_MAX), q.cursor.map(Cursor)).await;
    let page = page.map_err(|e| ApiError::new(Reason::Draining, e.to_string()))?;
    Ok(Json(json!({ "transactions": page.records, "next": page.next })).into_response())
}

pub(crate) async fn one(State(parts): State<Arc<Parts>>, Path(id): Path<String>) -> Result<Json<Record>, ApiError> {
    let found = parts.transactions.get(&TransactionId::new(&id)).await;
    let found = found.map_err(|e| ApiError::new(Reason::Draining, e.to_string()))?;
    found.map(Json).ok_or_else(|| ApiError::new(Reason::NoRoute, format!("there is no transaction {id}")))
}
