//! What was read of a body, and those who play it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::waiting::Waiting;
use super::{ReplayError, Source};
use crate::{BoxError, Reason};

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

/// One copy: how far it has come.
pub(super) struct Player<B> {
    tape: Arc<Tape<B>>,
    id: u64,
    played: usize,
    trailers_sent: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, ReplayError>>>;

impl<B: Body> Player<B> {
    pub(super) fn first(body: B, max: usize) -> Self {
        let hint = body.size_hint();
        let state = State { bytes: Vec::new(), trailers: None, rest: Rest::Here(body), copies: 1 };
        let tape = Tape { state: Mutex::new(state), waiting: Arc::default(), max, hint };
        Self { tape: Arc::new(tape), id: 0, played: 0, trailers_sent: false }
    }
}

impl<B> Player<B> {
    pub(super) fn again(&self) -> Option<Self> {
        let mut state = self.tape.lock();
        if matches!(state.rest, Rest::Broken | Rest::Outgrown) {
            return None;
        }
        let id = state.copies;
        state.copies += 1;
        drop(state);
        Some(Self { tape: self.tape.clone(), id, played: 0, trailers_sent: false })
    }

    /// Whether more has come than can be recorded.
    pub(super) fn outgrown(&self) -> bool {
        matches!(self.tape.lock().rest, Rest::Outgrown)
    }

    /// How much is on the tape.
    #[cfg(test)]
    pub(super) fn recorded(&self) -> usize {
        self.tape.lock().bytes.len()
    }

    /// Whether it is known that nothing more will come.
    pub(super) fn at_end(&self) -> bool {
        let state = self.tape.lock();
        let ended = matches!(state.rest, Rest::Ended) && (state.trailers.is_none() || self.trailers_sent);
        ended && self.played == state.bytes.len()
    }

    /// How much more will come.
    pub(super) fn hint(&self) -> SizeHint {
        let played = self.played as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(self.tape.hint.lower().saturating_sub(played));
        if let Some(upper) = self.tape.hint.upper() {
            hint.set_upper(upper.saturating_sub(played).max(hint.lower()));
        }
        hint
    }

    /// The next frame, and what this copy becomes where it cannot go on as it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> (Polled, Option<Source<B>>)
    where
        B: Body + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut state = self.tape.lock();
        if matches!(state.rest, Rest::Outgrown) {
            return (Poll::Ready(Some(Err(ReplayError::TooLarge))), Some(Source::Over(Some(Reason::BodyTooLarge))));
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
                (Poll::Ready(Some(Err(ReplayError::Broken))), Some(Source::Over(None)))
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
                (Poll::Ready(Some(Err(ReplayError::Body(error.into())))), Some(Source::Over(None)))
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

pub(super) fn whole<D: Buf>(frame: Frame<D>) -> Frame<Bytes> {
    frame.map_data(|mut data| data.copy_to_bytes(data.remaining()))
}
