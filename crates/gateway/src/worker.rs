//! One worker.

use std::sync::Arc;

use mainstay_core::Shutdown;

use crate::core::{Core, WorkerSeat};
use crate::net::Net;
use crate::snapshot::ListenerId;

/// One worker of the data plane: everything that happens on one core.
pub struct Worker<N: Net> {
    core: Arc<Core>,
    seat: WorkerSeat,
    net: N,
    listeners: Vec<(ListenerId, N::Listener)>,
}

impl<N: Net> Worker<N> {
    /// A worker in `seat` that serves `listeners`.
    pub fn new(core: Arc<Core>, seat: WorkerSeat, net: N, listeners: Vec<(ListenerId, N::Listener)>) -> Self {
        Self { core, seat, net, listeners }
    }

    /// Serves until `shutdown`, then drains. Runs inside a `LocalSet`.
    pub async fn run(self, shutdown: Shutdown) {
        shutdown.cancelled().await;
        let _ = (self.core, self.seat, self.net, self.listeners);
    }
}
