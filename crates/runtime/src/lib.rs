//! Supervision: start, probe, restart, adopt and stop replicas; the process driver
