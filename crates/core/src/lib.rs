//! The words that every part of Mainstay shares: ids, units, endpoints, events, reasons, faults, the clock.
//!
//! Nothing here does I/O, and nothing here decides anything: it is the vocabulary in which the parts,
//! which do not know each other, are connected by `mainstay/src/assemble.rs`.

mod clock;
mod endpoint;
mod event;
mod fault;
mod id;
mod reason;
mod unit;

pub use clock::{Clock, SystemClock, TokioClock, WallMs};
pub use endpoint::{Endpoint, EndpointSet, EndpointState, Endpoints};
pub use event::{Cause, EVENTS_KEPT_MAX, Event, EventBus, EventKind, Phase, Severity};
pub use fault::{EdgeEffect, FAULT_TTL_MAX, Fault, FaultKind, LeaseId};
pub use id::{NameError, ReplicaId, ServiceName, TransactionId};
pub use reason::Reason;
pub use tokio_util::sync::CancellationToken as Shutdown;
pub use unit::{Bytes, Rate, Share, Span, UnitError};
