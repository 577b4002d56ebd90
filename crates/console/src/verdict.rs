//! The first thing on the screen: one sentence that says who is hurt, since when, why, and what was done about it.
//!
//! A pure function, so that every sentence is tested. What is true now comes from the view; the events only tell the
//! story of it. The worst comes first and alone: a person in a hurry reads one sentence.

use std::sync::Arc;

use mainstay_core::{Event, EventKind};

use crate::episode::{Episode, Story, story};
use crate::format;
use crate::view::{ReplicaState, ServiceView, View};

/// Below this share of successes, callers are hurt.
const HURT_BELOW: f64 = 0.999;
/// Below this one, badly.
const BADLY_BELOW: f64 = 0.99;

/// How bad it is; also the order of services on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to judge yet.
    Idle,
    /// All is well.
    Good,
    /// Something is broken and nobody is hurt, or hardly.
    Warn,
    /// Somebody is hurt.
    Bad,
}

impl Level {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Level::Idle => "idle",
            Level::Good => "good",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Level::Idle => "idle",
            Level::Good => "well",
            Level::Warn => "degraded",
            Level::Bad => "hurt",
        }
    }
}

/// What is the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How bad.
    pub level: Level,
    /// The sentence.
    pub headline: String,
    /// Why, and what was done or is to be done.
    pub detail: String,
}

/// How one service is.
pub(crate) fn level_of(service: &ServiceView) -> Level {
    let ready = service.ready();
    match service.success {
        _ if service.replicas.is_empty() => Level::Idle,
        _ if ready == 0 => {
            let starting = service.replicas.iter().all(|replica| replica.state == ReplicaState::Starting);
            if starting { Level::Warn } else { Level::Bad }
        }
        Some(success) if success < BADLY_BELOW => Level::Bad,
        Some(success) if success < HURT_BELOW => Level::Warn,
        _ if ready < service.replicas.len() => Level::Warn,
        _ => Level::Good,
    }
}

/// Judges `view`; `events` are the remembered ones, oldest first.
pub fn verdict(view: &View, events: &[Arc<Event>]) -> Verdict {
    judge(view, &story(events))
}

pub(crate) fn judge(view: &View, story: &Story) -> Verdict {
    if view.services.is_empty() {
        return Verdict {
            level: Level::Idle,
            headline: "Nothing runs yet.".to_owned(),
            detail: "Name a service in mainstay.yaml, or see a whole shop run with: mainstay demo".to_owned(),
        };
    }
    let worst = view.services.iter().max_by(|a, b| pain(a).total_cmp(&pain(b)));
    let stuck = view.transactions.map_or(0, |transactions| transactions.stuck);
    match worst.map(|service| (service, level_of(service))) {
        Some((service, Level::Bad)) => of_service(view, story, service, Level::Bad),
        _ if stuck > 0 => Verdict {
            level: Level::Bad,
            headline: format!(
                "{} a person: nothing more is tried by itself.",
                if stuck == 1 { "1 transaction needs".to_owned() } else { format!("{stuck} transactions need") }
            ),
            detail: "See which step refuses, and why: GET /v1/transactions?status=stuck".to_owned(),
        },
        Some((service, Level::Warn)) => of_service(view, story, service, Level::Warn),
        _ => all_well(view, story),
    }
}

/// Sorts services: the worse, the greater.
pub(crate) fn pain(service: &ServiceView) -> f64 {
    let missing = service.replicas.len() - service.ready();
    f64::from(level_of(service) as u8) * 10.0 + (1.0 - service.success.unwrap_or(1.0)) + missing as f64 / 1000.0
}

fn of_service(view: &View, story: &Story, service: &ServiceView, level: Level) -> Verdict {
    let episode = story.open.values().filter(|e| e.replica.service.as_str() == service.name).min_by_key(|e| e.from);
    let name = &service.name;
    let (ready, all) = (service.ready(), service.replicas.len());
    let since = episode.map(|e| format!(" for {}", format::span(view.now - e.from))).unwrap_or_default();
    let success = service.success.unwrap_or(1.0);
    let starting = service.replicas.iter().all(|replica| replica.state == ReplicaState::Starting);
    let headline = if ready == 0 && starting {
        format!("{name} is starting: it takes no traffic yet.")
    } else if ready == 0 {
        format!("{name} has no ready replica{since} — every call to it fails or waits.")
    } else if success < HURT_BELOW {
        format!("{name} fails {} of its requests — {} affected{since}.", format::failing(success), who(view, name))
    } else {
        format!("{name} runs on {ready} of {}{since} — nobody is hurt.", format::count(all, "replica"))
    };
    Verdict { level, headline, detail: detail(story, service, episode) }
}

/// Whom the failures of `name` reach.
fn who(view: &View, name: &str) -> &'static str {
    let is_service = |caller: &str| view.services.iter().any(|service| service.name == caller);
    let reached = view
        .edges
        .iter()
        .any(|edge| !is_service(&edge.caller) && edge.success.is_some_and(|success| success < HURT_BELOW));
    let direct = view.edges.iter().any(|edge| edge.callee == name && !is_service(&edge.caller));
    if reached || direct { "users are" } else { "its callers are" }
}

fn detail(story: &Story, service: &ServiceView, episode: Option<&Episode>) -> String {
    let mut sentences = Vec::new();
    if let Some(episode) = episode {
        sentences.push(format!("Why: {}.", episode.why));
        if !episode.done.is_empty() {
            sentences.push(format!("Done: {}.", episode.done.join("; ")));
        }
    }
    if service.retries >= 0.05 && service.success.is_none_or(|success| success >= HURT_BELOW) {
        sentences.push(format!("{} retries/s keep failures from callers.", format::rate(service.retries)));
    }
    if service.replicas.iter().any(|replica| replica.state == ReplicaState::Failed) {
        sentences
            .push(format!("It is left down after too many restarts. Look at: .mainstay/logs/{}-*.log", service.name));
    }
    let here = |event: &&Arc<Event>| event.kind.service().is_some_and(|hurt| hurt.as_str() == service.name);
    let (ours, other) = (story.faults.values().find(here), story.faults.values().next());
    if let Some(EventKind::FaultInjected { fault, .. }) = ours.map(|event| &event.kind) {
        sentences.push(format!("A drill does this on purpose: {fault}."));
    } else if let Some(EventKind::FaultInjected { fault, .. }) = other.map(|event| &event.kind) {
        sentences.push(format!("A drill runs: {fault}."));
    }
    if sentences.is_empty() {
        sentences.push("See: mainstay events".to_owned());
    }
    sentences.join(" ")
}

fn all_well(view: &View, story: &Story) -> Verdict {
    let services = format::count(view.services.len(), "service");
    let replicas = format::count(view.services.iter().map(|service| service.replicas.len()).sum(), "replica");
    let last = story.last.as_ref().and_then(|e| Some((e, e.until?)));
    let detail = match (last, &view.ingress) {
        (Some((episode, until)), _) => {
            let healed = format::span(until - episode.from);
            format!("Last: {}; healed by itself {healed} later, {} ago.", episode.why, format::span(view.now - until))
        }
        (None, Some(ingress)) if view.rate == 0.0 => format!("No traffic yet. Send some to http://{ingress}"),
        _ => format!(
            "Nothing went wrong in {}. To prove that it would be handled: mainstay drill",
            format::uptime(view.uptime)
        ),
    };
    Verdict { level: Level::Good, headline: format!("All is well: {services}, {replicas}, all ready."), detail }
}

#[cfg(test)]
mod tests;
