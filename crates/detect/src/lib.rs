//! Detection as pure functions: the probe state machine
