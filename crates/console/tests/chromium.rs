//! The page in a real browser: what it shows, that it moves by itself, that nothing breaks its own security policy.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fantoccini::Locator;
use mainstay_console::{EdgeView, ReplicaState, ReplicaView, ServiceView, Source, TransactionsView, View, router};
use mainstay_core::{Clock, EventBus, EventKind, SystemClock};
use mainstay_testing::{Chrome, eventually_some};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);

struct Made;

impl Source for Made {
    fn view(&self) -> View {
        let service = |name: &str, states: &[ReplicaState]| ServiceView {
            name: name.to_owned(),
            replicas: states
                .iter()
                .enumerate()
                .map(|(i, state)| ReplicaView {
                    name: format!("{name}-{}", i + 1),
                    state: *state,
                    ..Default::default()
                })
                .collect(),
            rate: 88.0,
            success: Some(1.0),
            p50_ms: Some(4.0),
            p99_ms: Some(1812.0),
            sparkline: (0..100).map(|i| f64::from(i % 7)).collect(),
            note: Some("a-note-without-a-single-space-that-could-push-the-page-wider-than-a-telephone-is".to_owned()),
            ..ServiceView::default()
        };
        let edge = |caller: &str, callee: &str| EdgeView {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            rate: 80.0,
            success: Some(0.97),
            p99_ms: None,
        };
        View {
            app: "shop".to_owned(),
            now: SystemClock.wall_ms(),
            ingress: Some("127.0.0.1:8080".to_owned()),
            rate: 421.0,
            rate_points: vec![1.0, 2.0, 1.5],
            services: vec![
                service("order", &[ReplicaState::Ready; 40]),
                service("inventory", &ReplicaState::ALL),
                service("payment", &[ReplicaState::Ready, ReplicaState::Down]),
            ],
            edges: vec![edge("ingress", "order"), edge("order", "inventory"), edge("order", "payment")],
            transactions: Some(TransactionsView { open: 17, committed: 1_048_121, rolled_back: 31_244, stuck: 0 }),
            ..View::default()
        }
    }
}

async fn text(chrome: &Chrome, css: &str) -> String {
    chrome.client().find(Locator::Css(css)).await.expect(css).text().await.expect(css)
}

async fn number(chrome: &Chrome, script: &str) -> u64 {
    let value = chrome.client().execute(script, vec![]).await.expect(script);
    value.as_u64().unwrap_or_else(|| panic!("{script} gave {value}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_lives_and_keeps_its_own_rules() {
    let Some(chrome) = Chrome::start().await else { return };
    let bus = EventBus::new(Arc::new(SystemClock));
    bus.publish(EventKind::Started { app: "shop".to_owned(), adopted: 0 });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let server = tokio::spawn(axum::serve(listener, router(Arc::new(Made), bus.clone())).into_future());

    chrome.viewport(1440, 900).await;
    chrome.client().goto(&url).await.expect("the page loads");
    let services = text(&chrome, "#services").await;
    assert!(["order", "inventory", "payment"].iter().all(|name| services.contains(name)), "{services}");
    assert!(text(&chrome, "#did").await.contains("shop is up"));
    live(&chrome).await;

    // An event appears without a reload, as text, whatever it contains.
    chrome.client().execute("window.same = true", vec![]).await.expect("a script");
    bus.publish(EventKind::ProbeFailing {
        replica: "payment-2".parse().expect("a name"),
        probe: "live".to_owned(),
        error: "<img src=x onerror=alert(1)>".to_owned(),
    });
    eventually_some(DEADLINE, async || {
        text(&chrome, "#did").await.contains("<img src=x onerror=alert(1)>").then_some(())
    })
    .await;
    assert_eq!(chrome.client().execute("return window.same", vec![]).await.expect("a script"), Value::Bool(true));

    for (width, scheme) in [(1440, "dark"), (1440, "light"), (390, "dark"), (390, "light")] {
        chrome.viewport(width, 900).await;
        chrome.color_scheme(scheme).await;
        let room = number(&chrome, "return document.documentElement.scrollWidth").await;
        assert!(room <= u64::from(width), "{room} > {width}: the page scrolls sideways");
        if let Some(folder) = std::env::var_os("MAINSTAY_SCREENSHOTS").map(PathBuf::from) {
            chrome.screenshot(&folder.join(format!("console-{width}-{scheme}.png"))).await;
        }
    }
    // The keyboard reaches the page, and one sees where it is.
    let focus = "document.querySelector('nav a').focus(); return getComputedStyle(document.activeElement).outlineStyle";
    chrome.client().active_element().await.expect("an element").send_keys("\u{e004}").await.expect("a key");
    assert_eq!(chrome.client().execute(focus, vec![]).await.expect("a script"), Value::from("solid"));

    let console = chrome.console().await;
    assert!(console.is_empty(), "{console:#?}");

    // And it says so when Mainstay is gone.
    bus.publish(EventKind::Stopping);
    server.abort();
    eventually_some(DEADLINE, async || text(&chrome, "#link").await.contains("not live").then_some(())).await;
}

async fn live(chrome: &Chrome) {
    eventually_some(DEADLINE, async || (text(chrome, "#link").await == "live").then_some(())).await;
}
