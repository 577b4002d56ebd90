//! Something else answers in place of a service that failed.
