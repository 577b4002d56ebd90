//! Replicas of one service on one database file: duplicates that arrive at once, and books that always balance.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::http::StatusCode;
use mainstay_shop::Service;
use serde_json::{Value, json};
use support::{Replica, assert_balanced, checkout, config, start};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(30);

/// The real program on a free port, which it tells in its log.
async fn process(service: &str, data: &Path) -> (Child, Replica) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_shop"))
        .arg(service)
        .env("PORT", "0")
        .env("SHOP_DATA", data)
        .env("SHOP_STOCK", "tea=1000,last-one=1")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = async {
        loop {
            let line = log.next_line().await.unwrap().expect("it listens before it ends");
            if let Some((_, addr)) = line.split_once("addr=") {
                break addr.to_owned();
            }
        }
    };
    let addr = tokio::time::timeout(DEADLINE, listening).await.expect("it listens in time");
    // Whoever drops the pipe breaks the log of the child.
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    (child, Replica::at(format!("http://{addr}"), tokio::sync::oneshot::channel().0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_that_reach_two_processes_at_once_have_one_effect() {
    let data = tempfile::tempdir().unwrap();
    // Both start at once on a file that does not exist yet.
    let (one, two) = tokio::join!(process("inventory", data.path()), process("inventory", data.path()));
    let ((mut child, one), (_two, two)) = (one, two);
    for round in 0..20 {
        let order = format!("o{round}");
        let body = checkout(&order, "tea", 2, "c", 5);
        let (a, b, c, d) = tokio::join!(
            one.post("/reservations", &order, &body),
            two.post("/reservations", &order, &body),
            one.post("/reservations", &order, &body),
            two.post("/reservations", &order, &body),
        );
        assert_eq!(a.0, StatusCode::OK, "{a:?}");
        assert!(a == b && b == c && c == d);
    }
    let (x, y) = (checkout("x", "last-one", 1, "c", 5), checkout("y", "last-one", 1, "c", 5));
    let (a, b) = tokio::join!(one.post("/reservations", "x", &x), two.post("/reservations", "y", &y));
    assert_ne!(a.0, b.0, "one of the two gets the last one: {a:?} {b:?}");
    let totals = two.totals().await;
    assert_eq!(totals["reserved"], 41);
    assert_balanced(&totals);

    // What was acknowledged outlives kill -9, and the other replica never notices.
    child.start_kill().unwrap();
    child.wait().await.unwrap();
    assert_eq!(two.totals().await, totals);
    let body = checkout("o0", "tea", 2, "c", 5);
    assert_eq!(two.post("/reservations", "o0", &body).await.0, StatusCode::OK);
    assert_eq!(two.totals().await, totals);
}

#[tokio::test]
async fn sigterm_ends_a_service_with_success() {
    let data = tempfile::tempdir().unwrap();
    let (mut child, replica) = process("payment", data.path()).await;
    assert_eq!(replica.get("/health").await.0, StatusCode::OK);
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(DEADLINE, child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_balance_at_every_moment_under_random_operations() {
    for seed in [1, 7, 42] {
        let data = tempfile::tempdir().unwrap();
        let inventories = [
            start(config(Service::Inventory, data.path())).await,
            start(config(Service::Inventory, data.path())).await,
        ];
        let payments =
            [start(config(Service::Payment, data.path())).await, start(config(Service::Payment, data.path())).await];
        let operate = async |mut rng: fastrand::Rng| {
            for _ in 0..60 {
                let order = format!("o{}", rng.u32(..12));
                let replica = rng.usize(..2);
                let sku = ["tea", "cup", "last-one"][rng.usize(..3)];
                // The content follows from the order, as it does for a caller that repeats itself.
                let quantity = order.len() as i64 * 9;
                let body = checkout(&order, sku, quantity, "limit-1", 150);
                let key = format!("{order}/{sku}");
                let (status, answer) = match rng.u32(..5) {
                    0 | 1 => inventories[replica].post("/reservations", &key, &body).await,
                    2 => inventories[replica].release(&order).await,
                    3 => payments[replica].post("/charges", &key, &body).await,
                    _ => payments[replica].post("/refunds", "-", &json!({ "order_id": order })).await,
                };
                assert!(matches!(status.as_u16(), 200 | 409), "seed {seed}: {status} {answer}");
                assert_balanced(&inventories[1 - replica].totals().await);
                assert_balanced(&payments[1 - replica].totals().await);
            }
        };
        tokio::join!(
            operate(fastrand::Rng::with_seed(seed)),
            operate(fastrand::Rng::with_seed(seed + 1000)),
            operate(fastrand::Rng::with_seed(seed + 2000)),
        );
        let audit = inventories[0].get("/audit").await.1;
        assert_eq!(audit, inventories[1].get("/audit").await.1);
        assert_ne!(audit["effects"]["reservations"], Value::Object(Default::default()));
    }
}

#[tokio::test]
async fn a_replica_that_was_stopped_inside_a_commit_holds_up_writes_but_neither_reads_nor_health() {
    let data = tempfile::tempdir().unwrap();
    let inventory = start(config(Service::Inventory, data.path())).await;
    assert_eq!(inventory.get("/health").await.0, StatusCode::OK);
    // What a frozen replica looks like to the others.
    let frozen = rusqlite::Connection::open(data.path().join("inventory.db")).unwrap();
    frozen.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = checkout("o1", "tea", 2, "c", 5);
    let write = inventory.post("/reservations", "k1", &body);
    let reads = async {
        // One that starts now does not wait for the lock either.
        let another = start(config(Service::Inventory, data.path())).await;
        assert_eq!(another.get("/health").await.0, StatusCode::OK);
        for path in ["/health", "/live", "/stock/tea", "/audit"] {
            assert_eq!(inventory.get(path).await.0, StatusCode::OK, "{path}");
        }
    };
    let (refused, ()) = tokio::join!(write, reads);
    assert_eq!(refused.0, StatusCode::SERVICE_UNAVAILABLE, "{refused:?}");
    drop(frozen);
    assert_eq!(inventory.post("/reservations", "k1", &body).await.0, StatusCode::OK);
    assert_eq!(inventory.totals().await["reserved"], 2);
}
