//! Probers.
