//! Hedges.
