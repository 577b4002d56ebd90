//! Supervision: start, probe, restart, adopt and stop replicas; the process driver.
//!
//! What to do is decided in `fleet`, a pure machine: (state, input) → (state, commands), with time as an argument.
//! [`Supervisor`] is the shell around it: one task that feeds the machine with exits, probe results, timers and requests,
//! and carries its commands out through a [`Driver`]. The rest of Mainstay sees a [`Handle`]: endpoints to route to,
//! status to show, faults to inject.
//!
//! Replicas outlive their supervisor. Whatever kills Mainstay, the next one finds the records of what ran
//! ([`ProcessDriver`]), adopts it and restarts nothing.

mod driver;
mod error;
mod fault;
mod fleet;
mod handle;
mod prober;
mod process;
mod spec;
mod status;
mod supervisor;

pub use driver::{BoxFuture, Driver, DriverError, ExitStatus, Instance, Launch, Running, Signal, Stopped};
pub use error::{FaultError, SpecError, SupervisorError};
pub use fault::Lease;
pub use handle::Handle;
pub use process::{Orphan, ProcessDriver, ProcessOptions, stop_orphans};
pub use spec::{Handler, Probe, Probes, Restart, ServiceSpec, Stop, check_program};
pub use status::{LastExit, ProbeStatus, ReplicaState, ReplicaStatus, ServiceStatus};
pub use supervisor::{InFlight, NothingInFlight, Options, Supervisor};

pub use mainstay_detect::{Kind as ProbeKind, Settings as ProbeSettings, Verdict as ProbeVerdict};
