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

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

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
    /// Has failed.
    Over,
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
        let too_large = match &self.source {
            Source::Empty | Source::Over => false,
            Source::Shared(copy) => matches!(copy.tape.lock().rest, Rest::Outgrown),
            Source::Alone(_) => true,
        };
        too_large.then_some(Reason::BodyTooLarge)
    }
}

impl<B> Duplicate for Replay<B> {
    fn duplicate(&self) -> Option<Self> {
        let source = match &self.source {
            Source::Empty => Source::Empty,
            Source::Shared(copy) => Source::Shared(copy.again()?),
            Source::Alone(_) | Source::Over => return None,
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
            Source::Empty => Poll::Ready(None),
            Source::Over => Poll::Ready(None),
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
            Source::Empty | Source::Over => true,
            Source::Alone(body) => body.is_end_stream(),
            Source::Shared(copy) => {
                let state = copy.tape.lock();
                copy.played == state.bytes.len()
                    && match &state.rest {
                        Rest::Ended => state.trailers.is_none() || copy.trailers_sent,
                        Rest::Here(_) | Rest::Away | Rest::Broken | Rest::Outgrown => false,
                    }
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Over => SizeHint::with_exact(0),
            Source::Alone(body) => body.size_hint(),
            Source::Shared(copy) => {
                let played = copy.played as u64;
                let whole = &copy.tape.hint;
                let mut hint = SizeHint::new();
                hint.set_lower(whole.lower().saturating_sub(played));
                if let Some(upper) = whole.upper() {
                    hint.set_upper(upper.saturating_sub(played));
                }
                hint
            }
        }
    }
}

fn whole<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}

/// What all copies of one body share.
struct Tape<B> {
    state: Mutex<State<B>>,
    /// Apart from the rest, for the body keeps it as its waker: together they would keep each other alive.
    waiting: Arc<Waiting>,
    max: usize,
    hint: SizeHint,
}

struct State<B> {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    rest: Rest<B>,
    copies: u64,
}

/// What has not been recorded yet.
enum Rest<B> {
    /// More may come.
    Here(B),
    /// A copy polls it, without the lock.
    Away,
    Ended,
    /// It failed, or panicked: nobody can send the whole.
    Broken,
    Outgrown,
}

impl<B> Tape<B> {
    fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No foreign code runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Player<B> {
    tape: Arc<Tape<B>>,
    id: u64,
    played: usize,
    trailers_sent: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, ReplayError>>>;

impl<B: Body> Player<B> {
    fn first(body: B, max: usize) -> Self {
        let hint = body.size_hint();
        let state = State { bytes: Vec::new(), trailers: None, rest: Rest::Here(body), copies: 1 };
        let tape = Tape { state: Mutex::new(state), waiting: Arc::default(), max, hint };
        Self { tape: Arc::new(tape), id: 0, played: 0, trailers_sent: false }
    }
}

impl<B> Player<B> {
    fn again(&self) -> Option<Self> {
        let mut state = self.tape.lock();
        if matches!(state.rest, Rest::Broken | Rest::Outgrown) {
            return None;
        }
        let id = state.copies;
        state.copies += 1;
        drop(state);
        Some(Self { tape: self.tape.clone(), id, played: 0, trailers_sent: false })
    }

    /// The next frame, and what this copy becomes where it cannot go on as it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> (Polled, Option<Source<B>>)
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut state = self.tape.lock();
        if matches!(state.rest, Rest::Outgrown) {
            return (Poll::Ready(Some(Err(ReplayError::TooLarge))), Some(Source::Over));
        }
        if self.played < state.bytes.len() {
            let data = Bytes::copy_from_slice(&state.bytes[self.played..]);
            self.played = state.bytes.len();
            return (Poll::Ready(Some(Ok(Frame::data(data)))), None);
        }
        match std::mem::replace(&mut state.rest, Rest::Away) {
            Rest::Here(body) => {
                drop(state);
                self.record(body, cx)
            }
            Rest::Away => {
                // Still under the lock, under which the body comes back: it cannot be missed.
                self.tape.waiting.add(self.id, cx.waker());
                (Poll::Pending, None)
            }
            Rest::Ended => {
                state.rest = Rest::Ended;
                let trailers = if self.trailers_sent { None } else { state.trailers.clone() };
                self.trailers_sent = true;
                (Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))), None)
            }
            Rest::Broken | Rest::Outgrown => {
                state.rest = Rest::Broken;
                (Poll::Ready(Some(Err(ReplayError::Broken))), Some(Source::Over))
            }
        }
    }

    /// Takes the next frame from the body itself.
    fn record(&mut self, body: B, cx: &mut Context<'_>) -> (Polled, Option<Source<B>>)
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut loan = Loan { tape: &self.tape, body: Some(body) };
        // Before the body is asked, so that no wake-up falls in between; and for all who wait, since the body keeps
        // one waker only, and whoever brought it may be dropped.
        self.tape.waiting.add(self.id, cx.waker());
        let everybody = Waker::from(self.tape.waiting.clone());
        let polled = loan.body().poll_frame(&mut Context::from_waker(&everybody));
        let Poll::Ready(frame) = polled else {
            loan.give_back();
            return (Poll::Pending, None);
        };
        let outcome = match frame {
            None => {
                loan.end(Rest::Ended);
                // So that a further poll ends, too.
                self.trailers_sent = true;
                (Poll::Ready(None), None)
            }
            Some(Err(error)) => {
                loan.end(Rest::Broken);
                (Poll::Ready(Some(Err(ReplayError::Body(error.into())))), Some(Source::Over))
            }
            Some(Ok(frame)) => {
                let frame = whole(frame);
                let next = match loan.take_down(&frame) {
                    Ok(()) => {
                        self.played += frame.data_ref().map_or(0, Bytes::len);
                        self.trailers_sent |= frame.is_trailers();
                        None
                    }
                    Err(body) => Some(Source::Alone(body)),
                };
                (Poll::Ready(Some(Ok(frame))), next)
            }
        };
        self.tape.waiting.wake_others(self.id);
        outcome
    }
}

impl<B> Drop for Player<B> {
    fn drop(&mut self) {
        self.tape.waiting.remove(self.id);
    }
}

/// A body that is away from its tape to be polled. It comes back, or is declared broken.
struct Loan<'a, B> {
    tape: &'a Tape<B>,
    body: Option<B>,
}

impl<B: Body + Unpin> Loan<'_, B> {
    fn body(&mut self) -> Pin<&mut B> {
        Pin::new(self.body.as_mut().expect("it is given back once"))
    }

    fn give_back(mut self) {
        if let Some(body) = self.body.take() {
            self.tape.lock().rest = Rest::Here(body);
        }
    }

    fn end(mut self, rest: Rest<B>) {
        // The body is dropped before the lock is taken: what its drop does is not known.
        self.body = None;
        self.tape.lock().rest = rest;
    }

    /// Records `frame` and gives the body back, or keeps the body where the tape cannot hold the frame.
    fn take_down(mut self, frame: &Frame<Bytes>) -> Result<(), B> {
        let body = self.body.take().expect("it is given back once");
        // Nothing comes after trailers.
        let ended = frame.is_trailers() || body.is_end_stream();
        let mut state = self.tape.lock();
        if state.bytes.len() + weight(frame) > self.tape.max {
            state.rest = Rest::Outgrown;
            state.bytes = Vec::new();
            return Err(body);
        }
        if let Some(data) = frame.data_ref() {
            state.bytes.extend_from_slice(data);
        }
        state.trailers = frame.trailers_ref().cloned();
        if ended {
            state.rest = Rest::Ended;
            // Before the body is dropped: what its drop does is not known.
            drop(state);
        } else {
            state.rest = Rest::Here(body);
        }
        Ok(())
    }
}

impl<B> Drop for Loan<'_, B> {
    fn drop(&mut self) {
        if self.body.take().is_some() {
            self.tape.lock().rest = Rest::Broken;
            self.tape.waiting.wake_all();
        }
    }
}

/// What a frame takes on the tape. A kind of frame that we do not know fits on none.
fn weight(frame: &Frame<Bytes>) -> usize {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len(),
        (None, Some(trailers)) => trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        (None, None) => usize::MAX / 2,
    }
}

/// Copies that wait for the next frame: at most one waker for each copy there is.
#[derive(Default)]
struct Waiting(Mutex<Vec<(u64, Waker)>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Waker)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, id: u64, waker: &Waker) {
        let waker = waker.clone();
        let mut waiting = self.lock();
        let old = match waiting.iter_mut().find(|(other, _)| *other == id) {
            Some((_, old)) => Some(std::mem::replace(old, waker)),
            None => {
                waiting.push((id, waker));
                None
            }
        };
        drop(waiting);
        drop(old);
    }

    fn remove(&self, id: u64) {
        let mut waiting = self.lock();
        let old = waiting.iter().position(|(other, _)| *other == id).map(|at| waiting.swap_remove(at));
        drop(waiting);
        drop(old);
    }

    fn wake_others(&self, id: u64) {
        self.remove(id);
        self.wake_all();
    }

    fn wake_all(&self) {
        let waiting = std::mem::take(&mut *self.lock());
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
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
            Source::Over => "Replay(over)",
        })
    }
}
