//! Metrics and the event log
