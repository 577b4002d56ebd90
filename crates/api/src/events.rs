//! What happened: as a list, or as a stream of server-sent events that first catches up and then goes on.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use mainstay_core::{EVENTS_KEPT_MAX, Event};
use serde::Deserialize;
use tokio_stream::wrappers::BroadcastStream;

use crate::{ApiError, Parts};

#[derive(Deserialize)]
pub(crate) struct Wanted {
    /// Only events with a higher number.
    #[serde(default)]
    since: u64,
    /// `json` for a list instead of a stream.
    format: Option<String>,
    /// The last so many of the list.
    limit: Option<usize>,
}

pub(crate) async fn events(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(wanted) = wanted.map_err(|e| ApiError::bad_request(e.body_text()))?;
    if wanted.format.as_deref() == Some("json") {
        let (past, _) = parts.bus.subscribe_since(wanted.since);
        let skip = past.len().saturating_sub(wanted.limit.unwrap_or(EVENTS_KEPT_MAX));
        let events: Vec<Event> = past.iter().skip(skip).map(|event| Event::clone(event)).collect();
        return Ok(Json(events).into_response());
    }
    // A browser that reconnects says what it saw last.
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    Ok(Sse::new(stream(&parts, last.unwrap_or(wanted.since))).keep_alive(KeepAlive::default()).into_response())
}

fn stream(parts: &Parts, since: u64) -> impl Stream<Item = Result<SseEvent, Infallible>> + use<> {
    let (past, live) = parts.bus.subscribe_since(since);
    let live = BroadcastStream::new(live).filter_map(|event| async { event.ok() });
    let stop = parts.stop.clone();
    futures_util::stream::iter(past)
        .chain(live)
        .map(|event| Ok(SseEvent::default().id(event.seq.to_string()).json_data(&*event).unwrap_or_default()))
        // An open stream must not hold up the end of the server.
        .take_until(async move { stop.cancelled().await })
}
