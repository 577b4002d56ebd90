//! What the rest of Mainstay sees of the supervisor.

use std::sync::Arc;

use mainstay_core::{Endpoints, Fault, LeaseId, ReplicaId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::driver::Driver;
use crate::error::FaultError;
use crate::fault::Lease;
use crate::status::ServiceStatus;

/// A question or an order from outside, with the place for its answer.
pub(crate) enum Request {
    Inject(Fault, LeaseId, oneshot::Sender<Result<(), FaultError>>),
    Renew(LeaseId, oneshot::Sender<Result<(), FaultError>>),
    Clear(LeaseId, oneshot::Sender<bool>),
    Leases(oneshot::Sender<Vec<Lease>>),
    Restart(ReplicaId, oneshot::Sender<Result<(), FaultError>>),
}

/// Requests that may wait for the supervisor.
pub(crate) const REQUESTS_MAX: usize = 64;

/// Speaks with a running [`Supervisor`](crate::Supervisor). Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) endpoints: watch::Receiver<Endpoints>,
    pub(crate) status: watch::Receiver<Arc<Vec<ServiceStatus>>>,
    pub(crate) driver: Arc<dyn Driver>,
}

impl Handle {
    /// Where the replicas take traffic, now and from now on.
    pub fn endpoints(&self) -> watch::Receiver<Endpoints> {
        self.endpoints.clone()
    }

    /// Every service and its replicas as they are now.
    pub fn status(&self) -> Vec<ServiceStatus> {
        self.status.borrow().as_ref().clone()
    }

    /// The same, now and from now on.
    pub fn statuses(&self) -> watch::Receiver<Arc<Vec<ServiceStatus>>> {
        self.status.clone()
    }

    /// The last lines that a replica wrote, oldest first. Reads a file.
    pub fn log_tail(&self, replica: &ReplicaId, lines_max: usize) -> Vec<String> {
        self.driver.log_tail(replica, lines_max)
    }

    /// Hurts something for as long as the lease lasts: Kill, Freeze or Down.
    pub async fn inject(&self, fault: &Fault, id: LeaseId) -> Result<(), FaultError> {
        self.ask(|reply| Request::Inject(fault.clone(), id, reply)).await.unwrap_or(Err(FaultError::Stopping))
    }

    /// Lets a fault live for its time to live from now on.
    pub async fn renew(&self, id: &LeaseId) -> Result<(), FaultError> {
        self.ask(|reply| Request::Renew(id.clone(), reply)).await.unwrap_or(Err(FaultError::Stopping))
    }

    /// Ends a fault and undoes it; false if there was none of that id.
    pub async fn clear(&self, id: &LeaseId) -> bool {
        self.ask(|reply| Request::Clear(id.clone(), reply)).await.unwrap_or(false)
    }

    /// The faults that last.
    pub async fn leases(&self) -> Vec<Lease> {
        self.ask(Request::Leases).await.unwrap_or_default()
    }

    /// Stops a replica in an orderly way and starts it anew; a failed one is started with a clean record.
    pub async fn restart(&self, replica: &ReplicaId) -> Result<(), FaultError> {
        self.ask(|reply| Request::Restart(replica.clone(), reply)).await.unwrap_or(Err(FaultError::Stopping))
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.ok()?;
        answer.await.ok()
    }
}
