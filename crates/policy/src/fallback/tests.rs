use std::sync::{Arc, Mutex};
use std::time::Duration;

use tower::{Layer, Service, ServiceExt};
use tower_test::mock::{self, Mock, SendResponse};

use super::*;
use crate::{BoxError, Clock, Env, Event, Judge, Mode, Observer, Plain, PolicyKind, Reason, Rejection, Verdict};

type Res = String;
type Outcome = Result<Res, BoxError>;

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!((name, policy), ("x", PolicyKind::Fallback));
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Heard {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn fallback(settings: FallbackSettings) -> (Fallback, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let env = Env::new("x").with_clock(Clock::manual().0).with_observer(heard.clone());
    (Fallback::new(settings, &env).unwrap(), heard)
}

const ANSWERED: Event = Event::Fallback { enforced: true };

fn failed(why: &'static str) -> Event {
    Event::FallbackFailed { why }
}

fn boxed(error: impl Into<BoxError>) -> BoxError {
    error.into()
}

/// A service that turns "fail" into an error, "503" into an answer of failure, and echoes anything else.
fn echo() -> impl Service<&'static str, Response = Res, Error = BoxError, Future: Unpin> + Clone {
    tower::service_fn(|request: &'static str| {
        std::future::ready(match request {
            "fail" => Err(boxed("failed")),
            other => Ok(other.to_owned()),
        })
    })
}

fn judge(outcome: Result<&Res, &BoxError>) -> Verdict {
    match outcome {
        Ok(response) if response != "503" => Verdict::GOOD,
        _ => Verdict::FAILED,
    }
}

fn canned(failure: Result<&Res, &BoxError>) -> Res {
    match failure {
        Ok(response) => format!("instead of {response}"),
        Err(error) => format!("instead of {error}"),
    }
}

async fn ask<S: Service<Req>, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error> {
    service.ready().await?.call(request).await
}

#[tokio::test]
async fn a_failure_is_answered_and_marked_and_a_success_is_left_alone() {
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let layer = FallbackLayer::new(fallback, Canned::new(canned)).judged_by(judge).marked_by(|r: &mut Res| r.push('!'));
    let mut service = layer.layer(echo());
    for (request, response) in [("a", "a"), ("fail", "instead of failed!"), ("503", "instead of 503!"), ("b", "b")] {
        assert_eq!(ask(&mut service, request).await.unwrap(), response);
    }
    assert_eq!(heard.take(), [ANSWERED, ANSWERED]);
}

/// Of our own decisions those are answered that protect the service, and not those about the caller.
#[test]
fn the_callers_own_failures_are_not_answered() {
    let (fallback, _heard) = fallback(FallbackSettings::enforced());
    for reason in Reason::ALL {
        let outcome: Outcome = Err(Box::new(Rejection::unsent(*reason)));
        let callers = matches!(reason, Reason::RateLimited | Reason::BodyTooLarge | Reason::Deadline);
        assert_eq!(fallback.try_acquire(&Plain::new(), &outcome).is_none(), callers, "{reason}");
    }
    let aside = |_: Result<&Res, &BoxError>| Verdict::ASIDE;
    assert!(fallback.try_acquire(&aside, &Err(boxed("the client went away"))).is_none());
    assert!(fallback.try_acquire(&Plain::new(), &Outcome::Ok("404".into())).is_none());
}

#[tokio::test]
async fn if_the_substitute_fails_too_the_caller_gets_the_first_failure() {
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let other = tower::service_fn(|_: &'static str| std::future::ready(Err::<Res, _>(boxed("the other failed"))));
    let mut service = FallbackLayer::new(fallback.clone(), Elsewhere::new(other)).layer(echo());
    assert_eq!(ask(&mut service, "fail").await.unwrap_err().to_string(), "failed");
    // An answer that the judge takes for a failure is one.
    let other = tower::service_fn(|_: &'static str| std::future::ready(Ok("503".to_owned())));
    let mut service = FallbackLayer::new(fallback.clone(), Elsewhere::new(other)).judged_by(judge).layer(echo());
    assert_eq!(ask(&mut service, "fail").await.unwrap_err().to_string(), "failed");
    assert_eq!(heard.take(), [failed("failed"), failed("failed")]);
    assert_eq!(fallback.in_flight(), 0);
}

#[tokio::test]
async fn another_service_gets_a_copy_of_the_request() {
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let other = tower::service_fn(|request: &'static str| std::future::ready(Ok(format!("elsewhere: {request}"))));
    let mut service = FallbackLayer::new(fallback, Elsewhere::new(other)).layer(echo());
    assert_eq!(ask(&mut service, "fail").await.unwrap(), "elsewhere: fail");
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(heard.take(), [ANSWERED]);
}

#[tokio::test]
async fn a_request_that_cannot_be_copied_is_not_answered_elsewhere() {
    #[derive(Clone)]
    struct NoCopies;
    impl crate::Profile<&'static str> for NoCopies {}
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let mut service = FallbackLayer::new(fallback, Elsewhere::new(echo()).profiled_by(NoCopies)).layer(echo());
    assert!(ask(&mut service, "fail").await.is_err());
    assert_eq!(heard.take(), []);
}

type Pair = (mock::Handle<&'static str, Res>, mock::Handle<&'static str, Res>);

/// A layer between a mocked service and a mocked other.
fn mocked(
    fallback: Fallback,
) -> (impl Service<&'static str, Response = Res, Error = BoxError, Future: Send + 'static>, Pair) {
    let (service, first) = mock::pair::<&'static str, Res>();
    let (other, second): (Mock<&'static str, Res>, _) = mock::pair();
    (FallbackLayer::new(fallback, Elsewhere::new(other)).layer(service), (first, second))
}

async fn next(handle: &mut mock::Handle<&'static str, Res>) -> SendResponse<Res> {
    handle.next_request().await.unwrap().1
}

#[tokio::test]
async fn no_more_than_its_bulkhead_holds_are_answered_at_once() {
    let (fallback, heard) = fallback(FallbackSettings { in_flight: 2, ..FallbackSettings::enforced() });
    let (mut service, (mut first, mut second)) = mocked(fallback.clone());
    let mut calls = Vec::new();
    for _ in 0..2 {
        calls.push(tokio::spawn(service.ready().await.unwrap().call("a")));
        next(&mut first).await.send_error("failed");
    }
    let answers = [next(&mut second).await, next(&mut second).await];
    assert_eq!(fallback.in_flight(), 2);
    let third = tokio::spawn(service.ready().await.unwrap().call("a"));
    next(&mut first).await.send_error("the third failed");
    assert_eq!(third.await.unwrap().unwrap_err().to_string(), "the third failed");
    for answer in answers {
        answer.send_response("other".into());
    }
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "other");
    }
    assert_eq!(fallback.in_flight(), 0);
    assert_eq!(heard.take(), [failed("full"), ANSWERED, ANSWERED]);
}

/// Dropped while the service has it, while the other is asked whether it is ready, and while the other has it.
#[tokio::test]
async fn a_call_that_is_dropped_gives_its_place_back_wherever_it_was() {
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let (mut service, (mut first, mut second)) = mocked(fallback.clone());

    let mut call = tokio_test_task(service.ready().await.unwrap().call("a"));
    assert!(call.poll().is_pending());
    let _send = next(&mut first).await;
    drop(call);
    assert_eq!(fallback.in_flight(), 0);

    second.allow(0);
    let mut call = tokio_test_task(service.ready().await.unwrap().call("a"));
    next(&mut first).await.send_error("failed");
    assert!(call.poll().is_pending());
    assert_eq!(fallback.in_flight(), 1);
    drop(call);
    assert_eq!(fallback.in_flight(), 0);

    second.allow(1);
    let mut call = tokio_test_task(service.ready().await.unwrap().call("a"));
    next(&mut first).await.send_error("failed");
    assert!(call.poll().is_pending());
    let _send = next(&mut second).await;
    assert_eq!(fallback.in_flight(), 1);
    drop(call);
    assert_eq!(fallback.in_flight(), 0);
    assert_eq!(heard.take(), []);
}

/// A future that is polled by hand.
struct Task<F>(std::pin::Pin<Box<F>>);

fn tokio_test_task<F: Future>(future: F) -> Task<F> {
    Task(Box::pin(future))
}

impl<F: Future> Task<F> {
    fn poll(&mut self) -> std::task::Poll<F::Output> {
        self.0.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}

type Question = (&'static str, bool);
type Key = fn(&Question) -> Option<&'static str>;

fn last_good(settings: LastGoodSettings) -> (LastGood<&'static str, Res, Key>, crate::Hand) {
    fn key(question: &Question) -> Option<&'static str> {
        (!question.0.is_empty()).then_some(question.0)
    }
    let (clock, hand) = Clock::manual();
    (LastGood::new(settings, &Env::new("x").with_clock(clock).with_seed(1), key as Key).unwrap(), hand)
}

/// Answers with its number, or fails.
fn numbered() -> impl Service<Question, Response = Res, Error = BoxError, Future: Unpin> + Clone {
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    tower::service_fn(move |(name, works): Question| {
        let n = calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::future::ready(if works { Ok(format!("{name}{n}")) } else { Err(boxed("failed")) })
    })
}

#[tokio::test]
async fn the_last_good_answer_to_the_same_question_is_given_until_it_is_too_old() {
    let (fallback, heard) = fallback(FallbackSettings::enforced());
    let (last_good, hand) = last_good(LastGoodSettings { age_max: Duration::from_secs(60), ..Default::default() });
    let mut service = FallbackLayer::new(fallback, last_good.clone()).layer(numbered());
    assert!(ask(&mut service, ("a", false)).await.is_err());
    assert_eq!(ask(&mut service, ("a", true)).await.unwrap(), "a1");
    assert_eq!(ask(&mut service, ("a", true)).await.unwrap(), "a2");
    assert_eq!(ask(&mut service, ("a", false)).await.unwrap(), "a2");
    assert!(ask(&mut service, ("b", false)).await.is_err());
    hand.advance(Duration::from_secs(59));
    assert_eq!(ask(&mut service, ("a", false)).await.unwrap(), "a2");
    // An answer that was given instead does not become the last good one.
    hand.advance(Duration::from_secs(1));
    assert!(ask(&mut service, ("a", false)).await.is_err());
    // Without a key nothing is kept.
    assert!(ask(&mut service, ("", true)).await.is_ok());
    assert!(ask(&mut service, ("", false)).await.is_err());
    assert_eq!(last_good.keys(), 1);
    assert_eq!(heard.take(), [failed("none"), ANSWERED, failed("none"), ANSWERED, failed("none")]);
}

#[tokio::test]
async fn no_more_answers_are_kept_than_there_is_room_for() {
    let (last_good, _hand) = last_good(LastGoodSettings { keys_max: 10, ..Default::default() });
    for n in 0..1000 {
        let key: &'static str = Box::leak(n.to_string().into_boxed_str());
        Substitute::<Question, Res, BoxError>::good(&last_good, key, &"answer".into());
    }
    assert_eq!(last_good.keys(), 10);
}

#[tokio::test]
async fn one_around_the_other_is_the_last_good_answer_else_a_canned_one() {
    let (outer, _heard) = fallback(FallbackSettings::enforced());
    let (inner, _heard) = fallback(FallbackSettings::enforced());
    let (last_good, _hand) = last_good(LastGoodSettings::default());
    let service = FallbackLayer::new(inner, last_good).layer(numbered());
    let mut service = FallbackLayer::new(outer, Canned::new(canned)).layer(service);
    assert_eq!(ask(&mut service, ("a", false)).await.unwrap(), "instead of failed");
    assert_eq!(ask(&mut service, ("a", true)).await.unwrap(), "a1");
    assert_eq!(ask(&mut service, ("a", false)).await.unwrap(), "a1");
}

#[tokio::test]
async fn shadow_tells_and_answers_nothing_and_off_does_neither() {
    for (mode, told) in [(Mode::Off, vec![]), (Mode::Shadow, vec![Event::Fallback { enforced: false }])] {
        let (fallback, heard) = fallback(FallbackSettings { mode, ..FallbackSettings::default() });
        let mut service = FallbackLayer::new(fallback, Canned::new(canned)).layer(echo());
        assert_eq!(ask(&mut service, "fail").await.unwrap_err().to_string(), "failed");
        assert_eq!(heard.take(), told);
    }
}

/// The bound of the calls between the atomics, by counts.
#[test]
fn threads_never_hold_more_permits_than_there_are() {
    let (fallback, _heard) = fallback(FallbackSettings { in_flight: 3, ..FallbackSettings::enforced() });
    let held = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5000 {
                    let outcome: Outcome = Err(boxed("failed"));
                    if let Some(permit) = fallback.try_acquire(&Plain::new(), &outcome) {
                        assert!(held.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3);
                        held.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(permit);
                    }
                }
            });
        }
    });
    assert_eq!(fallback.in_flight(), 0);
}

#[cfg(feature = "http")]
#[test]
fn the_header_marks_an_answer() {
    let mut response = http::Response::new(());
    FallbackHeader.mark(&mut response);
    assert_eq!(response.headers()["mainstay-fallback"], "1");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = FallbackSettings { in_flight: 0, ..FallbackSettings::enforced() }.check().unwrap_err();
    assert_eq!(error.problems()[0].field, "fallback.in_flight");
    assert!(FallbackSettings { in_flight: u32::MAX, ..FallbackSettings::enforced() }.check().is_ok());
    for age_max in [Duration::ZERO, Duration::MAX] {
        let error = LastGoodSettings { keys_max: 0, age_max }.check().unwrap_err();
        let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, ["fallback.keys_max", "fallback.age_max"]);
    }
}

#[cfg(feature = "serde")]
#[test]
fn what_is_written_acts() {
    let read = |text: &str| serde_json::from_str::<FallbackSettings>(text);
    assert_eq!(read("{}").unwrap(), FallbackSettings::enforced());
    assert_eq!(read(r#"{"mode": "off", "in_flight": 3}"#).unwrap().mode, Mode::Off);
    assert!(read(r#"{"in_flights": 3}"#).is_err());
    let off = FallbackSettings::default();
    assert_eq!(off.mode, Mode::Off);
    assert_eq!(read(&serde_json::to_string(&off).unwrap()).unwrap(), off);
}

/// A function that judges and one that is `Plain` are both judges; this holds the types together.
#[test]
fn any_judge_will_do() {
    fn is_judge<J: Judge<Res, BoxError>>(_: &J) {}
    is_judge(&judge);
    is_judge(&Plain::new());
}
