//! Healing: the load goes on until users are served well for long enough and every replica is back; then the work that
//! was taken on is finished.

use mainstay_core::ReplicaId;
use tokio::time::Instant;

use super::Drill;
use super::phases::LOOK_EVERY;
use crate::history::Ledger;
use crate::measure::Timeline;
use crate::ports::{PORT_ANSWER_MAX, within};

/// How the system stood after it had its time to heal.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Settled {
    /// Users were served well for as long as a hold asks for. None: not known.
    pub(crate) served_well: Option<bool>,
    /// Replicas that took traffic before and do not now.
    pub(crate) missing: Vec<ReplicaId>,
    /// Transactions that are still open. None: not known.
    pub(crate) open: Option<u64>,
}

impl Settled {
    /// The drill ended before it could be seen.
    pub(crate) fn unknown() -> Self {
        Self::default()
    }
}

/// Waits, under load, until the system serves well and is whole, at most until `end`.
pub(super) async fn serve_well(
    drill: &Drill,
    ledger: &Ledger,
    ready: &[ReplicaId],
    start: Instant,
    end: Instant,
) -> Settled {
    let windows = &drill.spec.windows;
    let span = windows.window.0 + windows.hold.0;
    let give_up = drill.spec.load.mix.iter().map(|o| o.timeout.0).max().unwrap_or_default();
    let since = start.elapsed();
    let mut settled = Settled { served_well: Some(false), ..Settled::default() };
    loop {
        let now = start.elapsed();
        if now >= since + span {
            let from = now - span;
            let timeline = Timeline::new(&ledger.finished_since(from, give_up));
            // What is still in flight would only make the newest windows look emptier, not worse.
            settled.served_well = Some(timeline.stays_good(from, now, windows));
        }
        if let Ok(inspection) = within(PORT_ANSWER_MAX, drill.injector.inspect()).await {
            settled.missing = ready.iter().filter(|r| !inspection.ready.contains(r)).cloned().collect();
        }
        let healed = settled.served_well == Some(true) && settled.missing.is_empty();
        if healed || Instant::now() >= end {
            return settled;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until no transaction is open, at most until `end`; at least one look is taken.
pub(super) async fn finish_work(drill: &Drill, end: Instant) -> Option<u64> {
    loop {
        let open = within(PORT_ANSWER_MAX, drill.state.open()).await.ok();
        if open == Some(0) || Instant::now() >= end {
            return open;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
