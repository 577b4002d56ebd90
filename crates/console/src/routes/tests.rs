use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use mainstay_core::{EventKind, SystemClock};
use tower::ServiceExt;

use super::*;
use crate::view::View;

struct Nothing;

impl Source for Nothing {
    fn view(&self) -> View {
        View::default()
    }
}

fn console() -> (Router, EventBus) {
    let bus = EventBus::new(Arc::new(SystemClock));
    (router(Arc::new(Nothing), bus.clone()), bus)
}

async fn get_from(router: &Router, path: &str) -> Response {
    router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn everything_is_guarded_and_small() {
    let (router, _) = console();
    let mut total = 0;
    for path in ["/", "/assets/console.css", "/assets/console.js", "/assets/console.svg"] {
        let answer = get_from(&router, path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert!(answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'self';"));
        total += answer.into_body().collect().await.unwrap().to_bytes().len();
    }
    assert!(total <= 60 * 1024, "{total}");
    assert!(JS.len() <= 12 * 1024);
}

async fn frame(body: &mut Body) -> Option<String> {
    let data = body.frame().await?.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}

#[tokio::test]
async fn the_stream_sends_what_changed_and_ends_when_mainstay_stops() {
    let (router, bus) = console();
    let mut body = get_from(&router, "/live").await.into_body();
    let first = frame(&mut body).await.unwrap();
    assert!(first.contains("\"verdict\"") && first.contains("\"did\""), "at first everything: {first}");
    bus.publish(EventKind::TransactionsRecovered { count: 7 });
    let mut next = frame(&mut body).await.unwrap();
    while !next.contains("\"did\"") {
        next = frame(&mut body).await.unwrap();
    }
    assert!(next.contains("7 open transactions") && !next.contains("\"services\""), "only what changed: {next}");
    bus.publish(EventKind::Stopping);
    while frame(&mut body).await.is_some() {}
}

#[tokio::test]
async fn readers_are_bounded_and_their_places_come_back() {
    let (router, _) = console();
    let mut open = Vec::new();
    for _ in 0..READERS_MAX {
        open.push(get_from(&router, "/live").await);
    }
    assert_eq!(get_from(&router, "/live").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    drop(open.pop());
    assert_eq!(get_from(&router, "/live").await.status(), StatusCode::OK);
}
