//! Reads the events of one replica as a story: noticed, isolated, put right, seen to be right.
//!
//! Incidents proper will be kept elsewhere; this only joins what is on the screen, so that an event can say how long after
//! the first sign it came, and the verdict can say since when and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use mainstay_core::{Event, EventKind, Phase, ReplicaId, WallMs};

/// Most deeds that are told of one episode: the latest.
const DEEDS_MAX: usize = 2;

/// From the first sign that something is wrong with a replica until it is seen to be right.
#[derive(Debug, Clone)]
pub(crate) struct Episode {
    pub(crate) replica: ReplicaId,
    pub(crate) from: WallMs,
    pub(crate) isolated: Option<WallMs>,
    pub(crate) until: Option<WallMs>,
    /// The first sign.
    pub(crate) why: String,
    /// What was done, latest last.
    pub(crate) done: Vec<String>,
}

/// What a list of events tells.
#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Not over yet, by replica.
    pub(crate) open: BTreeMap<ReplicaId, Episode>,
    /// The last that was over.
    pub(crate) last: Option<Episode>,
    /// Faults of a drill that last, by lease.
    pub(crate) faults: BTreeMap<String, Arc<Event>>,
    /// By event number: how long after the first sign.
    pub(crate) after_ms: BTreeMap<u64, WallMs>,
}

/// Reads `events`, oldest first.
pub(crate) fn story(events: &[Arc<Event>]) -> Story {
    let mut story = Story::default();
    for event in events {
        match &event.kind {
            EventKind::FaultInjected { lease, .. } => {
                story.faults.insert(lease.clone(), event.clone());
            }
            EventKind::FaultCleared { lease, .. } => {
                story.faults.remove(lease);
            }
            kind => {
                if let Some(replica) = kind.replica() {
                    story.tell(event, replica);
                }
            }
        }
    }
    story
}

impl Story {
    fn tell(&mut self, event: &Event, replica: &ReplicaId) {
        let phase = event.kind.phase();
        if matches!(phase, Phase::Detect | Phase::Isolate) {
            self.open.entry(replica.clone()).or_insert_with(|| Episode {
                replica: replica.clone(),
                from: event.at,
                isolated: None,
                until: None,
                why: event.kind.to_string(),
                done: Vec::new(),
            });
        }
        let Some(episode) = self.open.get_mut(replica) else { return };
        self.after_ms.insert(event.seq, event.at - episode.from);
        match phase {
            Phase::Detect | Phase::Info => {}
            Phase::Isolate => {
                episode.isolated.get_or_insert(event.at);
                episode.did(event);
            }
            Phase::Recover => episode.did(event),
            Phase::Verify => {
                episode.until = Some(event.at);
                self.last = self.open.remove(replica);
            }
        }
    }
}

impl Episode {
    fn did(&mut self, event: &Event) {
        let deed = event.kind.to_string();
        if deed == self.why {
            return;
        }
        if self.done.len() == DEEDS_MAX {
            self.done.remove(0);
        }
        self.done.push(deed);
    }
}
