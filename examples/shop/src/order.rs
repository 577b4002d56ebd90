//! Order: `POST /orders`, `POST /orders/{id}/confirm`, `POST /orders/{id}/cancel`, `GET /orders/{id}`, `GET /catalog/{sku}`.
//!
//! An order is known by its id, so its row is its own barrier: a cancel that comes first leaves a compensated row, and a
//! late place finds it. The states only go forward: placed → completed, or placed → compensated.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rusqlite::{OptionalExtension, Transaction};
use serde_json::{Value, json};

use crate::config::Config;
use crate::database::{Database, OpenError};
use crate::ledger;
use crate::peer::Peer;
use crate::web::{self, Answer, Checkout, Failure, Input, Key, Shared, done, refusal};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS orders (
        order_id TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('placed', 'completed', 'compensated')),
        sku TEXT, quantity INTEGER, amount_cents INTEGER
    ) WITHOUT ROWID;";

#[derive(Clone)]
struct Orders {
    database: Database,
    inventory: Option<Peer>,
}

impl Shared for Orders {
    fn database(&self) -> &Database {
        &self.database
    }

    fn audit(transaction: &Transaction<'_>) -> rusqlite::Result<Value> {
        let count = |state: &str| -> rusqlite::Result<i64> {
            transaction
                .prepare_cached("SELECT COUNT(*) FROM orders WHERE state = ?1")?
                .query_row([state], |row| row.get(0))
        };
        Ok(json!({
            "totals": {
                "placed": count("placed")?, "completed": count("completed")?, "compensated": count("compensated")?,
            },
            // A row without a sku is a cancel that came first: nothing was ever placed.
            "effects": {
                "orders": web::object::<i64>(transaction, "SELECT order_id, 1 FROM orders WHERE sku IS NOT NULL")?,
            },
            "orders": web::object::<String>(transaction, "SELECT order_id, state FROM orders")?,
        }))
    }
}

/// Opens the database and names the routes.
pub(crate) async fn router(config: &Config) -> Result<Router, OpenError> {
    let setup = |transaction: &Transaction<'_>| {
        transaction.execute_batch(ledger::SCHEMA)?;
        transaction.execute_batch(SCHEMA)
    };
    let database = Database::open(&config.data, "order", setup).await?;
    let router = Router::new()
        .route("/orders", post(place))
        .route("/orders/{id}", get(order))
        .route("/orders/{id}/confirm", post(confirm))
        .route("/orders/{id}/cancel", post(cancel))
        .route("/catalog/{sku}", get(catalog));
    Ok(web::finish(router, Orders { database, inventory: config.inventory_url.as_deref().map(Peer::new) }))
}

async fn place(State(shop): State<Orders>, Key(key): Key, Input(order): Input<Checkout>) -> Result<Answer, Failure> {
    let request = json!(["place", order]);
    let answer = shop
        .database
        .write(move |transaction| ledger::once(transaction, &key, &request, || insert(transaction, &order)));
    Ok(answer.await?)
}

fn insert(transaction: &Transaction<'_>, order: &Checkout) -> rusqlite::Result<Answer> {
    if let Some(problem) = order.problem() {
        return Ok(refusal(problem));
    }
    let inserted = transaction
        .prepare_cached(
            "INSERT INTO orders (order_id, state, sku, quantity, amount_cents) VALUES (?1, 'placed', ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute((&order.order_id, &order.sku, order.quantity, order.amount_cents))?;
    // Another key, but the same order: it stands as it was placed.
    let state = if inserted == 1 { Some("placed".to_owned()) } else { state_of(transaction, &order.order_id)? };
    Ok(match state.as_deref() {
        Some("compensated") => refusal("the order was undone before"),
        state => done(json!({ "order_id": order.order_id, "state": state })),
    })
}

async fn confirm(State(shop): State<Orders>, Path(id): Path<String>) -> Result<Answer, Failure> {
    let order_id = id.clone();
    let state = shop.database.write(move |transaction| {
        transaction
            .prepare_cached("UPDATE orders SET state = 'completed' WHERE order_id = ?1 AND state = 'placed'")?
            .execute([&order_id])?;
        state_of(transaction, &order_id)
    });
    match state.await?.as_deref() {
        Some("completed") => Ok(done(json!({ "order_id": id, "state": "completed" }))),
        Some(_) => Ok(refusal("the order was undone before")),
        None => Err(Failure::not_found(format!("order {id:?}"))),
    }
}

async fn cancel(State(shop): State<Orders>, Path(id): Path<String>) -> Result<Answer, Failure> {
    let order_id = id.clone();
    let state = shop.database.write(move |transaction| {
        transaction
            .prepare_cached(
                "INSERT INTO orders (order_id, state) VALUES (?1, 'compensated')
                 ON CONFLICT (order_id) DO UPDATE SET state = 'compensated' WHERE state = 'placed'",
            )?
            .execute([&order_id])?;
        state_of(transaction, &order_id)
    });
    Ok(match state.await?.as_deref() {
        Some("compensated") => done(json!({ "order_id": id, "state": "compensated" })),
        _ => refusal("the order is completed"),
    })
}

fn state_of(transaction: &Transaction<'_>, order_id: &str) -> rusqlite::Result<Option<String>> {
    transaction
        .prepare_cached("SELECT state FROM orders WHERE order_id = ?1")?
        .query_row([order_id], |row| row.get(0))
        .optional()
}

async fn order(State(shop): State<Orders>, Path(id): Path<String>) -> Result<Json<Value>, Failure> {
    let order_id = id.clone();
    let order = shop.database.read(move |transaction| {
        transaction
            .prepare_cached("SELECT state, sku, quantity, amount_cents FROM orders WHERE order_id = ?1")?
            .query_row([&order_id], |row| {
                Ok(json!({
                    "order_id": order_id, "state": row.get::<_, String>(0)?, "sku": row.get::<_, Option<String>>(1)?,
                    "quantity": row.get::<_, Option<i64>>(2)?, "amount_cents": row.get::<_, Option<i64>>(3)?,
                }))
            })
            .optional()
    });
    order.await?.map(Json).ok_or_else(|| Failure::not_found(format!("order {id:?}")))
}

async fn catalog(State(shop): State<Orders>, Path(sku): Path<String>) -> Result<Json<Value>, Failure> {
    if !web::is_plain_name(&sku) {
        return Err(Failure::not_found(format!("sku {sku:?}")));
    }
    let Some(inventory) = &shop.inventory else {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "$INVENTORY_URL is not set"));
    };
    inventory.get(&format!("/stock/{sku}")).await.map(Json)
}
