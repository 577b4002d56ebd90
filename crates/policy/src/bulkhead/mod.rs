//! Bulkheads.
