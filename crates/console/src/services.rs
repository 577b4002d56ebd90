//! The table of services, those in pain first.

use maud::{Markup, html};

use crate::format;
use crate::replicas::squares;
use crate::spark::spark;
use crate::verdict::{Level, level_of, pain};
use crate::view::{ReplicaState, ServiceView, View};

pub(crate) fn services(view: &View) -> Markup {
    let mut services: Vec<&ServiceView> = view.services.iter().collect();
    services.sort_by(|a, b| pain(b).total_cmp(&pain(a)).then_with(|| a.name.cmp(&b.name)));
    html! {
        @if services.is_empty() {
            p class="empty" { "No services yet. Write a first mainstay.yaml with " code { "mainstay init" } ", then " code { "mainstay up" } }
        } @else {
            table class="services" {
                thead {
                    tr {
                        th { "Service" } th { "Replicas" } th { "Traffic" } th class="n" { "Rate" }
                        th class="n" { abbr title="Share of requests that succeeded in the end, after retries" { "Success" } }
                        th class="n" { "p50" } th class="n" { "p99" } th { "Now" }
                    }
                }
                tbody { @for service in services { (row(service)) } }
            }
        }
    }
}

fn row(service: &ServiceView) -> Markup {
    let level = level_of(service);
    let success = match service.success {
        Some(share) if share < 0.99 => "bad",
        Some(share) if share < 0.999 => "warn",
        _ => "",
    };
    html! {
        tr {
            td class="name" {
                (dot(level)) strong { (service.name) }
                span class="sr" { " is " (level.word()) }
            }
            td class="reps" { (squares(&service.replicas)) }
            td class="traffic" { (spark(&service.sparkline, level.class())) }
            td class="n" data-label="rate" { (format::rate(service.rate)) small { " /s" } }
            td class={ "n " (success) } data-label="success" { @match service.success { Some(share) => (format::percent(share)), None => "—" } }
            td class="n" data-label="p50" { (latency(service.p50_ms)) }
            td class="n" data-label="p99" { (latency(service.p99_ms)) }
            td class="now" { (now(service)) }
        }
    }
}

/// A dot whose shape differs as well.
pub(crate) fn dot(level: Level) -> Markup {
    html! {
        svg class={ "dot " (level.class()) } viewBox="0 0 10 10" aria-hidden="true" {
            @match level {
                Level::Good => { circle cx="5" cy="5" r="4" {} },
                Level::Warn => { path d="M5 .8L9.6 9H.4Z" {} },
                Level::Bad => { rect x="1" y="1" width="8" height="8" {} },
                Level::Idle => { circle class="hollow" cx="5" cy="5" r="3.3" {} },
            }
        }
    }
}

fn latency(ms: Option<f64>) -> Markup {
    match ms.map(format::millis) {
        Some((value, unit)) => html! { (value) small { " " (unit) } },
        None => html! { "—" },
    }
}

/// What goes on now, the most telling first.
fn now(service: &ServiceView) -> String {
    let mut parts = Vec::new();
    parts.extend(service.note.clone());
    if service.ejected > 0 {
        parts.push(format!("{} ejected", service.ejected));
    }
    for state in [
        ReplicaState::Failed,
        ReplicaState::Down,
        ReplicaState::NotReady,
        ReplicaState::Starting,
        ReplicaState::Draining,
    ] {
        let n = service.replicas.iter().filter(|replica| replica.state == state).count();
        if n > 0 {
            parts.push(format!("{n} {}", state.word()));
        }
    }
    if service.retries >= 0.05 {
        parts.push(format!("{} retries/s", format::rate(service.retries)));
    }
    if parts.is_empty() { "—".to_owned() } else { parts.join(" · ") }
}
