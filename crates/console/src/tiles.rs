//! The few figures of the whole app.

use maud::{Markup, html};

use crate::episode::Story;
use crate::format;
use crate::spark::spark;
use crate::verdict::Level;
use crate::view::{ReplicaState, View};

pub(crate) fn tiles(view: &View, story: &Story) -> Markup {
    let availability = view.availability.map(format::percent);
    let health = match view.availability {
        Some(share) if share < 0.99 => Level::Bad,
        Some(share) if share < 0.999 => Level::Warn,
        _ => Level::Good,
    };
    html! {
        (tile("Availability", availability.as_deref().unwrap_or("—"), "", health, &html! {
            @if availability.is_some() { (view.availability_over) " · after retries" } @else { "no requests yet" }
        }))
        (tile("Requests", &format::rate(view.rate), "/s", Level::Good, &spark(&view.rate_points, "blue")))
        @let (p99, unit) = view.p99_ms.map_or(("—".to_owned(), ""), format::millis);
        (tile("p99 at the edge", &p99, unit, Level::Good, &spark(&view.p99_points, "warn")))
        @if let Some(transactions) = view.transactions {
            @let stuck = if transactions.stuck > 0 { Level::Bad } else { Level::Good };
            (tile("Transactions open", &format::grouped(transactions.open), "", stuck, &html! {
                (format::grouped(transactions.committed)) " committed · " (format::grouped(transactions.rolled_back)) " rolled back · " (transactions.stuck) " stuck"
            }))
        }
        (last(view, story))
    }
}

/// How the last trouble went: what every other tile cannot say.
fn last(view: &View, story: &Story) -> Markup {
    // A probe may have failed once and passed since, which no event says: a replica that is ready is no incident.
    let ready = |name: &str| {
        let mut replicas = view.services.iter().flat_map(|service| &service.replicas);
        replicas.any(|replica| replica.name == name && replica.state == ReplicaState::Ready)
    };
    let open = story.open.values().filter(|episode| !ready(&episode.replica.to_string()));
    if let Some(open) = open.min_by_key(|episode| episode.from) {
        let note = html! { "open · " (open.replica.to_string()) };
        return tile("Incident", &format::span(view.now - open.from), "", Level::Warn, &note);
    }
    match story.last.as_ref().and_then(|episode| Some((episode, episode.until?))) {
        Some((episode, until)) => tile(
            "Last incident",
            &format::span(until - episode.from),
            "",
            Level::Good,
            &html! {
                (episode.replica.to_string())
                @if let Some(isolated) = episode.isolated { " · isolated in " (format::span(isolated - episode.from)) }
                " · healed unattended"
            },
        ),
        None => tile("Last incident", "none", "", Level::Good, &html! { "in " (format::uptime(view.uptime)) }),
    }
}

fn tile(name: &str, value: &str, unit: &str, level: Level, note: &Markup) -> Markup {
    html! {
        div class={ "card tile " (level.class()) } {
            h3 { (name) }
            p class="value" { (value) @if !unit.is_empty() { " " small { (unit) } } }
            div class="note" { (note) }
        }
    }
}
