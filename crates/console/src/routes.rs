//! The addresses of the console: the page, its assets, its live stream.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::Sse;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use mainstay_core::EventBus;
use tokio::sync::Semaphore;

use crate::live::live;
use crate::page::page;
use crate::view::Source;

/// Pages that may be open at once; one more is asked to wait.
const READERS_MAX: usize = 64;

const CSS: &str = include_str!("../assets/console.css");
const JS: &str = include_str!("../assets/console.js");
const ICON: &str = include_str!("../assets/console.svg");

const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

#[derive(Clone)]
struct Console {
    source: Arc<dyn Source>,
    bus: EventBus,
    readers: Arc<Semaphore>,
}

/// `/`, `/assets/console.{css,js,svg}` and `/live`.
pub fn router(source: Arc<dyn Source>, bus: EventBus) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/live", get(stream))
        .route("/assets/console.css", get(async || asset("text/css; charset=utf-8", CSS)))
        .route("/assets/console.js", get(async || asset("text/javascript; charset=utf-8", JS)))
        .route("/assets/console.svg", get(async || asset("image/svg+xml", ICON)))
        .with_state(Console { source, bus, readers: Arc::new(Semaphore::new(READERS_MAX)) })
}

const GUARD: [(HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

async fn index(State(console): State<Console>) -> Response {
    let html = page(&console.source.view(), &console.bus.recent()).into_string();
    (GUARD, [(header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

async fn stream(State(console): State<Console>) -> Response {
    match console.readers.clone().try_acquire_owned() {
        Ok(place) => (GUARD, Sse::new(live(console.source, console.bus, place))).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close one").into_response(),
    }
}

fn asset(kind: &'static str, content: &'static str) -> Response {
    (GUARD, [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], content).into_response()
}

#[cfg(test)]
mod tests;
