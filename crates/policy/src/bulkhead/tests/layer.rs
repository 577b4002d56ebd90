//! Calls through the layer, poll by poll.

use std::convert::Infallible;
use std::future::{Pending, Ready, pending};

use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::{CallContext, Error, Profile};

/// Answers when it is told to; counts its clones and those it serves at once.
#[derive(Default)]
struct Probe {
    clones: AtomicUsize,
    calls: AtomicU32,
    most: AtomicU32,
}

struct Slow(Arc<Probe>);

impl Clone for Slow {
    fn clone(&self) -> Self {
        self.0.clones.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

struct Running(Arc<Probe>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

type Failure = Error<Infallible>;

impl Service<Duration> for Slow {
    type Response = ();
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, takes: Duration) -> Self::Future {
        let calls = self.0.calls.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.most.fetch_max(calls, Ordering::Relaxed);
        let running = Running(self.0.clone());
        Box::pin(async move {
            let _running = running;
            tokio::time::sleep(takes).await;
            Ok(())
        })
    }
}

fn behind(settings: BulkheadSettings) -> (BulkheadService<Slow>, Bulkhead, Arc<Probe>) {
    let (bulkhead, probe) = (bulkhead(settings), Arc::new(Probe::default()));
    (BulkheadLayer::new(bulkhead.clone()).layer(Slow(probe.clone())), bulkhead, probe)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_takes_the_service_along_and_one_that_does_not_clones_nothing() {
    let (mut service, bulkhead, probe) = behind(small(1, 1));
    let mut first = Box::pin(service.ready().await.unwrap().call(10 * MS));
    assert!(poll(&mut first).is_pending());
    assert_eq!(probe.clones.load(Ordering::Relaxed), 0);
    // Ready all the same: the wait is the call's.
    let mut second = Box::pin(service.ready().await.unwrap().call(10 * MS));
    assert_eq!(bulkhead.queued(), 0);
    assert!(poll(&mut second).is_pending());
    assert_eq!((probe.clones.load(Ordering::Relaxed), bulkhead.queued()), (1, 1));
    let third = service.ready().await.unwrap().call(10 * MS);
    assert_eq!(third.await, Err(Error::Rejected(crate::Rejection::unsent(Reason::BulkheadFull))));
    assert_eq!(first.as_mut().await, Ok(()));
    // Its permit went to the second call although its future still lives.
    assert_eq!(second.await, Ok(()));
    assert_eq!((probe.most.load(Ordering::Relaxed), bulkhead.in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_gives_back_at_every_point() {
    for polls in 0..4 {
        let (mut service, bulkhead, probe) = behind(small(1, 1));
        let mut first = Box::pin(service.ready().await.unwrap().call(10 * MS));
        let mut second = Box::pin(service.ready().await.unwrap().call(10 * MS));
        let _ = poll(&mut first);
        // Not polled; in the queue; granted; calling.
        if polls > 0 {
            assert!(poll(&mut second).is_pending());
        }
        if polls > 1 {
            drop(first);
        }
        if polls > 2 {
            assert!(poll(&mut second).is_pending());
            assert_eq!(probe.calls.load(Ordering::Relaxed), 1);
        }
        drop(second);
        assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (u32::from(polls < 2), 0), "after {polls} polls");
    }
}

#[derive(Clone)]
struct Until(Moment);

impl Profile<Duration> for Until {
    fn context(&self, _request: &Duration) -> CallContext {
        CallContext { deadline: Some(self.0), ..CallContext::default() }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_until_its_deadline() {
    let bulkhead = bulkhead(small(1, 1));
    let deadline = Moment::ZERO + 40 * MS;
    let service = BulkheadLayer::new(bulkhead.clone()).profiled_by(Until(deadline)).layer(Slow(Default::default()));
    let _permit = bulkhead.try_acquire();
    let start = tokio::time::Instant::now();
    let error = service.oneshot(MS).await.unwrap_err();
    assert_eq!((error.reason(), start.elapsed()), (Some(Reason::QueueTimeout), 40 * MS));
}

#[derive(Clone)]
struct Panics;

impl Service<()> for Panics {
    type Response = ();
    type Error = Failure;
    type Future = Ready<Result<(), Failure>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: ()) -> Self::Future {
        panic!("as some services do");
    }
}

#[tokio::test]
async fn a_service_that_panics_keeps_no_permit() {
    let bulkhead = bulkhead(small(1, 0));
    let mut service = BulkheadLayer::new(bulkhead.clone()).layer(Panics);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(service.call(())))).unwrap_err();
    assert_eq!(bulkhead.in_flight(), 0);
}

#[derive(Clone)]
struct NotYet;

impl Service<()> for NotYet {
    type Response = ();
    type Error = Failure;
    type Future = Pending<Result<(), Failure>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Pending
    }

    fn call(&mut self, _request: ()) -> Self::Future {
        pending()
    }
}

#[tokio::test]
async fn it_is_ready_when_its_service_is_and_takes_nothing_for_it() {
    let bulkhead = bulkhead(small(1, 0));
    let mut service = BulkheadLayer::new(bulkhead.clone()).layer(NotYet);
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(bulkhead.in_flight(), 0);
}
