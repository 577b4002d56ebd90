//! Server-sent events: what changed on the page, once a second and as soon as something happens.
//!
//! Each open page holds only what it was sent last. Nothing is queued for it: a slow reader is simply rendered less often,
//! and sees the newest state when it reads again. Every second something is sent, so that a reader that is gone is noticed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::Event as Message;
use futures_util::{Stream, stream};
use mainstay_core::{Event, EventBus, EventKind};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::page::{Sections, sections};
use crate::view::Source;

const EVERY: Duration = Duration::from_secs(1);
/// Events that come close together are drawn together.
const GATHER: Duration = Duration::from_millis(50);

struct Reader {
    source: Arc<dyn Source>,
    bus: EventBus,
    events: Receiver<Arc<Event>>,
    tick: tokio::time::Interval,
    sent: Option<Sections>,
    over: bool,
    // One of the places for readers; free again when this is dropped.
    _place: OwnedSemaphorePermit,
}

/// The stream for one reader. It ends when Mainstay stops, so that an open page does not hold up the shutdown.
pub(crate) fn live(
    source: Arc<dyn Source>,
    bus: EventBus,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Message, Infallible>> + Send {
    let (past, events) = bus.subscribe_since(0);
    let over = past.iter().any(|event| event.kind == EventKind::Stopping);
    let mut tick = interval_at(Instant::now(), EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader { source, bus, events, tick, sent: None, over, _place: place };
    stream::unfold(reader, async |mut reader| {
        let message = reader.next().await?;
        Some((Ok(message), reader))
    })
}

impl Reader {
    async fn next(&mut self) -> Option<Message> {
        if self.over {
            return None;
        }
        tokio::select! {
            _ = self.tick.tick() => {}
            event = self.events.recv() => {
                self.note(event);
                tokio::time::sleep(GATHER).await;
                while let Ok(event) = self.events.try_recv() {
                    self.note(Ok(event));
                }
            }
        }
        let now = sections(&self.source.view(), &self.bus.recent());
        let changed: serde_json::Map<String, serde_json::Value> = now
            .iter()
            .enumerate()
            .filter(|(i, section)| self.sent.as_ref().is_none_or(|sent| sent[*i] != **section))
            .map(|(_, (id, content))| ((*id).to_owned(), content.clone().into()))
            .collect();
        self.sent = Some(now);
        Some(Message::default().data(serde_json::Value::Object(changed).to_string()))
    }

    fn note(&mut self, event: Result<Arc<Event>, RecvError>) {
        // Having missed some is no loss: the bus still has them.
        self.over |= match event {
            Ok(event) => event.kind == EventKind::Stopping,
            Err(RecvError::Lagged(_)) => false,
            Err(RecvError::Closed) => true,
        };
    }
}
