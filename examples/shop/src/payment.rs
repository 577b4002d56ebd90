//! Payment: `POST /charges`, `POST /refunds`.
//!
//! Charges are known by their idempotency key alone, not by the order: a caller that invents a new key for a repeat
//! charges twice, as at any payment provider. The audit then shows it, because charges are counted per order.
//! As in inventory the books are kept twice: captured is a balance per card, charged and refunded are sums of rows.

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use crate::config::Config;
use crate::database::{Database, OpenError};
use crate::ledger;
use crate::web::{self, Answer, Checkout, Failure, Input, Key, OrderRef, Shared, done, refusal};

/// Cards that begin so have a limit.
const LIMITED_CARD: &str = "limit-";

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS cards (
        card TEXT PRIMARY KEY, captured_cents INTEGER NOT NULL CHECK (captured_cents >= 0)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS charges (
        key TEXT PRIMARY KEY, order_id TEXT NOT NULL, card TEXT NOT NULL, amount_cents INTEGER NOT NULL,
        refunded INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS charges_by_order ON charges (order_id);";

#[derive(Clone)]
struct Payment {
    database: Database,
    card_limit_cents: i64,
}

impl Shared for Payment {
    fn database(&self) -> &Database {
        &self.database
    }

    fn audit(transaction: &Transaction<'_>) -> rusqlite::Result<Value> {
        let sum = |query: &str| -> rusqlite::Result<i64> {
            transaction.prepare_cached(query)?.query_row([], |row| row.get(0))
        };
        Ok(json!({
            "totals": {
                "charged": sum("SELECT COALESCE(SUM(amount_cents), 0) FROM charges")?,
                "refunded": sum("SELECT COALESCE(SUM(amount_cents), 0) FROM charges WHERE refunded = 1")?,
                "captured": sum("SELECT COALESCE(SUM(captured_cents), 0) FROM cards")?,
            },
            "effects": {
                "charges": web::object::<i64>(transaction, "SELECT order_id, COUNT(*) FROM charges GROUP BY order_id")?,
                "refunds": web::object::<i64>(
                    transaction,
                    "SELECT order_id, COUNT(*) FROM charges WHERE refunded = 1 GROUP BY order_id",
                )?,
            },
            "orders": {},
        }))
    }
}

/// Opens the database and names the routes.
pub(crate) async fn router(config: &Config) -> Result<Router, OpenError> {
    let setup = |transaction: &Transaction<'_>| {
        transaction.execute_batch(ledger::SCHEMA)?;
        transaction.execute_batch(SCHEMA)
    };
    let database = Database::open(&config.data, "payment", setup).await?;
    let router = Router::new().route("/charges", post(charge)).route("/refunds", post(refund));
    Ok(web::finish(router, Payment { database, card_limit_cents: config.card_limit_cents }))
}

async fn charge(State(shop): State<Payment>, Key(key): Key, Input(order): Input<Checkout>) -> Result<Answer, Failure> {
    let request = json!(["charge", order]);
    let limit = shop.card_limit_cents;
    let answer = shop.database.write(move |transaction| {
        ledger::once(transaction, &key, &request, || {
            ledger::unless_undone(transaction, &order.order_id, || capture(transaction, &key, &order, limit))
        })
    });
    Ok(answer.await?)
}

fn capture(transaction: &Transaction<'_>, key: &str, order: &Checkout, limit: i64) -> rusqlite::Result<Answer> {
    if let Some(problem) = order.problem() {
        return Ok(refusal(problem));
    }
    let captured: i64 = transaction
        .prepare_cached("SELECT captured_cents FROM cards WHERE card = ?1")?
        .query_row([&order.card], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    if order.card.starts_with(LIMITED_CARD) && captured + order.amount_cents > limit {
        return Ok(refusal("the limit of the card is exceeded"));
    }
    transaction
        .prepare_cached(
            "INSERT INTO cards (card, captured_cents) VALUES (?1, ?2)
             ON CONFLICT (card) DO UPDATE SET captured_cents = captured_cents + excluded.captured_cents",
        )?
        .execute((&order.card, order.amount_cents))?;
    transaction
        .prepare_cached("INSERT INTO charges (key, order_id, card, amount_cents) VALUES (?1, ?2, ?3, ?4)")?
        .execute((key, &order.order_id, &order.card, order.amount_cents))?;
    Ok(done(json!({ "order_id": order.order_id, "amount_cents": order.amount_cents, "state": "charged" })))
}

async fn refund(State(shop): State<Payment>, Input(order): Input<OrderRef>) -> Result<Answer, Failure> {
    let answer = shop.database.write(move |transaction| {
        ledger::undo(transaction, &order.order_id, || give_back(transaction, &order.order_id))?;
        Ok(done(json!({ "order_id": order.order_id, "state": "refunded" })))
    });
    Ok(answer.await?)
}

fn give_back(transaction: &Transaction<'_>, order_id: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE cards SET captured_cents = captured_cents - open.amount_cents
             FROM (SELECT card, SUM(amount_cents) AS amount_cents FROM charges
                   WHERE order_id = ?1 AND refunded = 0 GROUP BY card) AS open
             WHERE cards.card = open.card",
        )?
        .execute([order_id])?;
    transaction
        .prepare_cached("UPDATE charges SET refunded = 1 WHERE order_id = ?1 AND refunded = 0")?
        .execute([order_id])?;
    Ok(())
}
