//! A body that can be sent again.
//!
//! **The problem.** A body can be read once. Reading it whole before the first attempt would make every request wait
//! for its last byte, and fill memory with uploads that are never repeated.
//!
//! **The rule.** The first attempt streams, and what it has sent is recorded beside it on a *tape*. A copy plays the
//! tape from its beginning and then goes on with the rest of the body, wherever that has got to. So nothing waits,
//! and an attempt that was cut off in the middle of an upload is continued by the next. Whichever copy has come to
//! the end of the tape takes the next frame from the body and records it: of two attempts that run side by side
//! neither waits for the other.
//!
//! **Its end.** The tape holds at most [`REPLAY_BYTES_MAX`]. When more comes, the copy that was about to record it
//! goes on alone; the others, which could only send half a request, fail, and there are no further ones. A body
//! that says beforehand that it is larger is never recorded. Such a request is not sent again (`body_too_large`).
//!
//! **Memory.** Bytes are copied to the tape, not held: a frame of one byte may keep a whole read buffer alive. So the
//! tape takes what it holds (a growing vector: twice that at worst) and one allocation; an empty body takes none.

mod tape;
mod waiting;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use self::tape::{Player, whole};
use super::Duplicate;
use crate::{BoxError, Reason};

/// How much of a body is recorded unless another limit is given: data, and names and values of trailers.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// A body of which there can be copies while what was read of it is small.
///
/// [`Duplicate::duplicate`] makes one at any time: before, during and after the first attempt. Bodies that are not
/// `Unpin` are put into a `Box::pin` first.
pub struct Replay<B> {
    source: Source<B>,
}

enum Source<B> {
    /// Nothing to send, so nothing to record.
    Empty,
    /// Plays the tape, and records what comes after.
    Shared(Player<B>),
    /// Too large to be recorded.
    Alone(B),
    /// Has failed, for this reason where it is one of ours.
    Over(Option<Reason>),
}

impl<B: Body> Replay<B> {
    /// Records up to [`REPLAY_BYTES_MAX`].
    pub fn new(body: B) -> Self {
        Self::with_max(body, REPLAY_BYTES_MAX)
    }

    /// Records up to `max` bytes.
    pub fn with_max(body: B, max: usize) -> Self {
        let source = if body.is_end_stream() {
            Source::Empty
        } else if body.size_hint().lower() > max as u64 {
            Source::Alone(body)
        } else {
            Source::Shared(Player::first(body, max))
        };
        Self { source }
    }
}

impl<B> Replay<B> {
    /// Why there can be no copy, where there can be none because the body is too large.
    pub fn refused(&self) -> Option<Reason> {
        match &self.source {
            Source::Empty => None,
            Source::Shared(copy) => copy.outgrown().then_some(Reason::BodyTooLarge),
            Source::Alone(_) => Some(Reason::BodyTooLarge),
            Source::Over(reason) => *reason,
        }
    }
}

impl<B> Duplicate for Replay<B> {
    fn duplicate(&self) -> Option<Self> {
        let source = match &self.source {
            Source::Empty => Source::Empty,
            Source::Shared(copy) => Source::Shared(copy.again()?),
            Source::Alone(_) | Source::Over(_) => return None,
        };
        Some(Self { source })
    }
}

impl<B> Body for Replay<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ReplayError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReplayError>>> {
        let source = &mut self.get_mut().source;
        match source {
            Source::Empty | Source::Over(_) => Poll::Ready(None),
            Source::Alone(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map(whole).map_err(|error| ReplayError::Body(error.into())))),
            Source::Shared(copy) => {
                let (polled, next) = copy.poll(cx);
                if let Some(next) = next {
                    *source = next;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Over(_) => true,
            Source::Alone(body) => body.is_end_stream(),
            Source::Shared(copy) => copy.at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Over(_) => SizeHint::with_exact(0),
            Source::Alone(body) => body.size_hint(),
            Source::Shared(copy) => copy.hint(),
        }
    }
}

/// Why a [`Replay`] cannot be read on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The body itself failed.
    Body(BoxError),
    /// Another copy has met its failure, so this one would be cut short.
    Broken,
    /// Another copy has read more than can be recorded, so this one cannot be whole.
    TooLarge,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Body(_) => "the request's body failed",
            Self::Broken => "the request's body failed while an earlier copy of it was sent",
            Self::TooLarge => "the request's body is too large to be sent again",
        })
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Body(error) => Some(&**error),
            Self::Broken | Self::TooLarge => None,
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Empty => "Replay(empty)",
            Source::Shared(_) => "Replay",
            Source::Alone(_) => "Replay(too large)",
            Source::Over(_) => "Replay(over)",
        })
    }
}

#[cfg(test)]
mod tests;
