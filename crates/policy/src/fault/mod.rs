//! Failures on purpose.
