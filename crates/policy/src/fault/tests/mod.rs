mod settings;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::{BoxError, Clock, Env, Event, Hand, Mode, Moment, Observer, PolicyKind, Rejection, RetrySafety, Share};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!((name, policy), ("x", PolicyKind::Fault));
        self.0.lock().unwrap().push(event.clone());
    }
}

fn manual() -> (Fault, Hand, Arc<Heard>) {
    let (clock, hand) = Clock::manual();
    let heard = Arc::new(Heard::default());
    (Fault::new(&Env::new("x").with_clock(clock).with_seed(1).with_observer(heard.clone())), hand, heard)
}

/// For tests with paused time.
fn paused() -> Fault {
    Fault::new(&Env::new("x").with_clock(Clock::tokio()).with_seed(1))
}

fn of(kind: FaultKind) -> FaultSettings {
    FaultSettings { kind: Some(kind), ..FaultSettings::default() }
}

fn delayed(delay: Duration) -> FaultSettings {
    FaultSettings { delay: Some(Delay::Fixed(delay)), ..FaultSettings::default() }
}

/// Counts the requests that reach it.
#[derive(Clone, Default)]
struct Upstream(Arc<AtomicU32>);

impl Upstream {
    fn seen(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Service<&'static str> for Upstream {
    type Response = String;
    type Error = BoxError;
    type Future = std::future::Ready<Result<String, BoxError>>;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: &'static str) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Ok(request.to_owned()))
    }
}

async fn ask<S: Service<&'static str>>(service: &mut S, request: &'static str) -> Result<S::Response, S::Error> {
    service.ready().await?.call(request).await
}

fn safety(outcome: Result<String, BoxError>) -> RetrySafety {
    let error = outcome.unwrap_err();
    let rejection = error.downcast_ref::<Rejection>().unwrap();
    assert_eq!(rejection.reason.code(), "fault_injected");
    rejection.retry_safety
}

#[tokio::test(start_paused = true)]
async fn each_kind_looks_from_outside_like_what_it_stands_for() {
    let fault = paused();
    let upstream = Upstream::default();
    let mut service = FaultLayer::new(fault.clone()).layer(upstream.clone());
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(upstream.seen(), 1);

    // kind, what the caller gets, and how many requests the service has seen since.
    for (kind, outcome, seen) in [
        (FaultKind::Abort, Some(RetrySafety::IfRepeatable), 0),
        (FaultKind::Answer(503), Some(RetrySafety::IfRepeatable), 0),
        (FaultKind::Refuse, Some(RetrySafety::Safe), 0),
        (FaultKind::Hang, Some(RetrySafety::IfRepeatable), 0),
        (FaultKind::DropResponse, Some(RetrySafety::IfRepeatable), 1),
        (FaultKind::Duplicate, None, 2),
    ] {
        let before = upstream.seen();
        fault.arm(of(kind)).unwrap();
        let answer = ask(&mut service, "a").await;
        match outcome {
            Some(expected) => assert_eq!(safety(answer), expected, "{kind:?}"),
            None => assert_eq!(answer.unwrap(), "a"),
        }
        assert_eq!(upstream.seen() - before, seen, "{kind:?}");
        assert_eq!(fault.at_once(), 0);
    }
    fault.disarm();
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
}

/// istio#13705: what stands outside meets the fault as it would meet a real one, and gets over it.
#[tokio::test]
async fn istio_13705_a_retry_outside_meets_the_fault() {
    #[derive(Clone)]
    struct Once;
    impl tower::retry::Policy<&'static str, String, BoxError> for Once {
        type Future = std::future::Ready<()>;
        fn retry(&mut self, _: &mut &'static str, outcome: &mut Result<String, BoxError>) -> Option<Self::Future> {
            let rejection = outcome.as_ref().err()?.downcast_ref::<Rejection>()?;
            (rejection.retry_safety == RetrySafety::Safe).then(|| std::future::ready(()))
        }
        fn clone_request(&mut self, request: &&'static str) -> Option<&'static str> {
            Some(request)
        }
    }
    let (fault, _hand, _heard) = manual();
    let upstream = Upstream::default();
    let service = FaultLayer::new(fault.clone()).layer(upstream.clone());
    let mut service = tower::retry::RetryLayer::new(Once).layer(service);
    fault.arm(FaultSettings { nth: Some(1), ..of(FaultKind::Refuse) }).unwrap();
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(upstream.seen(), 1);
    // What may have been seen is not sent again by such a policy: the fault is told from one that was never sent.
    fault.arm(FaultSettings { nth: Some(1), ..of(FaultKind::Abort) }).unwrap();
    assert_eq!(safety(ask(&mut service, "a").await), RetrySafety::IfRepeatable);
}

/// A breaker outside counts faults as failures of the service.
#[tokio::test]
async fn a_breaker_outside_trips_on_faults() {
    let (fault, _hand, _heard) = manual();
    let env = Env::new("y").with_clock(Clock::manual().0);
    let breaker = crate::Breaker::new(crate::BreakerSettings::default(), &env).unwrap();
    let service = FaultLayer::new(fault.clone()).layer(Upstream::default());
    let mut service = crate::BreakerLayer::new(breaker.clone()).layer(service);
    fault.arm(of(FaultKind::Abort)).unwrap();
    for _ in 0..10 {
        assert!(ask(&mut service, "a").await.is_err());
    }
    assert_eq!(breaker.state(), crate::BreakerState::Open);
}

#[test]
fn a_fault_that_nobody_clears_ends_by_itself() {
    let (fault, hand, heard) = manual();
    fault.arm(of(FaultKind::Abort)).unwrap();
    assert_eq!(fault.armed(), Some(600 * SECOND));
    hand.advance(599 * SECOND);
    assert!(fault.inject().is_some());
    hand.advance(SECOND);
    assert!(fault.inject().is_none());
    assert_eq!(fault.armed(), None);
    let state = |from, to| Event::State { from, to, enforced: true };
    let hit = Event::Fault { kind: "abort", enforced: true };
    assert_eq!(*heard.0.lock().unwrap(), [state("disarmed", "armed"), hit, state("armed", "expired")]);
}

#[test]
fn a_clock_that_was_set_back_ends_it() {
    let (fault, hand, _heard) = manual();
    hand.set(Moment::from(3600 * SECOND));
    fault.arm(of(FaultKind::Abort)).unwrap();
    // Threads may differ a little in what they read.
    hand.set(Moment::from(3600 * SECOND - Duration::from_millis(1)));
    assert!(fault.inject().is_some());
    hand.set(Moment::ZERO);
    assert!(fault.inject().is_none());
    hand.set(Moment::from(3600 * SECOND));
    assert!(fault.inject().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_let_go_when_the_time_of_the_fault_is_over() {
    let fault = paused();
    let mut service = FaultLayer::new(fault.clone()).layer(Upstream::default());
    fault.arm(FaultSettings { ttl: 60 * SECOND, ..of(FaultKind::Hang) }).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(safety(ask(&mut service, "a").await), RetrySafety::IfRepeatable);
    assert_eq!(start.elapsed().as_secs(), 60);
    assert_eq!(fault.armed(), None);
}

#[tokio::test(start_paused = true)]
async fn disarming_lets_go_of_what_is_held_back() {
    let fault = paused();
    let upstream = Upstream::default();
    let mut service = FaultLayer::new(fault.clone()).layer(upstream.clone());
    for (settings, works) in [(of(FaultKind::Hang), false), (delayed(500 * SECOND), true)] {
        fault.arm(settings).unwrap();
        let call = tokio::spawn(service.ready().await.unwrap().call("a"));
        tokio::time::sleep(SECOND).await;
        assert_eq!((fault.at_once(), upstream.seen()), (1, 0));
        let start = tokio::time::Instant::now();
        fault.disarm();
        assert_eq!(call.await.unwrap().is_ok(), works);
        assert!(start.elapsed() < SECOND);
        assert_eq!(fault.at_once(), 0);
    }
    assert_eq!(upstream.seen(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_the_service_and_before_the_kind() {
    let fault = paused();
    let upstream = Upstream::default();
    let mut service = FaultLayer::new(fault.clone()).layer(upstream.clone());
    fault.arm(delayed(2 * SECOND)).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(start.elapsed().as_secs(), 2);
    fault.arm(FaultSettings { kind: Some(FaultKind::Refuse), ..delayed(3 * SECOND) }).unwrap();
    assert_eq!(safety(ask(&mut service, "a").await), RetrySafety::Safe);
    assert_eq!((start.elapsed().as_secs(), upstream.seen()), (5, 1));
    // A delay that outlasts the fault ends with it, and nothing else happens.
    fault.arm(FaultSettings { kind: Some(FaultKind::Abort), ttl: SECOND, ..delayed(600 * SECOND) }).unwrap();
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(start.elapsed().as_secs(), 6);
}

/// Dropped while it is held back, while it hangs, while the service has it, and while its copy waits.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_gives_its_place_back_wherever_it_was() {
    let fault = paused();
    let (service, mut handle) = tower_test::mock::pair::<&'static str, String>();
    let mut service = FaultLayer::new(fault.clone()).layer(service);
    let waiting = |call: &mut std::pin::Pin<Box<dyn Future<Output = Result<String, BoxError>>>>| {
        call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
    };
    for settings in [delayed(SECOND), of(FaultKind::Hang), of(FaultKind::DropResponse), of(FaultKind::Duplicate)] {
        handle.allow(10);
        fault.arm(settings).unwrap();
        let mut call: std::pin::Pin<Box<dyn Future<Output = _>>> = Box::pin(service.ready().await.unwrap().call("a"));
        assert_eq!(fault.at_once(), 1);
        assert!(waiting(&mut call) && waiting(&mut call));
        drop(call);
        assert_eq!(fault.at_once(), 0);
        fault.disarm();
    }
}

#[tokio::test]
async fn no_more_are_in_its_hands_than_it_may_hold() {
    let (fault, _hand, _heard) = manual();
    let mut service = FaultLayer::new(fault.clone()).layer(Upstream::default());
    fault.arm(FaultSettings { at_most: 3, ..of(FaultKind::Hang) }).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(service.ready().await.unwrap().call("a"));
    }
    assert_eq!(ask(&mut service, "a").await.unwrap(), "a");
    assert_eq!(fault.at_once(), 3);
    held.pop();
    held.push(service.ready().await.unwrap().call("a"));
    assert_eq!(fault.at_once(), 3);
}

#[tokio::test]
async fn only_what_matches_is_hit_and_counted() {
    let (fault, _hand, _heard) = manual();
    let mut service =
        FaultLayer::new(fault.clone()).matching(|request: &&'static str| *request == "b").layer(Upstream::default());
    fault.arm(FaultSettings { nth: Some(2), ..of(FaultKind::Abort) }).unwrap();
    for (request, hit) in [("a", false), ("b", false), ("a", false), ("b", true), ("b", false)] {
        assert_eq!(ask(&mut service, request).await.is_err(), hit);
    }
}

#[tokio::test]
async fn an_answer_is_made_by_whoever_knows_how() {
    let (fault, _hand, _heard) = manual();
    let upstream = Upstream::default();
    let mut service =
        FaultLayer::new(fault.clone()).answered_by(|status: u16| format!("status {status}")).layer(upstream.clone());
    fault.arm(of(FaultKind::Answer(503))).unwrap();
    assert_eq!(ask(&mut service, "a").await.unwrap(), "status 503");
    assert_eq!(upstream.seen(), 0);
}

#[cfg(feature = "http")]
#[test]
fn an_http_answer_has_the_status_and_the_reason() {
    let response: http::Response<String> = FaultStatus.answer(429).unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["mainstay-reason"]),
        (429, &"fault_injected".parse().unwrap())
    );
    assert!(FaultAnswer::<http::Response<String>>::answer(&FaultStatus, 99).is_none());
}

#[tokio::test]
async fn what_cannot_be_copied_is_not_sent_twice() {
    #[derive(Clone)]
    struct NoCopies;
    impl crate::Profile<&'static str> for NoCopies {}
    let (fault, _hand, heard) = manual();
    let upstream = Upstream::default();
    let mut service = FaultLayer::new(fault.clone()).profiled_by(NoCopies).layer(upstream.clone());
    fault.arm(of(FaultKind::Duplicate)).unwrap();
    assert!(ask(&mut service, "a").await.is_ok());
    assert_eq!(upstream.seen(), 1);
    assert!(!heard.0.lock().unwrap().iter().any(|event| matches!(event, Event::Fault { .. })));
}

#[tokio::test]
async fn shadow_tells_and_harms_nobody_and_off_arms_nothing() {
    let (fault, _hand, heard) = manual();
    let mut service = FaultLayer::new(fault.clone()).layer(Upstream::default());
    fault.arm(FaultSettings { mode: Mode::Off, ..of(FaultKind::Abort) }).unwrap();
    assert_eq!(fault.armed(), None);
    fault.arm(FaultSettings::default()).unwrap();
    assert_eq!(fault.armed(), None);
    assert!(ask(&mut service, "a").await.is_ok());
    assert_eq!(*heard.0.lock().unwrap(), []);
    fault.arm(FaultSettings { mode: Mode::Shadow, ..of(FaultKind::Abort) }).unwrap();
    assert!(ask(&mut service, "a").await.is_ok());
    assert_eq!(fault.at_once(), 0);
    let state = Event::State { from: "disarmed", to: "armed", enforced: false };
    assert_eq!(*heard.0.lock().unwrap(), [state, Event::Fault { kind: "abort", enforced: false }]);
}

fn hits(settings: &FaultSettings, requests: usize) -> Vec<bool> {
    let (fault, _hand, _heard) = manual();
    fault.arm(*settings).unwrap();
    (0..requests).map(|_| fault.inject().is_some()).collect()
}

proptest! {
    /// The same seed hits the same requests, and a share is that share.
    #[test]
    fn a_share_follows_from_the_seed(seed: u64, points in 1u16..=10_000) {
        let share = Share::basis_points(points).unwrap();
        let settings = FaultSettings { share, seed: Some(seed), ..of(FaultKind::Abort) };
        let first = hits(&settings, 2_000);
        prop_assert_eq!(&first, &hits(&settings, 2_000));
        let count = first.into_iter().filter(|hit| *hit).count() as f64;
        // Six deviations of a binomial distribution.
        let p = f64::from(points) / 10_000.0;
        prop_assert!((count - 2_000.0 * p).abs() <= 6.0 * (2_000.0 * p * (1.0 - p)).sqrt() + 1.0);
    }

    #[test]
    fn the_nth_is_hit_and_no_other(nth in 1u32..200) {
        let hits = hits(&FaultSettings { nth: Some(nth), ..of(FaultKind::Abort) }, 300);
        prop_assert_eq!(hits.iter().position(|hit| *hit), Some(nth as usize - 1));
        prop_assert_eq!(hits.iter().filter(|hit| **hit).count(), 1);
    }
}
