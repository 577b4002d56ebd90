//! One file a family of verbs.

pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod drill;
pub(crate) mod file;
pub(crate) mod look;
pub(crate) mod up;
