//! Replicas as squares: a shape for each state beside its colour, so that nobody needs to tell red from green.

use maud::{Markup, html};

use crate::format;
use crate::view::{ReplicaState, ReplicaView, View};

/// Squares in one row; further ones are counted.
const SQUARES_MAX: usize = 24;

const fn class(state: ReplicaState) -> &'static str {
    match state {
        ReplicaState::Ready => "ready",
        ReplicaState::Starting => "starting",
        ReplicaState::NotReady => "notready",
        ReplicaState::Ejected => "ejected",
        ReplicaState::Draining => "draining",
        ReplicaState::Down => "down",
        ReplicaState::Failed => "failed",
    }
}

fn square(state: ReplicaState) -> Markup {
    let box_ = html! { rect x="1.5" y="1.5" width="11" height="11" rx="2.5" {} };
    html! {
        svg class={ "sq " (class(state)) } viewBox="0 0 14 14" aria-hidden="true" {
            (box_)
            @match state {
                ReplicaState::Ready | ReplicaState::Down => {},
                ReplicaState::Starting => { circle cx="7" cy="7" r="2.2" {} },
                ReplicaState::NotReady | ReplicaState::Failed => { path d="M4.5 4.5L9.5 9.5M9.5 4.5L4.5 9.5" {} },
                ReplicaState::Ejected => { path d="M3.8 10.2L10.2 3.8" {} },
                ReplicaState::Draining => { path d="M4 7H10" {} },
            }
        }
    }
}

/// The squares of one service.
pub(crate) fn squares(replicas: &[ReplicaView]) -> Markup {
    let ready = replicas.iter().filter(|replica| replica.state == ReplicaState::Ready).count();
    html! {
        span class="squares" role="img" aria-label={ (ready) " of " (replicas.len()) " ready" } {
            @for replica in replicas.iter().take(SQUARES_MAX) {
                span title={ (replica.name) ": " (replica.state.word()) } { (square(replica.state)) }
            }
            @if replicas.len() > SQUARES_MAX { small { "+" (replicas.len() - SQUARES_MAX) } }
        }
    }
}

/// Every replica with its process.
pub(crate) fn table(view: &View) -> Markup {
    html! {
        @if view.services.iter().all(|service| service.replicas.is_empty()) {
            p class="empty" { "No replica runs. Start the app with " code { "mainstay up" } }
        } @else {
            table {
                thead { tr { th { "Replica" } th { "State" } th class="n" { "For" } th class="n" { "Process" } th class="n" { "Restarts" } } }
                tbody {
                    @for replica in view.services.iter().flat_map(|service| &service.replicas) {
                        tr {
                            td { (replica.name) }
                            td { (square(replica.state)) " " (replica.state.word()) }
                            td class="n" { @if replica.since > 0 { (format::span(view.now - replica.since)) } @else { "—" } }
                            td class="n" { @if let Some(pid) = replica.pid { (pid) } @else { "—" } }
                            td class="n" { (replica.restarts) }
                        }
                    }
                }
            }
        }
    }
}

/// What the shapes mean.
pub(crate) fn legend() -> Markup {
    html! {
        p class="legend" {
            @for state in ReplicaState::ALL { span { (square(state)) " " (state.word()) } }
        }
    }
}
