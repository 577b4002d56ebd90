use std::convert::Infallible;
use std::future::{pending, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt};

use super::*;
use crate::{Clock, Error, Observer, Plain, Profile, Repeatable, Retry, RetryLayer, RetrySafety, RetrySettings};

type Outcome = Result<u32, Error<Infallible>>;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Hears what is told.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, _name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!(policy, PolicyKind::Timeout);
        self.0.lock().unwrap().push(event.clone());
    }
}

fn timeout(mode: Mode, clock: Clock) -> (Timeout, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let env = Env::new("test").with_clock(clock).with_observer(heard.clone());
    (Timeout::new(TimeoutSettings { mode, ..TimeoutSettings::default() }, &env).unwrap(), heard)
}

fn context(deadline: Option<Duration>, last: bool) -> CallContext {
    CallContext { deadline: deadline.map(Moment::from), last, ..CallContext::default() }
}

/// For what, and after how long, a call that hangs is cut off.
async fn cut(call: impl FnOnce(&Timeout) -> TimeoutFuture<std::future::Pending<Outcome>>) -> (Reason, Duration) {
    let (timeout, heard) = timeout(Mode::Enforce, Clock::tokio());
    let began = Instant::now();
    let error = call(&timeout).await.unwrap_err();
    let reason = error.reason().unwrap();
    assert_eq!(error.retry_safety(), RetrySafety::IfRepeatable);
    assert_eq!(*heard.0.lock().unwrap(), [Event::Rejected { reason, enforced: true }]);
    (reason, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_call_is_cut_off_after_the_total_and_a_try_after_its_own() {
    let none = context(None, false);
    assert_eq!(cut(|t| t.whole(&none, pending())).await, (Reason::TimeoutTotal, secs(15)));
    assert_eq!(cut(|t| t.one_try(&none, pending())).await, (Reason::TimeoutTry, secs(5)));
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_more_than_what_remains_until_the_deadline() {
    let soon = context(Some(secs(3)), false);
    assert_eq!(cut(|t| t.whole(&soon, pending())).await, (Reason::Deadline, secs(3)));
    assert_eq!(cut(|t| t.one_try(&soon, pending())).await, (Reason::Deadline, secs(3)));
    let late = context(Some(secs(60)), false);
    assert_eq!(cut(|t| t.whole(&late, pending())).await, (Reason::TimeoutTotal, secs(15)));
    assert_eq!(cut(|t| t.one_try(&late, pending())).await, (Reason::TimeoutTry, secs(5)));
    let past = context(Some(Duration::ZERO), false);
    assert_eq!(cut(|t| t.whole(&past, pending())).await.0, Reason::Deadline);
}

#[tokio::test(start_paused = true)]
async fn the_last_try_gets_all_that_remains() {
    let alone = context(None, true);
    assert_eq!(cut(|t| t.one_try(&alone, pending())).await, (Reason::TimeoutTry, secs(15)));
    let nine = context(Some(secs(9)), true);
    assert_eq!(cut(|t| t.one_try(&nine, pending())).await, (Reason::Deadline, secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_made_of_the_same_total_is_not_the_callers() {
    let allowed = |left| CallContext { allowed: true, ..context(Some(left), false) };
    let same = allowed(secs(15) - Duration::from_micros(10));
    assert_eq!(cut(|t| t.whole(&same, pending())).await.0, Reason::TimeoutTotal);
    // Nor is what is left of it for a try that began late.
    assert_eq!(cut(|t| t.one_try(&allowed(secs(2)), pending())).await.0, Reason::TimeoutTotal);
}

#[tokio::test(start_paused = true)]
async fn the_total_is_for_all_tries_and_the_pauses_between_them() {
    let env = Env::new("test").with_clock(Clock::tokio()).with_seed(7);
    let settings = RetrySettings { attempts: 10, ..RetrySettings::default() };
    let retry = Retry::new(settings, &env).unwrap();
    let timeout = Timeout::new(TimeoutSettings::default(), &env).unwrap();
    let sent = Arc::new(AtomicUsize::new(0));
    let seen = sent.clone();
    let service = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(timeout.clone()))
        .layer(RetryLayer::new(retry).profiled_by(Plain::repeatable()))
        .layer(TryTimeoutLayer::new(timeout))
        .service_fn(move |(): ()| {
            seen.fetch_add(1, Ordering::Relaxed);
            pending::<Outcome>()
        });
    let began = Instant::now();
    let error = service.oneshot(()).await.unwrap_err();
    assert_eq!((error.reason(), began.elapsed()), (Some(Reason::TimeoutTotal), secs(15)));
    assert_eq!(sent.load(Ordering::Relaxed), 3, "at 0 s, after 5 s and after 10 s");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_at_the_last_moment_is_taken() {
    let (timeout, heard) = timeout(Mode::Enforce, Clock::tokio());
    // Its timer was there first, so it is not the first to be woken.
    let mut call = pin!(timeout.whole(&CallContext::default(), async {
        tokio::time::sleep(secs(15)).await;
        Outcome::Ok(1)
    }));
    assert!(poll(call.as_mut()).is_pending());
    tokio::time::advance(secs(100)).await;
    assert_eq!(poll(call), Poll::Ready(Ok(1)));
    assert!(heard.0.lock().unwrap().is_empty());
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Neither a clock (this one panics) nor a timer (there is no runtime).
#[test]
fn a_call_that_is_answered_at_once_takes_no_time() {
    let (timeout, _) = timeout(Mode::Enforce, Clock::custom(|| panic!("nobody asked what time it is")));
    let context = context(Some(secs(1)), false);
    assert_eq!(poll(pin!(timeout.whole(&context, ready(Outcome::Ok(1))))), Poll::Ready(Ok(1)));
    assert_eq!(poll(pin!(timeout.one_try(&context, ready(Outcome::Ok(2))))), Poll::Ready(Ok(2)));
}

#[tokio::test(start_paused = true)]
async fn the_clock_starts_when_the_call_does() {
    let (timeout, _) = timeout(Mode::Enforce, Clock::tokio());
    let call = timeout.whole(&CallContext::default(), pending::<Outcome>());
    tokio::time::advance(secs(3600)).await;
    let began = Instant::now();
    assert_eq!(call.await.unwrap_err().reason(), Some(Reason::TimeoutTotal));
    assert_eq!(began.elapsed(), secs(15));
}

/// Counts itself while it lives.
struct Live(Arc<AtomicUsize>);

impl Live {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn hang(_live: Live) -> Outcome {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn what_is_cut_off_is_cancelled_although_its_future_is_kept() {
    let (timeout, _) = timeout(Mode::Enforce, Clock::tokio());
    let count = Arc::new(AtomicUsize::new(0));
    let mut call = pin!(timeout.whole(&CallContext::default(), hang(Live::new(&count))));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(count.load(Ordering::Relaxed), 1);
    tokio::time::advance(secs(15)).await;
    assert!(poll(call.as_mut()).is_ready());
    assert_eq!(count.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_future_dropped_at_any_point_drops_its_call() {
    let (timeout, heard) = timeout(Mode::Enforce, Clock::tokio());
    let count = Arc::new(AtomicUsize::new(0));
    for polls in 0..3 {
        let mut call = Box::pin(timeout.whole(&CallContext::default(), hang(Live::new(&count))));
        for _ in 0..polls {
            assert!(poll(call.as_mut()).is_pending());
        }
        drop(call);
        assert_eq!(count.load(Ordering::Relaxed), 0);
    }
    tokio::time::advance(secs(60)).await;
    assert!(heard.0.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_it_tells_once_and_the_call_goes_on() {
    let (timeout, heard) = timeout(Mode::Shadow, Clock::tokio());
    let call = async {
        for _ in 0..10 {
            tokio::time::sleep(secs(10)).await;
        }
        Outcome::Ok(1)
    };
    assert_eq!(timeout.whole(&CallContext::default(), call).await, Ok(1));
    assert_eq!(*heard.0.lock().unwrap(), [Event::Rejected { reason: Reason::TimeoutTotal, enforced: false }]);
}

/// It makes no timer, for there is no runtime.
#[test]
fn when_off_it_does_not_exist() {
    let (timeout, _) = timeout(Mode::Off, Clock::custom(|| panic!("nobody asked what time it is")));
    assert!(poll(pin!(timeout.whole(&context(Some(secs(1)), false), pending::<Outcome>()))).is_pending());
}

/// Tokio lets a task that has done much not even look at its timers.
#[tokio::test(start_paused = true)]
async fn a_call_that_never_rests_is_cut_off_all_the_same() {
    let (timeout, _) = timeout(Mode::Enforce, Clock::tokio());
    let greedy = async {
        loop {
            tokio::task::consume_budget().await;
        }
    };
    let mut call = pin!(timeout.whole(&CallContext::default(), async {
        let (): () = greedy.await;
        Outcome::Ok(1)
    }));
    assert!(poll(call.as_mut()).is_pending());
    tokio::time::advance(secs(15)).await;
    assert!(poll(call.as_mut()).is_ready());
}

/// Requests that carry what is said of them.
#[derive(Debug, Clone, Copy)]
struct Told;

impl Profile<CallContext> for Told {
    fn repeatable(&self, _request: &CallContext) -> Repeatable {
        Repeatable::ByDeclaration
    }
    fn duplicate(&self, request: &CallContext) -> Option<CallContext> {
        Some(*request)
    }
    fn stamp(&self, request: &mut CallContext, context: &CallContext) {
        *request = *context;
    }
    fn context(&self, request: &CallContext) -> CallContext {
        *request
    }
}

/// The layer that retries says which try is the last, and the one below hears it.
#[tokio::test(start_paused = true)]
async fn the_last_of_several_tries_may_take_the_rest_of_the_total() {
    let env = Env::new("test").with_clock(Clock::tokio()).with_seed(7);
    let settings = TimeoutSettings { total: secs(60), ..TimeoutSettings::default() };
    let timeout = Timeout::new(settings, &env).unwrap();
    let service = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(timeout.clone()).profiled_by(Told))
        .layer(RetryLayer::new(Retry::new(RetrySettings::default(), &env).unwrap()).profiled_by(Told))
        .layer(TryTimeoutLayer::new(timeout).profiled_by(Told))
        .service_fn(|context: CallContext| async move {
            tokio::time::sleep(secs(20)).await;
            Ok::<_, Error<Infallible>>(context.attempt)
        });
    let began = Instant::now();
    assert_eq!(service.oneshot(CallContext::default()).await, Ok(2));
    // Two tries of 5 s that were cut off, and one of 20 s that was not.
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn layers_ask_the_profile_for_the_deadline_and_pass_readiness_on() {
    let (timeout, _) = timeout(Mode::Enforce, Clock::tokio());
    let (mock, mut handle) = tower_test::mock::pair::<CallContext, u32>();
    handle.allow(1);
    let mut service = ServiceBuilder::new()
        .layer(TotalTimeoutLayer::new(timeout.clone()).profiled_by(Told))
        .layer(TryTimeoutLayer::new(timeout).profiled_by(Told))
        .service(mock);
    let began = Instant::now();
    let call = service.ready().await.unwrap().call(context(Some(secs(2)), false));
    let error = call.await.unwrap_err();
    assert_eq!(crate::PolicyError::rejection(&error).unwrap().reason, Reason::Deadline);
    assert_eq!(began.elapsed(), secs(2));
    assert!(poll(pin!(service.ready())).is_pending(), "the service below has allowed one call");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let fields = |total, per_try| {
        let settings = TimeoutSettings { mode: Mode::Enforce, total, per_try };
        match Timeout::new(settings, &Env::new("test")) {
            Ok(_) => vec![],
            Err(error) => error.problems().iter().map(|p| p.field.clone()).collect(),
        }
    };
    let none: Vec<String> = vec![];
    assert_eq!(fields(secs(15), secs(5)), none);
    assert_eq!(fields(crate::settings::DURATION_MAX, Duration::from_nanos(1)), none);
    assert_eq!(fields(secs(5), secs(5)), ["timeout.per_try"]);
    assert_eq!(fields(secs(5), secs(6)), ["timeout.per_try"]);
    assert_eq!(fields(secs(5), Duration::ZERO), ["timeout.per_try"]);
    assert_eq!(fields(Duration::ZERO, Duration::ZERO), ["timeout.total", "timeout.per_try"]);
    assert_eq!(fields(Duration::MAX, secs(5)), ["timeout.total"]);
    assert_eq!(fields(secs(5), Duration::MAX), ["timeout.per_try"]);
}

#[tokio::test(start_paused = true)]
async fn extreme_moments_never_panic() {
    let longest = TimeoutSettings {
        mode: Mode::Enforce,
        total: crate::settings::DURATION_MAX,
        per_try: crate::settings::DURATION_MAX - secs(1),
    };
    for now in [Moment::ZERO, Moment::MAX] {
        let env = Env::new("test").with_clock(Clock::custom(move || now));
        let timeout = Timeout::new(longest.clone(), &env).unwrap();
        for deadline in [None, Some(Moment::ZERO), Some(Moment::MAX)] {
            for last in [false, true] {
                let context = CallContext { deadline, last, ..CallContext::default() };
                let _ = poll(pin!(timeout.whole(&context, pending::<Outcome>())));
                let _ = poll(pin!(timeout.one_try(&context, pending::<Outcome>())));
            }
        }
    }
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_they_are_written() {
    let settings: TimeoutSettings = serde_json::from_str(r#"{"total": "10s", "mode": "shadow"}"#).unwrap();
    assert_eq!(settings, TimeoutSettings { mode: Mode::Shadow, total: secs(10), per_try: secs(5) });
    assert!(serde_json::from_str::<TimeoutSettings>(r#"{"totl": "10s"}"#).is_err());
    let text = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<TimeoutSettings>(&text).unwrap(), settings);
}
