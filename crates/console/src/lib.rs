//! The human interface: one page that says first what is wrong, then shows what it is made of.
//!
//! Rendered on the server, because the same process knows everything already: the page works without a script, the
//! script (own, small, no third-party code) only replaces the sections that changed, and there is no second model of
//! the system in another language. Nothing is inline and nothing comes from elsewhere, so the content security policy is
//! `default-src 'self'` without exceptions. Every text goes through maud's escaping.
//!
//! The console knows no other part of Mainstay: it draws a plain [`View`] that a [`Source`] fills, and the events of the
//! bus. It only looks; nothing can be changed through it.

mod calls;
mod did;
mod episode;
mod format;
mod live;
mod page;
mod replicas;
mod routes;
mod services;
mod spark;
mod tiles;
mod verdict;
mod view;

pub use routes::router;
pub use verdict::{Level, Verdict, verdict};
pub use view::{EdgeView, ReplicaState, ReplicaView, ServiceView, Source, TransactionsView, View};
