//! What Mainstay did: the events of the bus, newest first.

use std::sync::Arc;

use mainstay_core::{Event, Phase, Severity};
use maud::{Markup, html};

use crate::episode::Story;
use crate::format;
use crate::services::dot;
use crate::verdict::Level;

/// Events on the page; the rest is in `mainstay events`.
const EVENTS_SHOWN_MAX: usize = 40;

pub(crate) fn did(events: &[Arc<Event>], story: &Story) -> Markup {
    html! {
        @if events.is_empty() {
            p class="empty" { "Nothing happened yet. Give it something to do: " code { "mainstay drill" } }
        } @else {
            ol class="events" {
                @for event in events.iter().rev().take(EVENTS_SHOWN_MAX) { (item(event, story)) }
            }
            @if events.len() > EVENTS_SHOWN_MAX { p class="empty" { "Older ones: " code { "mainstay events" } } }
        }
    }
}

fn item(event: &Event, story: &Story) -> Markup {
    let phase = event.kind.phase();
    let level = match (event.kind.severity(), phase) {
        (Severity::Error, _) => Level::Bad,
        (Severity::Warn, _) => Level::Warn,
        (Severity::Info, Phase::Verify) => Level::Good,
        (Severity::Info, _) => Level::Idle,
    };
    let text = event.kind.to_string();
    let subject =
        event.kind.replica().map(ToString::to_string).or_else(|| event.kind.service().map(ToString::to_string));
    let (subject, rest) = match subject.as_deref().and_then(|subject| Some((subject, text.strip_prefix(subject)?))) {
        Some((subject, rest)) => (subject, rest),
        None => ("", text.as_str()),
    };
    html! {
        li {
            time data-ms=(event.at) { (format::clock(event.at)) }
            (dot(level))
            span class="what" { @if !subject.is_empty() { strong { (subject) } } (rest) }
            @if let Some(word) = word(phase) {
                span class={ "chip " (word) } {
                    (word)
                    @if let Some(after) = story.after_ms.get(&event.seq).filter(|after| **after > 0) { " " (format::span(*after)) }
                }
            }
        }
    }
}

const fn word(phase: Phase) -> Option<&'static str> {
    match phase {
        Phase::Detect => Some("detect"),
        Phase::Isolate => Some("isolate"),
        Phase::Recover => Some("recover"),
        Phase::Verify => Some("verify"),
        Phase::Info => None,
    }
}
