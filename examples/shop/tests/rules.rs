//! The rules of the business, once-only effects, and the barrier in both orders.

mod support;

use axum::http::{Method, StatusCode};
use mainstay_shop::Service;
use serde_json::{Value, json};
use support::{assert_balanced, checkout, config, start};

#[tokio::test]
async fn stock_is_never_oversold_and_a_refusal_is_final() {
    let data = tempfile::tempdir().unwrap();
    let inventory = start(config(Service::Inventory, data.path())).await;
    let first = inventory.post("/reservations", "k1", &checkout("o1", "last-one", 1, "c", 1)).await;
    assert_eq!(first.0, StatusCode::OK, "{first:?}");
    let second = inventory.post("/reservations", "k2", &checkout("o2", "last-one", 1, "c", 1)).await;
    assert_eq!(second, (StatusCode::CONFLICT, json!({"result": "FAILURE", "why": "out of stock: last-one"})));
    // Goods come back, and the refused one still gets its first answer: a decision does not change.
    assert_eq!(inventory.release("o1").await.0, StatusCode::OK);
    assert_eq!(inventory.post("/reservations", "k2", &checkout("o2", "last-one", 1, "c", 1)).await, second);
    assert_eq!(inventory.get("/stock/last-one").await, (StatusCode::OK, json!({"sku": "last-one", "available": 1})));
    let none = inventory.post("/reservations", "k3", &checkout("o3", "tea", 0, "c", 1)).await;
    assert_eq!(none.0, StatusCode::CONFLICT, "{none:?}");
    assert_eq!(inventory.get("/stock/gold").await.0, StatusCode::NOT_FOUND);
    assert_balanced(&inventory.totals().await);
}

#[tokio::test]
async fn goods_that_are_sold_do_not_come_back() {
    let data = tempfile::tempdir().unwrap();
    let inventory = start(config(Service::Inventory, data.path())).await;
    inventory.post("/reservations", "k1", &checkout("o1", "tea", 3, "c", 1)).await;
    for _ in 0..2 {
        assert_eq!(inventory.post("/reservations/o1/sale", "s", &Value::Null).await.0, StatusCode::OK);
    }
    inventory.release("o1").await;
    let totals = inventory.totals().await;
    assert_eq!((&totals["sold"], &totals["reserved"]), (&json!(3), &json!(0)));
    assert_balanced(&totals);
}

#[tokio::test]
async fn a_limited_card_is_refused_above_its_limit() {
    let data = tempfile::tempdir().unwrap();
    let payment = start(config(Service::Payment, data.path())).await;
    let charge = async |order: &str, card: &str, cents: i64| {
        payment.post("/charges", order, &checkout(order, "tea", 1, card, cents)).await
    };
    assert_eq!(charge("o1", "limit-1", 900).await.0, StatusCode::OK);
    let refused = charge("o2", "limit-1", 101).await;
    assert_eq!(refused.1, json!({"result": "FAILURE", "why": "the limit of the card is exceeded"}));
    assert_eq!(charge("o3", "limit-1", 100).await.0, StatusCode::OK);
    assert_eq!(charge("o4", "free-1", 1_000_000).await.0, StatusCode::OK);
    payment.post("/refunds", "-", &json!({"order_id": "o1"})).await;
    assert_eq!(charge("o5", "limit-1", 900).await.0, StatusCode::OK, "a refund makes room");
    assert_eq!(payment.totals().await, json!({"charged": 1_001_900, "refunded": 900, "captured": 1_001_000}));
}

#[tokio::test]
async fn a_repeat_has_no_effect_and_gets_the_same_answer() {
    let data = tempfile::tempdir().unwrap();
    let payment = start(config(Service::Payment, data.path())).await;
    let body = checkout("o1", "tea", 1, "c", 500);
    let first = payment.post("/charges", "k1", &body).await;
    assert_eq!(payment.post("/charges", "k1", &body).await, first);
    assert_eq!(payment.totals().await["charged"], 500);
    let other = payment.post("/charges", "k1", &checkout("o1", "tea", 1, "c", 501)).await;
    assert_eq!(other.0, StatusCode::UNPROCESSABLE_ENTITY, "{other:?}");
    // A caller that makes up a new key charges again, and the audit tells.
    payment.post("/charges", "k2", &body).await;
    assert_eq!(payment.get("/audit").await.1["effects"]["charges"], json!({"o1": 2}));
    payment.post("/refunds", "-", &json!({"order_id": "o1"})).await;
    assert_eq!(payment.totals().await, json!({"charged": 1000, "refunded": 1000, "captured": 0}));
}

#[tokio::test]
async fn an_undo_that_comes_first_succeeds_and_blocks_the_late_action() {
    let data = tempfile::tempdir().unwrap();
    let inventory = start(config(Service::Inventory, data.path())).await;
    let payment = start(config(Service::Payment, data.path())).await;
    let order = start(config(Service::Order, data.path())).await;
    let body = checkout("o1", "tea", 2, "c", 500);
    for _ in 0..2 {
        assert_eq!(inventory.release("o1").await.0, StatusCode::OK);
        assert_eq!(payment.post("/refunds", "-", &body).await.0, StatusCode::OK);
        assert_eq!(order.post("/orders/o1/cancel", "-", &body).await.0, StatusCode::OK);
    }
    for (replica, path) in [(&inventory, "/reservations"), (&payment, "/charges"), (&order, "/orders")] {
        let late = replica.post(path, "k1", &body).await;
        assert_eq!(late.0, StatusCode::CONFLICT, "{path} {late:?}");
        assert_eq!(late.1["result"], "FAILURE");
    }
    assert_eq!(inventory.totals().await["available"], inventory.totals().await["initial"]);
    assert_eq!(payment.totals().await["charged"], 0);
    let audit = order.get("/audit").await.1;
    assert_eq!((&audit["orders"], &audit["effects"]["orders"]), (&json!({"o1": "compensated"}), &json!({})));
}

#[tokio::test]
async fn an_order_goes_forward_only() {
    let data = tempfile::tempdir().unwrap();
    let order = start(config(Service::Order, data.path())).await;
    for id in ["o1", "o2"] {
        let body = checkout(id, "tea", 1, "c", 5);
        assert_eq!(order.post("/orders", id, &body).await.1["state"], "placed");
        assert_eq!(order.post("/orders", "another key", &checkout("o9", "tea", 1, "c", 5)).await.1["state"], "placed");
    }
    for _ in 0..2 {
        assert_eq!(order.post("/orders/o1/confirm", "-", &Value::Null).await.1["state"], "completed");
        assert_eq!(order.post("/orders/o2/cancel", "-", &Value::Null).await.1["state"], "compensated");
    }
    assert_eq!(order.post("/orders/o1/cancel", "-", &Value::Null).await.0, StatusCode::CONFLICT);
    assert_eq!(order.post("/orders/o2/confirm", "-", &Value::Null).await.0, StatusCode::CONFLICT);
    assert_eq!(order.post("/orders/o3/confirm", "-", &Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(order.get("/orders/o1").await.1["state"], "completed");
    assert_eq!(order.get("/orders/o3").await.0, StatusCode::NOT_FOUND);
    assert_eq!(order.totals().await, json!({"placed": 1, "completed": 1, "compensated": 1}));
}

#[tokio::test]
async fn a_request_that_is_wrong_is_told_so_and_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let payment = start(config(Service::Payment, data.path())).await;
    let body = checkout("o1", "tea", 1, "c", 5).to_string();
    let status = async |path: &str, key: Option<&str>, body: String| {
        let (status, answer) = payment.send(Method::POST, path, key, body).await;
        assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        status
    };
    assert_eq!(status("/charges", None, body.clone()).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("/charges", Some(&"k".repeat(201)), body).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("/charges", Some("k"), "{".to_owned()).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("/charges", Some("k"), "{\"order_id\": 7}".to_owned()).await, StatusCode::BAD_REQUEST);
    assert_eq!(status("/charges", Some("k"), " ".repeat(64 * 1024 + 1)).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(status("/nothing", Some("k"), String::new()).await, StatusCode::NOT_FOUND);
    assert_eq!(payment.totals().await["charged"], 0);
}

#[tokio::test]
async fn the_catalog_asks_inventory_and_says_when_it_cannot() {
    let data = tempfile::tempdir().unwrap();
    let inventory = start(config(Service::Inventory, data.path())).await;
    let mut settings = config(Service::Order, data.path());
    settings.inventory_url = Some(inventory.url.clone());
    let order = start(settings.clone()).await;
    assert_eq!(order.get("/catalog/tea").await, (StatusCode::OK, json!({"sku": "tea", "available": 1000})));
    assert_eq!(order.get("/catalog/gold").await.0, StatusCode::NOT_FOUND);
    assert_eq!(order.get("/catalog/..%2Faudit").await.0, StatusCode::NOT_FOUND, "no way to other paths");
    // Nobody listens there any more: the listener is bound and dropped.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    settings.inventory_url = Some(format!("http://{gone}"));
    let order = start(settings).await;
    assert_eq!(order.get("/catalog/tea").await.0, StatusCode::SERVICE_UNAVAILABLE);
    for path in ["/health", "/live"] {
        assert_eq!(order.get(path).await.0, StatusCode::OK, "its own health does not hang on inventory");
    }
}
