//! What others see: Prometheus' own tools, curl, a browser.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use mainstay_testing::Chrome;

use crate::app::{Folder, SHOP, command, mainstay, order, said, turn, until};
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

/// A drill against an app that is up, seen in a browser: the console while it lasts, the report after it. With
/// `MAINSTAY_SCREENSHOTS=FOLDER` what was seen is kept there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_console_and_the_report_in_a_browser() {
    let Some(chrome) = Chrome::start().await else { return };
    let _turn = turn().await;
    let folder = Folder::new(&(SHOP.to_owned() + SEEN));
    let mut up = folder.up();
    up.ready().await;
    let drill = command(folder.path(), &["drill", "seen", "--seed", "3", "--report", "out"]).output();
    let drill = tokio::spawn(drill);
    chrome.viewport(1440, 900).await;
    chrome.client().goto(&format!("http://{}/", folder.console)).await.unwrap();
    for shown in ["payment-1", "drill: kill payment-1", "payment-1 ended", "payment-1 ready"] {
        shows(&chrome, shown).await;
    }
    shows(&chrome, "drill: freeze inventory-2").await;
    keep(&chrome, "console.png").await;
    assert_eq!(chrome.console().await, Vec::<String>::new(), "no error, nothing that its own policy forbids");

    let output = drill.await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    up.stop().await;
    let report = folder.path().join("out/report.html");
    chrome.viewport(1280, 1500).await;
    chrome.client().goto(&format!("file://{}", report.display())).await.unwrap();
    for shown in ["PASS", "no_lost_order", "kill payment-1", "freeze inventory-2", "mainstay drill seen --seed 3"] {
        shows(&chrome, shown).await;
    }
    keep(&chrome, "report.png").await;
    chrome.viewport(390, 800).await;
    let wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(chrome.client().execute(wide, vec![]).await.unwrap(), true, "it fits a telephone");
    assert_eq!(chrome.console().await, Vec::<String>::new());
}

/// One drill without a fault that ends what it is watched by.
const SEEN: &str = r#"
drills:
  seen:
    load:
      rate: 40/s
      for: 16s
      mix:
        - { route: "POST /checkout", share: 50%, body: { order_id: "{key}", sku: "{pick:tea|cup}", quantity: 1, card: visa-1, amount_cents: "{int:500..9000}" } }
        - { route: "GET /catalog/tea", share: 25% }
        - { route: "GET /stock/cup", share: 25% }
    baseline: 3s
    settle: 20s
    faults:
      - { at: 4s, kill: payment, replica: 1 }
      - { at: 9s, freeze: inventory, replica: 2, for: 4s }
"#;

/// Waits until the page shows `text`.
async fn shows(chrome: &Chrome, text: &str) {
    until(&format!("the page shows {text:?}"), async || {
        let page = chrome.client().execute("return document.body.innerText", vec![]).await.ok()?;
        page.as_str().unwrap_or_default().contains(text).then_some(())
    })
    .await;
}

async fn keep(chrome: &Chrome, name: &str) {
    if let Some(folder) = std::env::var_os("MAINSTAY_SCREENSHOTS") {
        chrome.screenshot(&std::path::Path::new(&folder).join(name)).await;
    }
}
