//! What others see: Prometheus' own tools, curl, a browser.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::app::{Folder, SHOP, mainstay, order, said, turn};
use crate::http;

#[tokio::test]
async fn metrics_events_and_ps_tell_what_happened() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    for i in 0..5 {
        assert_eq!(http::post(folder.ingress, "/checkout", &order(&format!("m{i}"))).await.unwrap().status, 200);
    }
    let metrics = http::get(folder.console, "/metrics").await.unwrap();
    for line in [
        "mainstay_requests_total{route=\"/checkout\",outcome=\"ok\"} 5",
        "mainstay_transactions_total{result=\"committed\"} 5",
        "mainstay_endpoints_ready{service=\"payment\"} 2.0",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line} is not in\n{}", metrics.body);
    }
    promtool(&metrics.body).await;
    let events = mainstay(folder.path(), &["events", "--json"]).await;
    assert!(said(&events).contains("\"kind\":\"replica_ready\",\"replica\":\"payment-2\""), "{}", said(&events));
    let ps = mainstay(folder.path(), &["ps", "--json"]).await;
    let ps: serde_json::Value = serde_json::from_slice(&ps.stdout).unwrap();
    assert_eq!(ps["services"][0]["ready"], 2);
    let down = mainstay(folder.path(), &["down"]).await;
    assert!(down.status.success(), "{}", said(&down));
    let gone = mainstay(folder.path(), &["ps"]).await;
    assert!(!gone.status.success() && said(&gone).contains("mainstay up"), "{}", said(&gone));
}

/// `promtool check metrics` has nothing to say.
async fn promtool(text: &str) {
    if !mainstay_testing::require("promtool") {
        return;
    }
    let mut child = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success() && said(&output).trim().is_empty(), "{}", said(&output));
}
