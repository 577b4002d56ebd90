//! Keeps the events of the run: a stream that is opened again after every restart of Mainstay repeats itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_core::{Event, WallMs};
use tokio::sync::mpsc;

/// Events of one drill; later ones are dropped and the report says so.
pub(crate) const EVENTS_MAX: usize = 20_000;

/// The events so far.
#[derive(Clone, Default)]
pub(crate) struct Collector {
    shared: Arc<Mutex<Collected>>,
}

#[derive(Default)]
struct Collected {
    events: Vec<Event>,
    seen: HashSet<(WallMs, u64)>,
    dropped: u64,
}

impl Collector {
    fn lock(&self) -> MutexGuard<'_, Collected> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes events until the stream ends or the task is dropped.
    pub(crate) async fn run(self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            self.take(event);
        }
    }

    fn take(&self, event: Event) {
        let mut kept = self.lock();
        if kept.events.len() == EVENTS_MAX {
            kept.dropped += 1;
        } else if kept.seen.insert((event.boot, event.seq)) {
            kept.events.push(event);
        }
    }

    /// The last event since `from`, in words.
    pub(crate) fn last(&self, from: WallMs) -> Option<String> {
        self.lock().events.iter().max_by_key(|e| e.at).filter(|e| e.at >= from).map(|e| e.kind.to_string())
    }

    /// All events since `from` in the order of their times, and how many were dropped.
    pub(crate) fn since(&self, from: WallMs) -> (Vec<Event>, u64) {
        let kept = self.lock();
        let mut events: Vec<Event> = kept.events.iter().filter(|e| e.at >= from).cloned().collect();
        events.sort_by_key(|e| (e.at, e.boot, e.seq));
        (events, kept.dropped)
    }
}
