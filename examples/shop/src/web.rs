//! What the three services have in common on the wire: answers, errors, the checkout body, health.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use rusqlite::Transaction;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use crate::database::{Database, DatabaseError};

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest key, order id or name.
const NAME_LEN_MAX: usize = 200;

/// What every step of a checkout gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkout {
    pub(crate) order_id: String,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) card: String,
    pub(crate) amount_cents: i64,
}

/// What an undo needs to know.
#[derive(Debug, Deserialize)]
pub(crate) struct OrderRef {
    pub(crate) order_id: String,
}

/// A JSON answer of the business, kept for repeats.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

/// 200 with a body.
pub(crate) fn done(body: Value) -> Answer {
    Answer { status: StatusCode::OK, body }
}

/// The business says no, for good: there is no point in asking again.
pub(crate) fn refusal(why: &str) -> Answer {
    Answer { status: StatusCode::CONFLICT, body: json!({ "result": "FAILURE", "why": why }) }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// A request that is wrong, or a service that cannot.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        tracing::warn!(%error, "the database gave no answer");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, format!("database: {error}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.message }))).into_response()
    }
}

/// A JSON body of at most [`BODY_BYTES_MAX`], whatever its content type says.
pub(crate) struct Input<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| Failure::new(rejection.status(), format!("the body cannot be read: {rejection}")))?;
        serde_json::from_slice(&body).map(Input).map_err(|error| {
            Failure::new(StatusCode::BAD_REQUEST, format!("the body is not the JSON that is wanted: {error}"))
        })
    }
}

/// The header `Idempotency-Key`.
pub(crate) struct Key(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let key = parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if key.is_empty() || key.len() > NAME_LEN_MAX {
            let message = format!("the header Idempotency-Key is needed, with 1 to {NAME_LEN_MAX} characters");
            return Err(Failure::new(StatusCode::BAD_REQUEST, message));
        }
        Ok(Key(key.to_owned()))
    }
}

impl Checkout {
    /// What no service accepts, said as a refusal: asking again would not help.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        if !is_name(&self.order_id) {
            Some("order_id must have 1 to 200 characters")
        } else if !is_name(&self.card) {
            Some("card must have 1 to 200 characters")
        } else if !(1..=1_000_000).contains(&self.quantity) {
            Some("quantity must be between 1 and 1000000")
        } else if !(1..=100_000_000).contains(&self.amount_cents) {
            Some("amount_cents must be between 1 and 100000000")
        } else {
            None
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_LEN_MAX
}

/// Whether `text` may stand in a path as it is.
pub(crate) fn is_plain_name(text: &str) -> bool {
    is_name(text)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text != "."
        && text != ".."
}

/// A service that can be asked for its health and its books.
pub(crate) trait Shared: Clone + Send + Sync + 'static {
    fn database(&self) -> &Database;
    /// `{"totals": …, "effects": …, "orders": …}` of one consistent state.
    fn audit(transaction: &Transaction<'_>) -> rusqlite::Result<Value>;
}

/// Adds what every service answers, and its state.
pub(crate) fn finish<S: Shared>(router: Router<S>, state: S) -> Router {
    router
        .route("/health", get(health::<S>))
        .route("/live", get(async || Json(json!({ "status": "alive" }))))
        .route("/audit", get(audit::<S>))
        .fallback(async |method: Method, uri: Uri| Failure::not_found(format!("{method} {}", uri.path())))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state)
}

/// Ready: the database answers. Apart from `/live`, which touches nothing: a service whose database is away must not be
/// restarted for it.
async fn health<S: Shared>(State(state): State<S>) -> Result<Json<Value>, Failure> {
    state
        .database()
        .read(|t| t.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)))
        .await?;
    Ok(Json(json!({ "status": "ready" })))
}

async fn audit<S: Shared>(State(state): State<S>) -> Result<Json<Value>, Failure> {
    Ok(Json(state.database().read(S::audit).await?))
}

/// The two columns of `query` as a JSON object.
pub(crate) fn object<T: rusqlite::types::FromSql + Into<Value>>(
    transaction: &Transaction<'_>,
    query: &str,
) -> rusqlite::Result<Value> {
    let mut statement = transaction.prepare_cached(query)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, T>(1)?.into())))?;
    Ok(Value::Object(rows.collect::<rusqlite::Result<Map<String, Value>>>()?))
}
