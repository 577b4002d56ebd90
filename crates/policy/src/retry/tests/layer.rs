//! The layer, poll by poll, around a service that does what it is told.

use std::collections::VecDeque;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};

use super::{Told, UNLIMITED, not_retried};
use crate::*;

/// A request that says of itself what may be done with it.
#[derive(Debug, Clone, PartialEq)]
struct Req {
    repeatable: bool,
    copies: bool,
    context: CallContext,
}

const GET: Req = Req { repeatable: true, copies: true, context: FIRST };
const POST: Req = Req { repeatable: false, ..GET };
const FIRST: CallContext = CallContext { tenant: 7, ..CallContext::FIRST };

#[derive(Debug, Clone)]
struct Knows;

impl Profile<Req> for Knows {
    fn repeatable(&self, request: &Req) -> Repeatable {
        if request.repeatable { Repeatable::ByMethod } else { Repeatable::No }
    }
    fn duplicate(&self, request: &Req) -> Option<Req> {
        request.copies.then(|| request.clone())
    }
    fn context(&self, request: &Req) -> CallContext {
        request.context
    }
    fn stamp(&self, request: &mut Req, context: &CallContext) {
        request.context = *context;
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    no_retry: Option<Reason>,
}

const fn answer(status: u16) -> Answer {
    Answer { status, no_retry: None }
}

type Failed = Error<std::io::ErrorKind>;

#[derive(Debug, Clone)]
struct ByStatus;

impl Judge<Answer, Failed> for ByStatus {
    fn judge(&self, outcome: Result<&Answer, &Failed>) -> Verdict {
        match outcome {
            Ok(Answer { no_retry: Some(_), .. }) => Verdict { retry_safety: RetrySafety::No, ..Verdict::FAILED },
            Ok(Answer { status: 500.., .. }) => Verdict::FAILED,
            Ok(_) => Verdict::GOOD,
            Err(_) => Verdict::UNSENT,
        }
    }
    fn forbid_retry(&self, response: &mut Answer, reason: Reason) {
        response.no_retry = Some(reason);
    }
}

/// What all clones of a service share.
#[derive(Default)]
struct Script {
    /// What the next calls get; nothing: they hang.
    outcomes: Mutex<VecDeque<Result<Answer, Failed>>>,
    /// What calls got to see, with the number of the clone.
    calls: Mutex<Vec<(usize, CallContext)>>,
    /// Whether clones become ready, or fail to.
    ready: Mutex<Option<Poll<Result<(), Failed>>>>,
    clones: Mutex<usize>,
}

struct Scripted {
    script: Arc<Script>,
    number: usize,
    ready: bool,
}

impl Clone for Scripted {
    fn clone(&self) -> Self {
        let mut clones = self.script.clones.lock().unwrap();
        *clones += 1;
        Self { script: self.script.clone(), number: *clones, ready: false }
    }
}

impl Service<Req> for Scripted {
    type Response = Answer;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Failed>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let ready = self.script.ready.lock().unwrap().clone().unwrap_or(Poll::Ready(Ok(())));
        self.ready = ready == Poll::Ready(Ok(()));
        ready
    }

    fn call(&mut self, request: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been asked");
        self.script.calls.lock().unwrap().push((self.number, request.context));
        match self.script.outcomes.lock().unwrap().pop_front() {
            Some(outcome) => Box::pin(ready(outcome)),
            None => Box::pin(pending()),
        }
    }
}

struct Rig {
    script: Arc<Script>,
    retry: Retry,
    told: Arc<Told>,
    service: RetryService<Scripted, Knows, ByStatus>,
}

impl Rig {
    fn new(settings: RetrySettings, outcomes: impl IntoIterator<Item = Result<Answer, Failed>>) -> Self {
        let script = Arc::new(Script::default());
        script.outcomes.lock().unwrap().extend(outcomes);
        let told = Arc::new(Told::default());
        let env = Env::new("test").with_clock(Clock::tokio()).with_seed(1).with_observer(told.clone());
        let retry = Retry::new(settings, &env).unwrap();
        let layer = RetryLayer::new(retry.clone()).profiled_by(Knows).judged_by(ByStatus);
        let service = layer.layer(Scripted { script: script.clone(), number: 0, ready: false });
        Self { script, retry, told, service }
    }

    async fn call(&mut self, request: Req) -> Result<Answer, Failed> {
        let call = self.service.ready().await?.call(request);
        // An attempt too many hangs; in paused time that is seen at once.
        tokio::time::timeout(Duration::from_secs(3600), call).await.expect("there are no more attempts")
    }

    fn calls(&self) -> Vec<(usize, CallContext)> {
        self.script.calls.lock().unwrap().clone()
    }

    fn idle(&self) -> bool {
        (self.retry.budget().active(), self.retry.budget().retrying()) == (0, 0)
    }
}

fn unlimited() -> RetrySettings {
    RetrySettings { budget: UNLIMITED, ..RetrySettings::default() }
}

/// Nothing can be retried.
fn broke() -> RetrySettings {
    let floor = Rate { count: 1, per: Duration::from_secs(86_400) };
    RetrySettings { budget: BudgetSettings { share: Share::NONE, floor, ..UNLIMITED }, ..RetrySettings::default() }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_passes_clones_nothing_and_is_told_nothing_new() {
    let mut rig = Rig::new(unlimited(), [Ok(answer(200)), Ok(answer(404))]);
    assert_eq!(rig.call(GET).await, Ok(answer(200)));
    assert_eq!(rig.call(GET).await, Ok(answer(404)));
    assert_eq!(rig.calls(), [(0, FIRST), (0, FIRST)]);
    // One, when the layer was put around it.
    assert_eq!(*rig.script.clones.lock().unwrap(), 1);
    assert_eq!((rig.told.take(), rig.idle()), (vec![], true));
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_through_a_fresh_clone_and_says_which_attempt_it_is() {
    let mut rig = Rig::new(unlimited(), [Ok(answer(503)), Ok(answer(502)), Ok(answer(200))]);
    assert_eq!(rig.call(GET).await, Ok(answer(200)));
    let second = CallContext { attempt: 1, ..FIRST };
    let third = CallContext { attempt: 2, last: true, ..FIRST };
    assert_eq!(rig.calls(), [(0, FIRST), (2, second), (3, third)]);
    assert!(rig.idle());
    // The service itself is as ready as it ever was.
    rig.script.outcomes.lock().unwrap().push_back(Ok(answer(200)));
    assert_eq!(rig.call(GET).await, Ok(answer(200)));
    assert_eq!(rig.calls()[3], (0, FIRST));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_repeated_is_told_that_it_is_the_last() {
    let mut rig = Rig::new(unlimited(), [Ok(answer(503)), Err(std::io::ErrorKind::ConnectionRefused.into())]);
    assert_eq!(rig.call(POST).await, Ok(answer(503)));
    assert_eq!(rig.calls(), [(0, CallContext { last: true, ..FIRST })]);
    assert_eq!(rig.told.take(), not_retried("unsafe"));
    // Unless it was never sent.
    rig.script.outcomes.lock().unwrap().push_back(Ok(answer(201)));
    assert_eq!(rig.call(POST).await, Ok(answer(201)));
    assert_eq!(rig.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_a_copy_there_is_no_retry() {
    let mut rig = Rig::new(unlimited(), [Ok(answer(503))]);
    assert_eq!(rig.call(Req { copies: false, ..GET }).await, Ok(answer(503)));
    assert_eq!((rig.told.take(), rig.calls().len(), rig.idle()), (not_retried("no_copy"), 1, true));
}

/// A body can turn out to be too large while it is sent.
#[tokio::test(start_paused = true)]
async fn a_copy_that_is_gone_costs_no_token() {
    #[derive(Clone)]
    struct Once(Arc<Mutex<u32>>);
    impl Profile<Req> for Once {
        fn repeatable(&self, _: &Req) -> Repeatable {
            Repeatable::ByMethod
        }
        fn duplicate(&self, request: &Req) -> Option<Req> {
            let mut copies = self.0.lock().unwrap();
            *copies += 1;
            (*copies == 1).then(|| request.clone())
        }
    }
    let rig = Rig::new(RetrySettings::default(), [Ok(answer(503))]);
    let layer = RetryLayer::new(rig.retry.clone()).profiled_by(Once(Arc::default())).judged_by(ByStatus);
    let service = layer.layer(Scripted { script: rig.script.clone(), number: 0, ready: false });
    assert_eq!(service.oneshot(GET).await, Ok(answer(503)));
    assert_eq!((rig.told.take(), rig.retry.budget().level()), (not_retried("no_copy"), Share::ALL));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_marks_answers_and_errors() {
    let refused = Failed::from(std::io::ErrorKind::ConnectionRefused);
    let mut rig = Rig::new(broke(), [Ok(answer(503)), Err(refused.clone())]);
    let marked = Answer { no_retry: Some(Reason::RetryBudget), ..answer(503) };
    assert_eq!(rig.call(GET).await, Ok(marked));
    assert_eq!(rig.call(GET).await, Err(refused.without_retry(Reason::RetryBudget)));
    assert_eq!(rig.told.take(), [not_retried("retry_budget"), not_retried("retry_budget")].concat());
}

/// The mark is honoured: nine attempts become three, and with an inner budget that is used up, one.
#[tokio::test(start_paused = true)]
async fn of_two_stacked_layers_only_one_retries_when_the_budget_is_used_up() {
    for (settings, expected) in [(broke(), 1), (unlimited(), 9)] {
        for failure in [Ok(answer(503)), Err(std::io::ErrorKind::ConnectionRefused.into())] {
            let inner = Rig::new(settings.clone(), std::iter::repeat_n(failure, 20));
            let outer = Rig::new(unlimited(), []);
            let layer = RetryLayer::new(outer.retry.clone()).profiled_by(Knows).judged_by(ByStatus);
            let outcome = layer.layer(inner.service.clone()).oneshot(GET).await;
            assert_eq!(inner.calls().len(), expected);
            // And who called hears of it.
            let marked = match outcome {
                Ok(answer) => answer.no_retry.is_some(),
                Err(error) => error.retry_forbidden().is_some(),
            };
            assert_eq!(marked, expected == 1);
        }
    }
}

/// What a layer above sends again, by retry or hedge, is no first attempt: it deposits nothing, and goes on counting.
#[tokio::test(start_paused = true)]
async fn only_first_attempts_deposit() {
    let settings = BudgetSettings { share: Share::ALL, floor: Rate::per_second(0), concurrent_min: 3 };
    let outcomes = [Ok(answer(200)), Ok(answer(200)), Ok(answer(503)), Ok(answer(200))];
    let mut rig = Rig::new(RetrySettings { budget: settings, ..RetrySettings::default() }, outcomes);
    for context in [CallContext { attempt: 1, ..FIRST }, CallContext { hedged: true, ..FIRST }] {
        rig.call(Req { context, ..GET }).await.unwrap();
        assert_eq!(rig.retry.budget().remaining_milli(), 0);
    }
    rig.retry.budget().set_settings(UNLIMITED).unwrap();
    rig.call(Req { context: CallContext { attempt: 1, ..FIRST }, ..GET }).await.unwrap();
    assert_eq!(rig.calls()[3].1.attempt, 2);
    assert!(rig.idle());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_the_wait_would_miss_is_kept() {
    let backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1) };
    let mut rig = Rig::new(RetrySettings { backoff, ..unlimited() }, std::iter::repeat_n(Ok(answer(503)), 9));
    let begun = tokio::time::Instant::now();
    let context = CallContext { deadline: Some(Moment::from(Duration::from_nanos(1))), ..FIRST };
    assert_eq!(rig.call(Req { context, ..GET }).await, Ok(answer(503)));
    assert_eq!((begun.elapsed(), rig.told.take()), (Duration::ZERO, not_retried("deadline")));
}

/// Dropped at every point where it can wait, it gives back what it holds; back-off counts as running (envoy#30205).
#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_all_back() {
    let mut settings = unlimited();
    settings.backoff = Backoff { base: Duration::from_secs(1), max: Duration::from_secs(1) };
    // The first attempt hangs.
    let mut rig = Rig::new(settings.clone(), []);
    let mut call = Box::pin(rig.service.ready().await.unwrap().call(GET));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!((rig.retry.budget().active(), rig.retry.budget().retrying()), (1, 0));
    drop(call);
    assert!(rig.idle());

    // In back-off; then waiting for a clone that is not ready; then in the second attempt, which hangs.
    for stop in 0..3 {
        let mut rig = Rig::new(settings.clone(), [Ok(answer(503))]);
        let mut call = Box::pin(rig.service.ready().await.unwrap().call(GET));
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!((rig.retry.budget().active(), rig.retry.budget().retrying()), (1, 1));
        if stop > 0 {
            *rig.script.ready.lock().unwrap() = Some(Poll::Pending);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(poll(call.as_mut()).is_pending());
            assert_eq!(rig.calls().len(), 1);
        }
        if stop > 1 {
            *rig.script.ready.lock().unwrap() = None;
            assert!(poll(call.as_mut()).is_pending());
            assert_eq!(rig.calls().len(), 2);
        }
        assert_eq!((rig.retry.budget().active(), rig.retry.budget().retrying()), (1, 1));
        drop(call);
        assert!(rig.idle(), "stop {stop}");
    }
    // Never polled.
    drop(rig.service.ready().await.unwrap().call(GET));
    assert!(rig.idle());
}

#[tokio::test(start_paused = true)]
async fn a_clone_that_cannot_become_ready_fails_the_call_and_costs_no_token() {
    let mut rig = Rig::new(RetrySettings::default(), [Ok(answer(503))]);
    let call = rig.service.ready().await.unwrap().call(GET);
    let broken = Failed::from(std::io::ErrorKind::BrokenPipe);
    *rig.script.ready.lock().unwrap() = Some(Poll::Ready(Err(broken.clone())));
    assert_eq!(call.await, Err(broken));
    assert_eq!((rig.retry.budget().level(), rig.idle()), (Share::ALL, true));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_and_off_the_first_outcome_is_the_outcome() {
    for (mode, told) in [(Mode::Shadow, 2), (Mode::Off, 0)] {
        for settings in [unlimited(), broke()] {
            let mut rig = Rig::new(RetrySettings { mode, ..settings }, std::iter::repeat_n(Ok(answer(503)), 2));
            for _ in 0..2 {
                assert_eq!(rig.call(GET).await, Ok(answer(503)));
            }
            assert_eq!(rig.calls(), [(0, FIRST), (0, FIRST)]);
            assert_eq!((rig.told.take().len(), rig.idle()), (told, true));
        }
    }
}
