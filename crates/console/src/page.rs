//! The page around its sections. Each section has an id and is replaced as a whole when it changes.

use std::sync::Arc;

use mainstay_core::Event;
use maud::{DOCTYPE, Markup, html};

use crate::view::View;
use crate::{calls, did, episode, format, replicas, services, tiles, verdict};

/// Id and content of every section that changes.
pub(crate) type Sections = [(&'static str, String); 7];

/// Renders everything that changes. `events` are the remembered ones, oldest first.
pub(crate) fn sections(view: &View, events: &[Arc<Event>]) -> Sections {
    let story = episode::story(events);
    [
        ("app", app(view).into_string()),
        ("verdict", verdict_card(&verdict::judge(view, &story)).into_string()),
        ("tiles", tiles::tiles(view, &story).into_string()),
        ("services", services::services(view).into_string()),
        ("calls", calls::calls(view).into_string()),
        ("did", did::did(events, &story).into_string()),
        ("replicas", replicas::table(view).into_string()),
    ]
}

fn app(view: &View) -> Markup {
    html! {
        strong { (view.app) }
        @if let Some(ingress) = &view.ingress { " · " span class="wide" { "traffic at " } code { (ingress) } }
        span class="wide" { " · up " (format::uptime(view.uptime)) }
    }
}

fn verdict_card(verdict: &verdict::Verdict) -> Markup {
    html! {
        div class={ "card verdict " (verdict.level.class()) } {
            h1 { (services::dot(verdict.level)) (verdict.headline) }
            p { (verdict.detail) }
        }
    }
}

/// The whole page.
pub(crate) fn page(view: &View, events: &[Arc<Event>]) -> Markup {
    let [app, verdict, tiles, services, calls, did, replicas] = sections(view, events);
    let put = |(id, content): (&'static str, String)| html! { div id=(id) { (maud::PreEscaped(content)) } };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { (view.app) " · Mainstay" }
                link rel="icon" href="/assets/console.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/console.js" defer {}
            }
            body {
                a class="skip" href="#verdict" { "Skip to the verdict" }
                header {
                    a class="brand" href="/" {
                        svg viewBox="0 0 16 16" aria-hidden="true" {
                            path d="M8 5v9.5M4.8 7.2h6.4M2 9.5c0 3 2.7 5 6 5s6-2 6-5M2 9.5l-.8 2M2 9.5l1.9 1.2M14 9.5l.8 2M14 9.5l-1.9 1.2" {}
                            circle cx="8" cy="3.2" r="1.7" {}
                        }
                        "Mainstay"
                    }
                    nav aria-label="Sections" {
                        a href="#services-h" { "Services" } a href="#calls-h" { "Calls" } a href="#did-h" { "Events" }
                        a href="#replicas-h" { "Replicas" } a href="/metrics" { "Metrics" }
                    }
                    div class="status" {
                        (put(app))
                        span id="link" class="link" role="status" { "not live" }
                    }
                }
                main {
                    div aria-live="polite" { (put(verdict)) }
                    (put(tiles))
                    section class="card" aria-labelledby="services-h" { h2 id="services-h" class="sr" { "Services" } (put(services)) }
                    div class="two" {
                        section class="card" aria-labelledby="calls-h" { h2 id="calls-h" { "Who calls whom" } (put(calls)) }
                        section class="card" aria-labelledby="did-h" {
                            h2 id="did-h" { "What Mainstay did" }
                            div class="list" tabindex="0" role="region" aria-labelledby="did-h" { (put(did)) }
                        }
                    }
                    section class="card" aria-labelledby="replicas-h" {
                        details { summary { h2 id="replicas-h" { "Every replica" } } div class="scroll" { (put(replicas)) } (replicas::legend()) }
                    }
                    noscript { p class="empty" { "Without its script this page does not move by itself: reload it." } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
