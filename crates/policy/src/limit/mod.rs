//! Limits that find themselves.
