//! Bodies of which there can be a copy.

use bytes::Bytes;

/// A body that can be sent a second time, at least as long as it is small.
///
/// Any body becomes one in a [`Replay`](crate::Replay). Those who have a body type of their own that is whole in
/// memory implement this for it and need no recording.
pub trait Duplicate: Sized {
    /// A copy from the first byte on; `None` where there can be none (any more).
    fn duplicate(&self) -> Option<Self>;
}

impl Duplicate for () {
    fn duplicate(&self) -> Option<Self> {
        Some(())
    }
}

impl Duplicate for Bytes {
    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl Duplicate for String {
    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}
