//! Once-only effects and the barrier between an action and its undo, both inside the caller's local transaction.
//!
//! A coordinator that got no answer asks again, and messages may overtake one another. So:
//! - an action is known by its `Idempotency-Key`; a repeat gets the stored answer and has no effect;
//! - an undo is known by its order id; the first one counts, a repeat succeeds without effect;
//! - an undo whose action never came succeeds, and the action, should it come late, is refused.
//!
//! In every case an insert decides, never a read before it. The rule is that of the sub-transaction barrier which
//! DTM made known; here it is two tables and forty lines.

use axum::http::StatusCode;
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use crate::web::{Answer, refusal};

pub(crate) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY, request TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS undone (order_id TEXT PRIMARY KEY) WITHOUT ROWID;";

/// Runs `effect` once per `key`. A repeat gets the first answer, refusals included; another request under the same key
/// is an error of the caller.
pub(crate) fn once(
    transaction: &Transaction<'_>,
    key: &str,
    request: &Value,
    effect: impl FnOnce() -> rusqlite::Result<Answer>,
) -> rusqlite::Result<Answer> {
    let request = request.to_string();
    let first = transaction
        .prepare_cached(
            "INSERT INTO answers (key, request, status, body) VALUES (?1, ?2, 0, '') ON CONFLICT DO NOTHING",
        )?
        .execute((key, &request))?
        == 1;
    if !first {
        return stored(transaction, key, &request);
    }
    let answer = effect()?;
    transaction.prepare_cached("UPDATE answers SET status = ?2, body = ?3 WHERE key = ?1")?.execute((
        key,
        answer.status.as_u16(),
        answer.body.to_string(),
    ))?;
    Ok(answer)
}

fn stored(transaction: &Transaction<'_>, key: &str, request: &str) -> rusqlite::Result<Answer> {
    let (first, status, body): (String, u16, String) = transaction
        .prepare_cached("SELECT request, status, body FROM answers WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if first != request {
        return Ok(Answer {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({ "error": "this Idempotency-Key was used for another request" }),
        });
    }
    Ok(Answer {
        status: StatusCode::from_u16(status).unwrap_or(StatusCode::OK),
        body: serde_json::from_str(&body).unwrap_or(Value::Null),
    })
}

/// Runs `effect` unless the order was undone already: a late action has none.
pub(crate) fn unless_undone(
    transaction: &Transaction<'_>,
    order_id: &str,
    effect: impl FnOnce() -> rusqlite::Result<Answer>,
) -> rusqlite::Result<Answer> {
    let undone = transaction
        .prepare_cached("SELECT 1 FROM undone WHERE order_id = ?1")?
        .query_row([order_id], |_| Ok(()))
        .optional()?
        .is_some();
    if undone { Ok(refusal("the order was undone before")) } else { effect() }
}

/// Runs `effect` at the first undo of the order and closes the barrier; a repeat has no effect.
pub(crate) fn undo(
    transaction: &Transaction<'_>,
    order_id: &str,
    effect: impl FnOnce() -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let first = transaction
        .prepare_cached("INSERT INTO undone (order_id) VALUES (?1) ON CONFLICT DO NOTHING")?
        .execute([order_id])?
        == 1;
    if first { effect() } else { Ok(()) }
}
