use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use bytes::BytesMut;
use http::HeaderMap;
use http_body_util::{BodyExt, Full, StreamBody};
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// Nothing comes until the gate is opened once more.
    Wait,
    Data(Vec<u8>),
    Trailers,
    Fail,
    Panic,
}

/// A body that does what a script says.
struct Script {
    steps: VecDeque<Step>,
    gate: Arc<Gate>,
    /// Whether it says by itself that nothing more comes.
    knows_its_end: bool,
    hint: SizeHint,
}

#[derive(Default)]
struct Gate(Mutex<(usize, Option<Waker>)>);

impl Gate {
    fn open(&self) {
        let waker = {
            let mut state = self.0.lock().unwrap();
            state.0 += 1;
            state.1.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> (Self, Arc<Gate>) {
        let gate = Arc::<Gate>::default();
        let steps = steps.into_iter().collect();
        (Self { steps, gate: gate.clone(), knows_its_end: true, hint: SizeHint::new() }, gate)
    }
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("checksum".parse().unwrap(), "17".parse().unwrap())])
}

/// Name and value of [`trailers`].
const TRAILERS_WEIGHT: usize = 10;

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match self.steps.pop_front() {
                None => return Poll::Ready(None),
                Some(Step::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data.into())))),
                Some(Step::Trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
                Some(Step::Fail) => return Poll::Ready(Some(Err("cut off".into()))),
                Some(Step::Panic) => panic!("the body has a bug"),
                Some(Step::Wait) => {
                    let mut gate = self.gate.0.lock().unwrap();
                    if gate.0 == 0 {
                        gate.1 = Some(cx.waker().clone());
                        drop(gate);
                        self.steps.push_front(Step::Wait);
                        return Poll::Pending;
                    }
                    gate.0 -= 1;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.hint
    }
}

/// Somebody who sends a copy.
struct Reader {
    replay: Replay<Script>,
    got: Vec<u8>,
    trailers: Option<HeaderMap>,
    outcome: Option<Result<(), ReplayError>>,
    woken: Arc<Woken>,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Reader {
    fn new(replay: Replay<Script>) -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self { replay, got: Vec::new(), trailers: None, outcome: None, woken }
    }

    fn poll(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let says_it_is_over = self.replay.is_end_stream();
        self.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(self.woken.clone());
        let polled = Pin::new(&mut self.replay).poll_frame(&mut Context::from_waker(&waker));
        assert!(!says_it_is_over || matches!(polled, Poll::Ready(None)));
        match polled {
            Poll::Pending => return,
            Poll::Ready(None) => self.outcome = Some(Ok(())),
            Poll::Ready(Some(Err(error))) => self.outcome = Some(Err(error)),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => self.got.extend_from_slice(&data),
                Err(frame) => {
                    assert!(self.trailers.is_none(), "trailers come once");
                    self.trailers = frame.into_trailers().ok();
                }
            },
        }
        self.woken.0.store(true, Ordering::Relaxed);
    }

    fn is_woken(&self) -> bool {
        self.outcome.is_none() && self.woken.0.load(Ordering::Relaxed)
    }

    /// Polls as long as anything comes.
    fn read(&mut self) -> &[u8] {
        while self.is_woken() {
            self.poll();
        }
        &self.got
    }
}

fn data(text: &str) -> Step {
    Step::Data(text.as_bytes().to_vec())
}

#[test]
fn the_first_attempt_gets_each_frame_as_it_comes() {
    let (script, gate) = Script::new([data("one"), Step::Wait, data("two")]);
    let mut first = Reader::new(Replay::new(script));
    assert_eq!(first.read(), b"one");
    gate.open();
    assert_eq!(first.read(), b"onetwo");
    assert!(matches!(first.outcome, Some(Ok(()))));
}

#[test]
fn a_copy_plays_what_was_recorded_and_goes_on_with_the_rest() {
    let (script, gate) = Script::new([data("one"), Step::Wait, data("two"), Step::Trailers]);
    let mut first = Reader::new(Replay::new(script));
    let spare = first.replay.duplicate().unwrap();
    assert_eq!(first.read(), b"one");
    drop(first);
    let mut second = Reader::new(spare);
    assert_eq!(second.read(), b"one");
    gate.open();
    assert_eq!(second.read(), b"onetwo");
    assert_eq!(second.trailers, Some(trailers()));
    let mut third = Reader::new(second.replay.duplicate().unwrap());
    assert_eq!(third.read(), b"onetwo");
    assert_eq!(third.trailers, Some(trailers()));
}

#[test]
fn two_attempts_side_by_side_do_not_wait_for_each_other() {
    let (script, gate) = Script::new([Step::Wait, data("one"), Step::Wait, data("two")]);
    let mut stuck = Reader::new(Replay::new(script));
    let mut hedge = Reader::new(stuck.replay.duplicate().unwrap());
    // The first waits for the body, then the second, whose waker the body now has; and goes away.
    stuck.poll();
    hedge.poll();
    let mut late = Reader::new(stuck.replay.duplicate().unwrap());
    late.poll();
    drop(late);
    gate.open();
    assert!(stuck.is_woken() && hedge.is_woken());
    assert_eq!(hedge.read(), b"one");
    gate.open();
    assert_eq!((hedge.read(), stuck.read()), (&b"onetwo"[..], &b"onetwo"[..]));
}

#[test]
fn a_body_that_outgrows_the_tape_goes_on_alone() {
    let (script, _gate) = Script::new([data("1234"), data("5678"), data("9")]);
    let mut first = Reader::new(Replay::with_max(script, 7));
    let mut behind = Reader::new(first.replay.duplicate().unwrap());
    let unused = first.replay.duplicate().unwrap();
    first.poll();
    behind.poll();
    assert!(unused.duplicate().is_some() && unused.refused().is_none());
    assert_eq!(first.read(), b"123456789");
    assert!(matches!(first.outcome, Some(Ok(()))));
    behind.read();
    assert!(matches!(behind.outcome, Some(Err(ReplayError::TooLarge))));
    for replay in [&unused, &first.replay] {
        assert!(replay.duplicate().is_none());
        assert_eq!(replay.refused(), Some(Reason::BodyTooLarge));
    }
}

#[test]
fn a_body_that_says_that_it_is_too_large_is_not_recorded() {
    let replay = Replay::new(Full::new(Bytes::from(vec![0; REPLAY_BYTES_MAX + 1])));
    assert!(replay.duplicate().is_none());
    assert_eq!(replay.refused(), Some(Reason::BodyTooLarge));
    let just = Replay::new(Full::new(Bytes::from(vec![0; REPLAY_BYTES_MAX])));
    assert!(just.duplicate().is_some() && just.refused().is_none());
    assert_eq!(Replay::with_max(Full::new(Bytes::from_static(b"1")), 0).refused(), Some(Reason::BodyTooLarge));
}

#[test]
fn an_empty_body_is_over_from_the_start_and_can_always_be_copied() {
    let replay = Replay::with_max(Full::new(Bytes::new()), 0);
    assert!(replay.is_end_stream() && replay.duplicate().is_some_and(|copy| copy.is_end_stream()));
    assert_eq!(replay.size_hint().exact(), Some(0));
}

#[test]
fn every_copy_knows_its_length() {
    let (mut script, _gate) = Script::new([data("1234"), data("5678")]);
    script.hint = SizeHint::with_exact(8);
    let mut first = Reader::new(Replay::new(script));
    first.poll();
    assert_eq!(first.replay.size_hint().exact(), Some(4));
    assert_eq!(first.replay.duplicate().unwrap().size_hint().exact(), Some(8));
}

#[test]
fn trailers_take_room_on_the_tape() {
    for (max, copies) in [(4 + TRAILERS_WEIGHT, true), (3 + TRAILERS_WEIGHT, false)] {
        let (script, _gate) = Script::new([data("1234"), Step::Trailers]);
        let mut first = Reader::new(Replay::with_max(script, max));
        first.read();
        assert_eq!(first.trailers, Some(trailers()));
        assert_eq!(first.replay.duplicate().is_some(), copies, "{max}");
    }
}

#[test]
fn a_body_that_fails_or_panics_fails_every_copy() {
    for step in [Step::Fail, Step::Panic] {
        let (script, _gate) = Script::new([data("1"), step]);
        let mut first = Reader::new(Replay::new(script));
        let mut waits = Reader::new(first.replay.duplicate().unwrap());
        let _caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            first.read();
        }));
        assert!(first.replay.duplicate().is_none() && waits.replay.duplicate().is_none());
        assert_eq!(waits.replay.refused(), None);
        waits.read();
        assert_eq!(waits.got, b"1");
        assert!(matches!(waits.outcome, Some(Err(ReplayError::Broken))));
    }
}

#[test]
fn nothing_is_kept_when_the_last_copy_is_dropped_while_it_waits() {
    let (script, gate) = Script::new([Step::Wait, data("1")]);
    let mut first = Reader::new(Replay::new(script));
    let mut second = Reader::new(first.replay.duplicate().unwrap());
    first.poll();
    second.poll();
    let woken = Arc::downgrade(&first.woken);
    drop((first, second));
    // The body, which has a share in the gate, is gone, and with it the waker.
    gate.0.lock().unwrap().1 = None;
    assert_eq!((Arc::strong_count(&gate), woken.strong_count()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_on_several_threads_are_whole() {
    for round in 0..50u8 {
        let (tx, rx) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
        let stream = frames_of(rx);
        let first = Replay::with_max(Box::pin(StreamBody::new(stream)), 4096);
        let copies: Vec<_> = (0..3).map(|_| first.duplicate().unwrap()).collect();
        let readers: Vec<_> = std::iter::once(first)
            .chain(copies)
            .map(|replay| tokio::spawn(async move { replay.collect().await.map(|all| all.to_bytes()) }))
            .collect();
        let mut sent = BytesMut::new();
        for n in 0..20u8 {
            let chunk = vec![n ^ round; usize::from(n)];
            sent.extend_from_slice(&chunk);
            tx.send(chunk).await.unwrap();
        }
        drop(tx);
        for reader in readers {
            let read = tokio::time::timeout(Duration::from_secs(60), reader).await.expect("a copy is stuck");
            assert_eq!(read.unwrap().unwrap(), sent);
        }
    }
}

/// What is sent into a channel, as frames.
fn frames_of(
    mut rx: tokio::sync::mpsc::Receiver<Vec<u8>>,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send {
    futures_util::stream::poll_fn(move |cx| rx.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data.into())))))
}

#[derive(Debug, Clone)]
enum Op {
    Poll(usize),
    Copy(usize),
    Drop(usize),
    Open,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => Just(Step::Wait),
        4 => proptest::collection::vec(any::<u8>(), 0..12).prop_map(Step::Data),
    ];
    let last = prop_oneof![3 => Just(None), 2 => Just(Some(Step::Trailers)), 1 => Just(Some(Step::Fail))];
    (proptest::collection::vec(step, 0..8), last).prop_map(|(mut steps, last)| {
        steps.extend(last);
        steps
    })
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        5 => (0..4usize).prop_map(Op::Poll),
        2 => (0..4usize).prop_map(Op::Copy),
        1 => (0..4usize).prop_map(Op::Drop),
        2 => Just(Op::Open),
    ];
    proptest::collection::vec(op, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// However frames, copies, polls and drops fall: what a copy sends is the beginning of the body, what it says is
    /// whole is the whole of it, whoever waits is woken, and the tape keeps to its limit.
    #[test]
    fn copies_send_the_whole_or_fail(steps in steps(), ops in ops(), max in 0..60usize, knows_its_end: bool) {
        let whole: Vec<u8> = steps.iter().flat_map(|step| match step {
            Step::Data(data) => data.clone(),
            _ => Vec::new(),
        }).collect();
        let has_trailers = matches!(steps.last(), Some(Step::Trailers));
        let fails = matches!(steps.last(), Some(Step::Fail));
        let fits = whole.len() + if has_trailers { TRAILERS_WEIGHT } else { 0 } <= max;

        let (mut script, gate) = Script::new(steps);
        script.knows_its_end = knows_its_end;
        let mut readers = vec![Reader::new(Replay::with_max(script, max))];
        let check = |reader: &Reader| {
            assert!(whole.starts_with(&reader.got));
            match &reader.outcome {
                Some(Ok(())) => {
                    assert_eq!(reader.got, whole);
                    assert_eq!(reader.trailers.is_some(), has_trailers);
                    assert!(!fails);
                }
                Some(Err(ReplayError::TooLarge)) => assert!(!fits),
                Some(Err(ReplayError::Body(_) | ReplayError::Broken)) => assert!(fails),
                None => {}
            }
            if let Source::Shared(player) = &reader.replay.source {
                assert!(player.recorded() <= max);
            }
        };
        for op in ops {
            match op {
                Op::Open => gate.open(),
                Op::Poll(n) => if let Some(reader) = readers.get_mut(n) {
                    reader.poll();
                    check(reader);
                },
                Op::Copy(n) => if let Some(reader) = readers.get(n) {
                    match reader.replay.duplicate() {
                        Some(copy) => readers.push(Reader::new(copy)),
                        None => assert!(fails || (!fits && reader.replay.refused().is_some())),
                    }
                },
                Op::Drop(n) => if n < readers.len() {
                    readers.remove(n);
                },
            }
        }
        // Who can still be whole: everybody, or after the tape was outgrown the one who goes on alone.
        let hopeful = readers.iter().filter(|reader| match (&reader.outcome, &reader.replay.source) {
            (Some(outcome), _) => outcome.is_ok(),
            (None, Source::Shared(player)) => !player.outgrown(),
            (None, Source::Empty | Source::Alone(_)) => true,
            (None, Source::Over(_)) => false,
        }).count();
        // To the end, polling only those who were woken: who is forgotten is stuck here.
        for _ in 0..=8 {
            while let Some(reader) = readers.iter_mut().find(|reader| reader.is_woken()) {
                reader.read();
            }
            gate.open();
        }
        for reader in &readers {
            check(reader);
            assert!(reader.outcome.is_some(), "a reader was never woken");
        }
        let whole_ones = readers.iter().filter(|reader| matches!(reader.outcome, Some(Ok(())))).count();
        if !fails {
            let expected = if fits { readers.len() } else { hopeful.min(1) };
            prop_assert_eq!(whole_ones, expected);
        }
    }
}
