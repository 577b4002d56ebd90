//! What a monitoring system reads of Mainstay: metrics, and the event log on disk.
//!
//! Traffic is counted where it flows (per-core counters in the gateway) and only *collected* here, once per scrape:
//! the request path knows nothing of metric names. What happens rarely (restarts, ejections) is counted from the bus.

mod event_log;
mod metrics;

pub use event_log::{EventLog, LogError};
pub use metrics::{Family, Format, Labels, Metrics, Source, Value};
