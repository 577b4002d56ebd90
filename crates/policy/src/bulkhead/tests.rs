use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::stripe::Shared;
use crate::{Clock, Env, Event, Mode, Moment, Observer, PolicyKind, Reason};

mod layer;

const MS: Duration = Duration::from_millis(1);

/// Remembers what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<(PolicyKind, Event)>>);

impl Observer for Told {
    fn event(&self, _name: &str, policy: PolicyKind, event: &Event) {
        self.0.lock().unwrap().push((policy, event.clone()));
    }
}

fn rejected(reason: Reason, enforced: bool) -> (PolicyKind, Event) {
    (PolicyKind::Bulkhead, Event::Rejected { reason, enforced })
}

fn small(in_flight: u32, queue: u32) -> BulkheadSettings {
    BulkheadSettings { in_flight, queue, ..Default::default() }
}

fn bulkhead(settings: BulkheadSettings) -> Bulkhead {
    Bulkhead::new(settings, &Env::new("test").with_clock(Clock::tokio())).unwrap()
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// A call that asks and finds no room.
fn queued(bulkhead: &Bulkhead) -> Pin<Box<Acquire>> {
    let mut acquire = Box::pin(bulkhead.acquire(None));
    assert!(poll(&mut acquire).is_pending());
    acquire
}

fn reason(acquire: Acquire) -> Reason {
    match poll(&mut Box::pin(acquire)) {
        Poll::Ready(Err(rejection)) => rejection.reason,
        Poll::Ready(Ok(_)) => panic!("it passed"),
        Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_and_no_more() {
    let told = Arc::new(Told::default());
    let bulkhead = Bulkhead::new(small(2, 1), &Env::new("test").with_observer(told.clone())).unwrap();
    let (one, _two) = (bulkhead.try_acquire().unwrap(), bulkhead.try_acquire().unwrap());
    assert!(bulkhead.try_acquire().is_none());
    let mut waits = queued(&bulkhead);
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (2, 1));
    assert_eq!(reason(bulkhead.acquire(None)), Reason::BulkheadFull);
    drop(one);
    // Handed on in the same step: nobody else can have it.
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (2, 0));
    assert!(bulkhead.try_acquire().is_none());
    assert!(matches!(poll(&mut waits), Poll::Ready(Ok(_))));
    assert_eq!(*told.0.lock().unwrap(), vec![rejected(Reason::BulkheadFull, true); 3]);
}

#[tokio::test(start_paused = true)]
async fn in_order_at_first_then_the_newest_and_in_order_again_when_drained() {
    let bulkhead = bulkhead(small(1, 10));
    let mut permit = bulkhead.try_acquire().unwrap();
    let serve = |permit: &mut Permit, waits: &mut Vec<Pin<Box<Acquire>>>| {
        permit.release();
        let next = waits.iter_mut().position(|acquire| match poll(acquire) {
            Poll::Ready(Ok(granted)) => {
                *permit = granted;
                true
            }
            _ => false,
        });
        drop(waits.remove(next.unwrap()));
        next.unwrap()
    };
    let mut waits: Vec<_> = (0..5).map(|_| queued(&bulkhead)).collect();
    tokio::time::advance(99 * MS).await;
    assert_eq!(serve(&mut permit, &mut waits), 0);
    tokio::time::advance(MS).await;
    assert_eq!(serve(&mut permit, &mut waits), 3);
    waits.push(queued(&bulkhead));
    assert_eq!(serve(&mut permit, &mut waits), 3);
    while !waits.is_empty() {
        assert_eq!(serve(&mut permit, &mut waits), waits.len());
    }
    // It has drained: a new queue, in order.
    waits = (0..3).map(|_| queued(&bulkhead)).collect();
    assert_eq!(serve(&mut permit, &mut waits), 0);
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_shorter_of_deadline_and_setting() {
    let bulkhead = bulkhead(small(1, 10));
    let _permit = bulkhead.try_acquire();
    for (remaining, waited) in [(None, 1000), (Some(30 * MS), 30), (Some(Duration::MAX), 1000)] {
        let start = tokio::time::Instant::now();
        let rejection = bulkhead.acquire(remaining).await.unwrap_err();
        assert_eq!((rejection.reason, start.elapsed()), (Reason::QueueTimeout, waited * MS));
        assert_eq!(rejection.retry_safety, crate::RetrySafety::Safe);
    }
    assert_eq!(reason(bulkhead.acquire(Some(Duration::ZERO))), Reason::QueueTimeout);
    assert_eq!(bulkhead.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_nobody_waits() {
    let bulkhead = bulkhead(small(1, 0));
    let _permit = bulkhead.acquire(None).await.unwrap();
    assert_eq!(bulkhead.acquire(None).await.unwrap_err().reason, Reason::BulkheadFull);
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_with_the_end_of_the_wait_is_taken() {
    let bulkhead = bulkhead(small(1, 1));
    let permit = bulkhead.try_acquire();
    let mut waits = queued(&bulkhead);
    tokio::time::advance(2 * Duration::from_secs(1)).await;
    drop(permit);
    assert!(matches!(poll(&mut waits), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_it_gives_back_what_it_has() {
    let bulkhead = bulkhead(small(1, 10));
    drop(bulkhead.acquire(None));
    let permit = bulkhead.try_acquire().unwrap();
    // Never polled, in the queue, and granted but not polled since.
    drop(bulkhead.acquire(None));
    drop(queued(&bulkhead));
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 0));
    let (granted, mut next) = (queued(&bulkhead), queued(&bulkhead));
    drop(permit);
    drop(granted);
    let Poll::Ready(Ok(permit)) = poll(&mut next) else { panic!("the permit was lost") };
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (1, 0));
    drop(permit);
    assert_eq!(bulkhead.in_flight(), 0);
}

/// A core that is nothing but a gate.
struct Bare(gate::Gate<BulkheadSettings>);

impl entry::Gated for Bare {
    type Rule = BulkheadSettings;
    fn gate(&self) -> &gate::Gate<BulkheadSettings> {
        &self.0
    }
}

/// Another thread ends its call between the look at the place and the look at the timer.
#[test]
fn a_permit_that_comes_between_the_last_look_and_the_end_of_the_wait_is_taken() {
    let core = Shared::new(Bare(gate::Gate::new(small(1, 1), Clock::manual().0)));
    let (mut runs, mut waits) = (entry::Entry::outside(core.hold()), entry::Entry::outside(core.hold()));
    runs.enter(1).unwrap();
    let cx = Context::from_waker(Waker::noop());
    assert!(entry::poll_place(&mut waits, (), MS, &cx).is_pending());
    drop(runs);
    assert_eq!(entry::give_up(&mut waits), Ok(()));
    assert!(waits.is_inside());
    drop(waits);
    assert_eq!((core.0.in_flight(), core.0.waiting()), (0, 0));
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn wakes_the_one_who_goes_and_nobody_else() {
    let bulkhead = bulkhead(small(1, 10));
    let permit = bulkhead.try_acquire();
    let wakers: Vec<_> = (0..3).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
    let mut waits: Vec<_> = wakers.iter().map(|_| Box::pin(bulkhead.acquire(None))).collect();
    for (acquire, count) in waits.iter_mut().zip(&wakers) {
        assert!(acquire.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        // The latest waker counts.
        assert!(acquire.as_mut().poll(&mut Context::from_waker(&count.clone().into())).is_pending());
    }
    drop(permit);
    let woken: Vec<_> = wakers.iter().map(|count| count.0.load(Ordering::Relaxed)).collect();
    assert_eq!(woken, [1, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_it_tells_and_does_not_act() {
    let told = Arc::new(Told::default());
    let settings = BulkheadSettings { mode: Mode::Shadow, ..small(1, 1) };
    let bulkhead = Bulkhead::new(settings, &Env::new("test").with_observer(told.clone())).unwrap();
    // One runs, one would wait, one would be turned away.
    let permits: Vec<_> = (0..2).map(|_| bulkhead.try_acquire().unwrap()).collect();
    assert!(told.0.lock().unwrap().is_empty());
    let third = bulkhead.acquire(None).await.unwrap();
    assert_eq!(*told.0.lock().unwrap(), [rejected(Reason::BulkheadFull, false)]);
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (3, 0));
    drop((permits, third));
    assert_eq!(bulkhead.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn switched_off_it_passes_all_and_counts_none() {
    let bulkhead = bulkhead(BulkheadSettings { mode: Mode::Off, ..small(1, 0) });
    let permits: Vec<_> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    assert_eq!(bulkhead.in_flight(), 0);
    drop(permits);
    assert_eq!(bulkhead.in_flight(), 0);
}

#[test]
fn what_cannot_work_is_refused_with_all_its_fields() {
    let settings = BulkheadSettings {
        in_flight: 0,
        queue: u32::MAX,
        wait: Duration::ZERO,
        lifo_after: Duration::MAX,
        ..Default::default()
    };
    let error = Bulkhead::new(settings, &Env::default()).unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    assert_eq!(fields, ["bulkhead.in_flight", "bulkhead.queue", "bulkhead.wait", "bulkhead.lifo_after"]);
    assert_eq!(BulkheadSettings::default().check(), Ok(()));
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_in_a_file() {
    let settings: BulkheadSettings = serde_json::from_str(r#"{"in_flight": 8, "queue": 2, "wait": "50ms"}"#).unwrap();
    assert_eq!(settings, BulkheadSettings { wait: 50 * MS, ..small(8, 2) });
    assert!(serde_json::from_str::<BulkheadSettings>(r#"{"inflight": 8}"#).is_err());
}

proptest! {
    /// Any settings are refused or work; no clock, however strange, breaks them.
    #[test]
    fn no_setting_and_no_clock_panics(in_flight: u32, queue: u32, wait: u64, lifo: u64, times: [u64; 6]) {
        let settings = BulkheadSettings {
            in_flight,
            queue,
            wait: Duration::from_millis(wait),
            lifo_after: Duration::from_nanos(lifo),
            ..Default::default()
        };
        let (clock, hand) = Clock::manual();
        let Ok(bulkhead) = Bulkhead::new(settings, &Env::new("test").with_clock(clock)) else { return Ok(()) };
        let runtime = paused();
        let _guard = runtime.enter();
        let mut waits = Vec::new();
        for time in times {
            hand.set(Moment::from_nanos(time));
            let mut acquire = Box::pin(bulkhead.acquire(Some(Duration::from_nanos(time))));
            waits.push((poll(&mut acquire).map(|permit| permit.ok()), acquire));
        }
        drop(waits);
        prop_assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
    }
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Try,
    Ask,
    Finish(prop::sample::Index),
    Poll(prop::sample::Index),
    Cancel(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Try),
        5 => Just(Step::Ask),
        4 => any::<prop::sample::Index>().prop_map(Step::Finish),
        3 => any::<prop::sample::Index>().prop_map(Step::Poll),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        2 => (0u64..150).prop_map(Step::Pass),
    ]
}

/// What the bulkhead should do, in lists.
#[derive(Default)]
struct Model {
    /// Calls that have a permit or were granted one.
    inside: usize,
    /// Numbers of those that wait, the oldest first.
    waiting: Vec<usize>,
    granted: Vec<usize>,
    since: u64,
}

impl Model {
    fn end_one(&mut self, now: u64, lifo_after: u64) {
        if self.waiting.is_empty() {
            self.inside -= 1;
            return;
        }
        let at = if now - self.since >= lifo_after { self.waiting.len() - 1 } else { 0 };
        self.granted.push(self.waiting.remove(at));
    }
}

proptest! {
    /// Any calls that begin, end, wait, are polled and dropped in any order, against lists: nobody passes who should
    /// not, the right one goes next, and in the end nothing has leaked.
    #[test]
    fn does_what_a_model_does(
        in_flight in 1u32..4,
        queue in 0u32..6,
        lifo in 0u64..200,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let runtime = paused();
        let _guard = runtime.enter();
        let bulkhead = bulkhead(BulkheadSettings { lifo_after: Duration::from_millis(lifo), ..small(in_flight, queue) });
        let (mut model, mut now) = (Model::default(), 0u64);
        let mut permits: Vec<Permit> = Vec::new();
        let mut asked: Vec<(usize, u64, Pin<Box<Acquire>>)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Try => {
                    let room = model.inside < in_flight as usize;
                    let permit = bulkhead.try_acquire();
                    prop_assert_eq!(permit.is_some(), room);
                    model.inside += usize::from(room);
                    permits.extend(permit);
                }
                Step::Ask => {
                    let mut acquire = Box::pin(bulkhead.acquire(None));
                    match poll(&mut acquire) {
                        Poll::Ready(Ok(permit)) => {
                            prop_assert!(model.inside < in_flight as usize);
                            model.inside += 1;
                            permits.push(permit);
                        }
                        Poll::Ready(Err(rejection)) => {
                            prop_assert_eq!(rejection.reason, Reason::BulkheadFull);
                            prop_assert_eq!(model.waiting.len(), queue as usize);
                        }
                        Poll::Pending => {
                            prop_assert!(model.inside == in_flight as usize && model.waiting.len() < queue as usize);
                            if model.waiting.is_empty() {
                                model.since = now;
                            }
                            model.waiting.push(number);
                            asked.push((number, now, acquire));
                        }
                    }
                }
                Step::Finish(index) if !permits.is_empty() => {
                    drop(permits.swap_remove(index.index(permits.len())));
                    model.end_one(now, lifo);
                }
                Step::Poll(index) if !asked.is_empty() => {
                    let index = index.index(asked.len());
                    let (number, since, acquire) = &mut asked[index];
                    match poll(acquire) {
                        Poll::Ready(Ok(permit)) => {
                            prop_assert!(model.granted.contains(number));
                            model.granted.retain(|n| n != number);
                            permits.push(permit);
                            drop(asked.swap_remove(index));
                        }
                        Poll::Ready(Err(rejection)) => {
                            prop_assert_eq!(rejection.reason, Reason::QueueTimeout);
                            prop_assert!(now - *since >= 1000 && model.waiting.contains(number));
                            model.waiting.retain(|n| n != number);
                            drop(asked.swap_remove(index));
                        }
                        Poll::Pending => prop_assert!(now - *since < 1000 && model.waiting.contains(number)),
                    }
                }
                Step::Cancel(index) if !asked.is_empty() => {
                    let (number, ..) = asked.swap_remove(index.index(asked.len()));
                    match model.granted.iter().position(|n| *n == number) {
                        Some(at) => {
                            model.granted.swap_remove(at);
                            model.end_one(now, lifo);
                        }
                        None => model.waiting.retain(|n| *n != number),
                    }
                }
                Step::Pass(millis) => {
                    runtime.block_on(tokio::time::advance(Duration::from_millis(millis)));
                    now += millis;
                }
                _ => {}
            }
            prop_assert_eq!(bulkhead.in_flight() as usize, model.inside);
            prop_assert_eq!(bulkhead.queued() as usize, model.waiting.len());
            prop_assert_eq!(model.inside, permits.len() + model.granted.len());
        }
        drop((permits, asked));
        prop_assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
    }
}

/// Many threads that call, wait and give up: never more at once than there may be, and nothing leaks.
#[test]
fn threads_never_are_more_than_there_may_be() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let bulkhead = Bulkhead::new(small(3, 64), &Env::new("test")).unwrap();
    let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|task| {
                let (bulkhead, inside, most) = (bulkhead.clone(), inside.clone(), most.clone());
                tokio::spawn(async move {
                    for round in 0..300 {
                        let mut acquire = Box::pin(bulkhead.acquire(None));
                        if (task + round) % 5 == 0 {
                            // Given up in the queue, or with a permit that nobody saw.
                            let _ = poll_once(&mut acquire).await;
                            tokio::task::yield_now().await;
                            continue;
                        }
                        let permit = acquire.await;
                        if permit.is_ok() {
                            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!((bulkhead.in_flight(), bulkhead.queued()), (0, 0));
    assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
}

async fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
