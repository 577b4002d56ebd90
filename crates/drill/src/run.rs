//! The run: preflight → baseline → faults → clear → settle → final reads → check.
//!
//! First the system is hurt and must stay safe; then *all* faults are removed and it must heal completely, serve
//! well and finish its work. An overload that feeds itself fails there.

mod phases;
mod settle;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Clock, Event, Shutdown};
use tokio::sync::{mpsc, watch};

pub use crate::load::TargetError;
pub(crate) use settle::Settled;

use crate::load::Client;
use crate::ports::{Injector, StateReader};
use crate::progress::Progress;
use crate::report::Report;
use crate::spec::{Spec, SpecError};

/// A drill and all that it touches.
pub struct Drill {
    /// What to do.
    pub spec: Spec,
    /// Base address of the ingress: `http://127.0.0.1:8080`.
    pub target: String,
    /// Puts faults in.
    pub injector: Arc<dyn Injector>,
    /// Mainstay's events. May repeat what it had before when the stream is opened again.
    pub events: mpsc::Receiver<Event>,
    /// Reads what the system holds.
    pub state: Arc<dyn StateReader>,
    /// The wall clock of the machine that stamps the events.
    pub clock: Arc<dyn Clock>,
    /// Where to show how it goes.
    pub progress: Option<watch::Sender<Progress>>,
    /// Where `history.jsonl` is written.
    pub history: Option<PathBuf>,
}

/// Why a drill could not even begin. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    /// The spec is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The address is wrong.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The history cannot be written.
    #[error("{}: {source}", path.display())]
    History {
        /// Where it should go.
        path: PathBuf,
        /// Why it does not.
        source: std::io::Error,
    },
}

/// How often the live display is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Runs `drill` to its verdict. When `shutdown` is cancelled all faults are removed at once and the report, with what
/// there is, is INCONCLUSIVE.
pub async fn run(drill: Drill, shutdown: Shutdown) -> Result<Report, DrillError> {
    drill.spec.check()?;
    let client = Client::new(&drill.target)?;
    Box::pin(phases::Run::begin(drill, client, shutdown).await?.finish()).await
}
