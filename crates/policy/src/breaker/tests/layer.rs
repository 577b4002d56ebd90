//! The layer, poll by poll.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tower::{Service, ServiceExt};
use tower_layer::Layer;
use tower_test::mock;

use super::*;
use crate::{Error, Plain, Reason};

type Answer = Result<u32, Error<&'static str>>;

const FAILED: Answer = Err(Error::Failed { error: "down", no_retry: None });

fn poll_once<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A service made of two functions, which checks that it is asked before it is called.
struct Fun<R, C> {
    ready: R,
    call: C,
    asked: bool,
}

impl<R: Clone, C: Clone> Clone for Fun<R, C> {
    fn clone(&self) -> Self {
        fun(self.ready.clone(), self.call.clone())
    }
}

fn fun<R, C>(ready: R, call: C) -> Fun<R, C> {
    Fun { ready, call, asked: false }
}

impl<R, C, F> Service<u32> for Fun<R, C>
where
    R: FnMut() -> Poll<Result<(), Error<&'static str>>>,
    C: FnMut(u32) -> F,
    F: Future<Output = Answer>,
{
    type Response = u32;
    type Error = Error<&'static str>;
    type Future = F;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let ready = (self.ready)();
        self.asked = matches!(ready, Poll::Ready(Ok(())));
        ready
    }

    fn call(&mut self, request: u32) -> F {
        assert!(std::mem::take(&mut self.asked), "called without having been asked");
        (self.call)(request)
    }
}

fn ready() -> Poll<Result<(), Error<&'static str>>> {
    Poll::Ready(Ok(()))
}

async fn echo(request: u32) -> Answer {
    Ok(request)
}

fn is_open(answer: &Answer) -> bool {
    matches!(answer, Err(Error::Rejected(rejection)) if rejection.reason == Reason::BreakerOpen)
}

/// tower-resilience#381: an open breaker waited for the service that it kept calls from.
#[tokio::test]
async fn an_open_breaker_does_not_poll_the_service() {
    let rig = Rig::new(default());
    rig.trip();
    let inner = fun(|| panic!("polled while open"), |_| -> std::future::Ready<Answer> { panic!("called while open") });
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(inner);
    for _ in 0..3 {
        assert!(is_open(&service.ready().await.unwrap().call(1).await));
    }
    rig.breaker.force(Manual::Open);
    assert!(is_open(&service.ready().await.unwrap().call(1).await));
}

/// tower-resilience#382: half-open, any number of calls went through.
#[tokio::test]
async fn no_more_probes_than_three_reach_the_service() {
    let rig = Rig::new(default());
    rig.half_open();
    let inner = fun(ready, |_| std::future::pending::<Answer>());
    let layer = BreakerLayer::new(rig.breaker.clone());
    let mut services: Vec<_> = (0..10).map(|_| layer.layer(inner.clone())).collect();
    let mut calls = Vec::new();
    for service in &mut services {
        // All are asked before any is called: each looks as if there were room.
        service.ready().await.unwrap();
    }
    for service in &mut services {
        calls.push(Box::pin(service.call(1)));
    }
    let rejected = calls.iter_mut().filter_map(|call| match poll_once(call.as_mut()) {
        Poll::Ready(answer) => Some(is_open(&answer)),
        Poll::Pending => None,
    });
    assert_eq!(rejected.collect::<Vec<_>>(), [true; 7]);
    assert_eq!(rig.breaker.probes(), 3);
    drop(calls);
    assert_eq!((rig.breaker.probes(), rig.state()), (0, BreakerState::HalfOpen));
}

#[tokio::test]
async fn outcomes_are_counted_and_trip_it() {
    let rig = Rig::new(default());
    let layer = BreakerLayer::new(rig.breaker.clone());
    let mut service = layer.layer(fun(ready, |request| async move { if request == 0 { FAILED } else { Ok(request) } }));
    for request in [1, 0, 0] {
        let _ = service.ready().await.unwrap().call(request).await;
    }
    assert_eq!(rig.breaker.counts(), (3, 2));
    for _ in 0..8 {
        assert_eq!(service.ready().await.unwrap().call(0).await, FAILED);
    }
    assert!(is_open(&service.ready().await.unwrap().call(1).await));
}

#[tokio::test]
async fn a_judge_says_what_is_a_failure() {
    let rig = Rig::new(default());
    let layer =
        BreakerLayer::new(rig.breaker.clone()).judged_by(|outcome: Result<&u32, &Error<&'static str>>| match outcome {
            Ok(500) => crate::Verdict::FAILED,
            _ => crate::Verdict::GOOD,
        });
    let mut service = layer.layer(fun(ready, echo));
    assert_eq!(service.ready().await.unwrap().call(500).await, Ok(500));
    assert_eq!(service.ready().await.unwrap().call(200).await, Ok(200));
    assert_eq!(rig.breaker.counts(), (2, 1));
}

#[tokio::test]
async fn what_policies_below_rejected_counts_nowhere_and_what_the_service_owed_counts() {
    let rig = Rig::new(default());
    let inner = fun(ready, |n| async move {
        let reason = Reason::ALL[n as usize];
        Err::<u32, _>(Error::Rejected(match reason {
            Reason::TimeoutTry | Reason::FaultInjected => Rejection::sent(reason),
            _ => Rejection::unsent(reason),
        }))
    });
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(inner);
    for n in 0..Reason::ALL.len() as u32 {
        service.ready().await.unwrap().call(n).await.unwrap_err();
    }
    assert_eq!(rig.breaker.counts(), (2, 2), "a try that got no answer, and a fault that stands for one");
}

#[tokio::test]
async fn a_probe_that_another_policy_ended_is_given_back() {
    let rig = Rig::new(default());
    rig.half_open();
    let inner = fun(ready, |_| async { Err::<u32, _>(Error::Rejected(Rejection::unsent(Reason::BulkheadFull))) });
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(inner);
    for _ in 0..10 {
        service.ready().await.unwrap().call(1).await.unwrap_err();
        assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 0));
    }
}

/// Each service of Tower's protocol is asked for itself.
#[tokio::test]
async fn a_clone_has_not_been_asked() {
    let rig = Rig::new(default());
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(fun(ready, echo));
    service.ready().await.unwrap();
    // The usual way to call from a future: the one that is ready goes along, its clone stays.
    let clone = service.clone();
    let mut taken = std::mem::replace(&mut service, clone);
    assert_eq!(taken.call(1).await, Ok(1));
    assert_eq!(service.ready().await.unwrap().call(2).await, Ok(2));

    // A rejection is not inherited either.
    rig.trip();
    service.ready().await.unwrap();
    let mut clone = service.clone();
    rig.breaker.force(Manual::Auto);
    assert_eq!(clone.ready().await.unwrap().call(3).await, Ok(3));
    let mut careless = BreakerLayer::new(rig.breaker.clone()).layer(tower::service_fn(echo));
    rig.trip();
    ServiceExt::<u32>::ready(&mut careless).await.unwrap();
    let mut clone = careless.clone();
    rig.breaker.force(Manual::Auto);
    assert_eq!(clone.call(6).await, Ok(6), "who calls without asking gets what the service makes of it");
    // Who was told "ready" by the breaker alone must not reach a service that was not asked.
    assert!(is_open(&service.call(4).await));
    assert_eq!(service.ready().await.unwrap().call(5).await, Ok(5));
}

#[tokio::test]
async fn a_breaker_that_opens_between_the_question_and_the_call_rejects() {
    let rig = Rig::new(default());
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(fun(ready, echo));
    service.ready().await.unwrap();
    rig.trip();
    assert!(is_open(&service.call(1).await));
    rig.breaker.force(Manual::Auto);
    assert_eq!(service.ready().await.unwrap().call(1).await, Ok(1));
}

#[tokio::test]
async fn a_rejection_is_told_once_however_often_it_is_polled_and_not_if_nobody_calls() {
    let rig = Rig::new(default());
    rig.trip();
    rig.heard();
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(fun(ready, echo));
    for _ in 0..5 {
        service.ready().await.unwrap();
    }
    assert_eq!(rig.heard(), []);
    assert!(is_open(&service.call(1).await));
    assert_eq!(rig.heard(), [Event::Rejected { reason: Reason::BreakerOpen, enforced: true }]);
}

#[tokio::test]
async fn in_shadow_all_calls_reach_the_service() {
    let rig = Rig::new(BreakerSettings { mode: Mode::Shadow, ..default() });
    let mut service = BreakerLayer::new(rig.breaker.clone()).layer(fun(ready, |_| async { FAILED }));
    for _ in 0..50 {
        assert_eq!(service.ready().await.unwrap().call(1).await, FAILED);
    }
    assert_eq!(rig.state(), BreakerState::Open);
}

#[tokio::test]
async fn while_the_service_is_not_ready_nothing_is_held() {
    let rig = Rig::new(default());
    rig.half_open();
    let (mut service, mut handle) = mock::spawn_with(|inner| {
        // A mock's errors are boxed, which policies know.
        BreakerLayer::new(rig.breaker.clone()).layer(inner)
    });
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
    assert_eq!((rig.breaker.probes(), rig.state()), (0, BreakerState::Open));
    handle.allow(1);
    assert!(matches!(service.poll_ready(), Poll::Ready(Ok(()))));
    assert_eq!(rig.breaker.probes(), 0, "asked is not called");
    let mut call = pin!(service.call(1u32));
    assert_eq!(rig.breaker.probes(), 1);
    assert!(poll_once(call.as_mut()).is_pending());
    let (request, answer) = handle.next_request().await.unwrap();
    answer.send_response(request + 1);
    assert_eq!(call.await.unwrap(), 2);
    assert_eq!(rig.breaker.probes(), 0);
}

#[tokio::test]
async fn dropped_at_any_point_a_call_counts_nowhere_and_gives_its_probe_back() {
    // Before the first poll, after the first, after the second.
    for polls in 0..3 {
        let rig = Rig::new(default());
        let layer = BreakerLayer::new(rig.breaker.clone());
        let mut service = layer.layer(fun(ready, |_| std::future::pending::<Answer>()));
        let mut cancel = || {
            assert!(poll_once(pin!(service.ready())).is_ready());
            let mut call = Box::pin(service.call(1));
            (0..polls).for_each(|_| assert!(poll_once(call.as_mut()).is_pending()));
        };
        cancel();
        assert_eq!(rig.breaker.counts(), (0, 0));
        rig.half_open();
        cancel();
        assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 0));
        // Dropped while it is asked, before it is called.
        let mut asked = layer.layer(fun(|| Poll::Pending, echo));
        assert!(poll_once(pin!(asked.ready())).is_pending());
        drop(asked);
        assert_eq!(rig.breaker.probes(), 0);
    }
}

#[tokio::test]
async fn a_panic_below_gives_the_probe_back() {
    let rig = Rig::new(default());
    rig.half_open();
    let layer = BreakerLayer::new(rig.breaker.clone());
    let mut service = layer.layer(fun(ready, |_| poll_fn(|_| -> Poll<Answer> { panic!("below") })));
    let call = service.ready().await.unwrap().call(1);
    assert!(tokio::spawn(call).await.unwrap_err().is_panic());
    assert_eq!((rig.state(), rig.breaker.probes()), (BreakerState::HalfOpen, 0));
}

#[tokio::test]
async fn an_error_of_the_question_goes_through_and_counts_nowhere() {
    let rig = Rig::new(default());
    let layer: BreakerLayer<Plain> = BreakerLayer::new(rig.breaker.clone());
    let mut service = layer.layer(fun(|| Poll::Ready(Err("closed".into())), echo));
    assert_eq!(service.ready().await.map(|_| ()), Err("closed".into()));
    assert_eq!(rig.breaker.counts(), (0, 0));
}

#[test]
fn what_can_be_debugged_is() {
    let rig = Rig::new(default());
    let pass = rig.breaker.try_acquire().unwrap();
    assert!(format!("{:?} {pass:?}", rig.breaker).contains("payment"));
    assert!(format!("{:?}", BreakerLayer::new(rig.breaker).layer(())).contains("BreakerService"));
}
