use std::sync::Arc;

use mainstay_core::{EventBus, EventKind, SystemClock};

use super::*;
use crate::view::{ReplicaView, ServiceView};

#[test]
fn texts_from_outside_are_escaped() {
    let evil = "<script>alert('x')</script>";
    let bus = EventBus::new(Arc::new(SystemClock));
    bus.publish(EventKind::ProbeFailing {
        replica: "payment-1".parse().unwrap(),
        probe: "ready".to_owned(),
        error: format!("{evil}\" onload=\"x"),
    });
    let view = View {
        app: evil.to_owned(),
        services: vec![ServiceView {
            name: evil.to_owned(),
            note: Some(evil.to_owned()),
            replicas: vec![ReplicaView { name: evil.to_owned(), ..ReplicaView::default() }],
            ..ServiceView::default()
        }],
        edges: vec![crate::view::EdgeView { caller: evil.to_owned(), callee: evil.to_owned(), ..Default::default() }],
        ..View::default()
    };
    let html = page(&view, &bus.recent()).into_string();
    assert!(!html.contains("<script>"), "only the script that is named by src");
    assert!(!html.contains("\" onload"), "no way out of an attribute");
    assert!(html.contains("&lt;script&gt;"));
}

#[test]
fn nothing_is_inline_and_empty_sections_name_the_next_command() {
    let html = page(&View::default(), &[]).into_string();
    assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("onclick"));
    for command in ["mainstay demo", "mainstay init", "mainstay up", "mainstay drill", "needs:"] {
        assert!(html.contains(command), "{command}");
    }
}

#[test]
fn two_hundred_replicas_fit_the_page() {
    let bus = EventBus::new(Arc::new(SystemClock));
    for _ in 0..1000 {
        bus.publish(EventKind::ReplicaReady { replica: "payment-1".parse().unwrap(), after_ms: 5 });
    }
    let service = |s: usize| ServiceView {
        name: format!("service-{s}"),
        sparkline: vec![1.0; 500],
        replicas: (1..=10).map(|r| ReplicaView { name: format!("service-{s}-{r}"), ..Default::default() }).collect(),
        ..ServiceView::default()
    };
    let view = View { services: (0..20).map(service).collect(), ..View::default() };
    let bytes = page(&view, &bus.recent()).into_string().len();
    assert!(bytes < 200 * 1024, "{bytes}");
}
