//! Inventory: `POST /reservations`, `DELETE /reservations/{order}`, `POST /reservations/{order}/sale`, `GET /stock/{sku}`.
//!
//! The books are kept twice on purpose: `stock.available` goes down and up, and every reservation stays as a row of its own.
//! The audit adds up both, so that initial = available + reserved + sold is a statement that could be false.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use crate::config::Config;
use crate::database::{Database, OpenError};
use crate::ledger;
use crate::web::{self, Answer, Checkout, Failure, Input, Key, Shared, done, refusal};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS stock (
        sku TEXT PRIMARY KEY, initial INTEGER NOT NULL, available INTEGER NOT NULL CHECK (available >= 0)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS reservations (
        key TEXT PRIMARY KEY, order_id TEXT NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('reserved', 'released', 'sold'))
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS reservations_by_order ON reservations (order_id);";

#[derive(Clone)]
struct Inventory {
    database: Database,
}

impl Shared for Inventory {
    fn database(&self) -> &Database {
        &self.database
    }

    fn audit(transaction: &Transaction<'_>) -> rusqlite::Result<Value> {
        let (initial, available, min_available): (i64, i64, i64) = transaction
            .prepare_cached(
                "SELECT COALESCE(SUM(initial), 0), COALESCE(SUM(available), 0), COALESCE(MIN(available), 0) FROM stock",
            )?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let sum = |state: &str| -> rusqlite::Result<i64> {
            transaction
                .prepare_cached("SELECT COALESCE(SUM(quantity), 0) FROM reservations WHERE state = ?1")?
                .query_row([state], |row| row.get(0))
        };
        Ok(json!({
            "totals": {
                "initial": initial, "available": available, "reserved": sum("reserved")?, "sold": sum("sold")?,
                "min_available": min_available,
            },
            "effects": {
                "reservations": web::object::<i64>(transaction, "SELECT order_id, COUNT(*) FROM reservations GROUP BY order_id")?,
            },
            "orders": {},
        }))
    }
}

/// Opens the database, fills a fresh one, and names the routes.
pub(crate) async fn router(config: &Config) -> Result<Router, OpenError> {
    let stock = config.stock.clone();
    let setup = move |transaction: &Transaction<'_>| {
        transaction.execute_batch(ledger::SCHEMA)?;
        transaction.execute_batch(SCHEMA)?;
        for (sku, count) in &stock {
            transaction.execute(
                "INSERT INTO stock (sku, initial, available) VALUES (?1, ?2, ?2) ON CONFLICT DO NOTHING",
                (sku, count),
            )?;
        }
        Ok(())
    };
    let database = Database::open(&config.data, "inventory", setup).await?;
    let router = Router::new()
        .route("/reservations", post(reserve))
        .route("/reservations/{order}", delete(release))
        .route("/reservations/{order}/sale", post(sell))
        .route("/stock/{sku}", get(stock_of));
    Ok(web::finish(router, Inventory { database }))
}

async fn reserve(
    State(shop): State<Inventory>,
    Key(key): Key,
    Input(order): Input<Checkout>,
) -> Result<Answer, Failure> {
    let request = json!(["reserve", order]);
    let answer = shop.database.write(move |transaction| {
        ledger::once(transaction, &key, &request, || {
            ledger::unless_undone(transaction, &order.order_id, || take(transaction, &key, &order))
        })
    });
    Ok(answer.await?)
}

fn take(transaction: &Transaction<'_>, key: &str, order: &Checkout) -> rusqlite::Result<Answer> {
    if let Some(problem) = order.problem() {
        return Ok(refusal(problem));
    }
    let taken = transaction
        .prepare_cached("UPDATE stock SET available = available - ?2 WHERE sku = ?1 AND available >= ?2")?
        .execute((&order.sku, order.quantity))?;
    if taken == 0 {
        return Ok(refusal(&format!("out of stock: {}", order.sku)));
    }
    transaction
        .prepare_cached(
            "INSERT INTO reservations (key, order_id, sku, quantity, state) VALUES (?1, ?2, ?3, ?4, 'reserved')",
        )?
        .execute((key, &order.order_id, &order.sku, order.quantity))?;
    Ok(done(json!({ "order_id": order.order_id, "sku": order.sku, "quantity": order.quantity, "state": "reserved" })))
}

async fn release(State(shop): State<Inventory>, Path(order_id): Path<String>) -> Result<Answer, Failure> {
    let answer = shop.database.write(move |transaction| {
        ledger::undo(transaction, &order_id, || give_back(transaction, &order_id))?;
        Ok(done(json!({ "order_id": order_id, "state": "released" })))
    });
    Ok(answer.await?)
}

fn give_back(transaction: &Transaction<'_>, order_id: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE stock SET available = available + held.quantity
             FROM (SELECT sku, SUM(quantity) AS quantity FROM reservations
                   WHERE order_id = ?1 AND state = 'reserved' GROUP BY sku) AS held
             WHERE stock.sku = held.sku",
        )?
        .execute([order_id])?;
    transaction
        .prepare_cached("UPDATE reservations SET state = 'released' WHERE order_id = ?1 AND state = 'reserved'")?
        .execute([order_id])?;
    Ok(())
}

/// The goods left the house. A repeat changes nothing, because what is sold is no longer reserved.
async fn sell(State(shop): State<Inventory>, Path(order_id): Path<String>) -> Result<Answer, Failure> {
    let answer = shop.database.write(move |transaction| {
        transaction
            .prepare_cached("UPDATE reservations SET state = 'sold' WHERE order_id = ?1 AND state = 'reserved'")?
            .execute([&order_id])?;
        let sold: i64 = transaction
            .prepare_cached(
                "SELECT COALESCE(SUM(quantity), 0) FROM reservations WHERE order_id = ?1 AND state = 'sold'",
            )?
            .query_row([&order_id], |row| row.get(0))?;
        Ok(if sold == 0 {
            refusal("nothing is reserved for the order")
        } else {
            done(json!({ "order_id": order_id, "quantity": sold, "state": "sold" }))
        })
    });
    Ok(answer.await?)
}

async fn stock_of(State(shop): State<Inventory>, Path(sku): Path<String>) -> Result<Json<Value>, Failure> {
    let wanted = sku.clone();
    let available: Option<i64> = shop
        .database
        .read(move |transaction| {
            transaction
                .prepare_cached("SELECT available FROM stock WHERE sku = ?1")?
                .query_row([wanted], |row| row.get(0))
                .optional()
        })
        .await?;
    let available = available.ok_or_else(|| Failure::not_found(format!("sku {sku:?}")))?;
    Ok(Json(json!({ "sku": sku, "available": available })))
}
