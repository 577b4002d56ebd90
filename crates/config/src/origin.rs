//! Stub.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Origin;
