use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    CallContext, Clock, Env, Error, Event, Hand, Health, Mode, Moment, Observer, PolicyKind, Priority, Profile, Reason,
    Verdict,
};

mod learning;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Told(Mutex<Vec<Event>>);

impl Told {
    fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn event(&self, _name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!(policy, PolicyKind::Limit);
        self.0.lock().unwrap().push(event.clone());
    }
}

fn enforced(start: u32) -> LimitSettings {
    LimitSettings { mode: Mode::Enforce, start, ..Default::default() }
}

/// A limit, its clock and what it tells.
fn made(settings: LimitSettings) -> (Limit, Hand, Arc<Told>) {
    let ((clock, hand), told) = (Clock::manual(), Arc::new(Told::default()));
    let env = Env::new("test").with_clock(clock).with_seed(7).with_observer(told.clone());
    (Limit::new(settings, &env).unwrap(), hand, told)
}

fn call(priority: Priority, tenant: u64) -> CallContext {
    CallContext { priority, tenant, ..CallContext::default() }
}

fn poll<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

fn queued(limit: &Limit, context: CallContext) -> Pin<Box<LimitAcquire>> {
    let mut acquire = Box::pin(limit.acquire(&context));
    assert!(poll(&mut acquire).is_pending());
    acquire
}

fn reason(acquire: &mut Pin<Box<LimitAcquire>>) -> Option<Reason> {
    match poll(acquire) {
        Poll::Ready(Err(rejection)) => Some(rejection.reason),
        _ => None,
    }
}

fn passes(acquire: &mut Pin<Box<LimitAcquire>>) -> LimitPermit {
    match poll(acquire) {
        Poll::Ready(Ok(permit)) => permit,
        Poll::Ready(Err(rejection)) => panic!("{rejection}"),
        Poll::Pending => panic!("it waits"),
    }
}

#[test]
fn lower_classes_leave_room_for_the_others() {
    let (limit, ..) = made(enforced(8));
    let mut permits = Vec::new();
    for (level, until) in [(0, 4), (1, 6), (2, 8), (4, 8), (3, 8)] {
        while let Ok(permit) = limit.try_acquire(&call(Priority::claimed(level), 0)) {
            permits.push(permit);
        }
        assert_eq!(limit.in_flight(), until, "level {level}");
    }
}

#[test]
fn no_class_is_locked_out_by_the_smallest_limit() {
    let settings = LimitSettings { min: Some(1), ..enforced(1) };
    for level in 0..=4 {
        assert!(made(settings.clone()).0.try_acquire(&call(Priority::claimed(level), 0)).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn critical_passes_when_everything_is_full() {
    let (limit, ..) = made(LimitSettings { queue: Some(2), ..enforced(4) });
    let highest = call(Priority::HIGHEST, 1);
    let _permits: Vec<_> = (0..4).map(|_| limit.try_acquire(&highest).unwrap()).collect();
    let mut waits: Vec<_> = (0..2).map(|_| queued(&limit, highest)).collect();
    assert_eq!(reason(&mut Box::pin(limit.acquire(&highest))), Some(Reason::Shed));
    let critical: Vec<_> = (0..100).map(|_| limit.try_acquire(&call(Priority::CRITICAL, 2)).unwrap()).collect();
    assert_eq!((limit.in_flight(), limit.queued()), (104, 2));
    // It took nobody's place, and what ends above the limit lets nobody in.
    drop(critical);
    assert_eq!(limit.in_flight(), 4);
    assert!(waits.iter_mut().all(|wait| poll(wait).is_pending()));
}

#[tokio::test(start_paused = true)]
async fn the_more_important_goes_first_and_takes_the_place_of_the_less() {
    let (limit, _, told) = made(LimitSettings { queue: Some(2), ..enforced(4) });
    let mut permits: Vec<_> = (0..4).map(|_| limit.try_acquire(&call(Priority::NORMAL, 0)).unwrap()).collect();
    let mut lowest = queued(&limit, call(Priority::LOWEST, 0));
    let mut normal = queued(&limit, call(Priority::NORMAL, 0));
    assert_eq!(reason(&mut Box::pin(limit.acquire(&call(Priority::LOWEST, 0)))), Some(Reason::Shed));
    let mut highest = queued(&limit, call(Priority::HIGHEST, 0));
    assert_eq!(reason(&mut lowest), Some(Reason::Shed));
    assert_eq!(told.take(), vec![Event::Rejected { reason: Reason::Shed, enforced: true }; 2]);
    permits.pop();
    assert!(poll(&mut normal).is_pending());
    permits.push(passes(&mut highest));
    permits.pop();
    permits.push(passes(&mut normal));
    assert_eq!((limit.in_flight(), limit.queued()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn a_class_below_waits_until_its_own_part_is_free() {
    let (limit, ..) = made(enforced(4));
    let mut permits: Vec<_> = (0..4).map(|_| limit.try_acquire(&call(Priority::NORMAL, 0)).unwrap()).collect();
    let mut lowest = queued(&limit, call(Priority::LOWEST, 0));
    for in_flight in [3, 2] {
        permits.pop();
        assert!(poll(&mut lowest).is_pending());
        assert_eq!(limit.in_flight(), in_flight);
    }
    permits.pop();
    let _permit = passes(&mut lowest);
    assert_eq!((limit.in_flight(), limit.queued()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_greedy_tenant_cannot_starve_a_modest_one() {
    let (limit, hand, _) = made(LimitSettings { queue: Some(3), ..enforced(10) });
    let (greedy, modest) = (call(Priority::NORMAL, 11), call(Priority::NORMAL, 22));
    let (mut running, mut waiting, mut shed) = (Vec::new(), Vec::new(), [0, 0]);
    let mut begun = [0, 0];
    for round in 0..1000 {
        hand.advance(10 * MS);
        // The greedy one asks for five times of what there is, the modest one for a fifth of it; two calls end.
        for _ in 0..10 {
            waiting.push((0, Box::pin(limit.acquire(&greedy))));
        }
        if round % 5 == 0 {
            waiting.push((1, Box::pin(limit.acquire(&modest))));
        }
        for pass in 0..2 {
            if pass == 1 && running.len() > 1 {
                drop(running.drain(..2));
            }
            waiting.retain_mut(|(tenant, acquire)| match poll(acquire) {
                Poll::Pending => true,
                Poll::Ready(Ok(permit)) => {
                    begun[*tenant] += 1;
                    running.push(permit);
                    false
                }
                Poll::Ready(Err(_)) => {
                    shed[*tenant] += 1;
                    false
                }
            });
        }
    }
    assert_eq!((shed[1], begun[1]), (0, 200));
    // And nothing is wasted: what the modest one leaves goes to the greedy one.
    assert!(begun[0] > 1700 && shed[0] > 7000, "{begun:?} {shed:?}");
}

#[tokio::test(start_paused = true)]
async fn waits_for_the_shorter_of_deadline_and_setting() {
    let ((clock, _hand), settings) = (Clock::manual(), enforced(1));
    let limit = Limit::new(LimitSettings { queue: Some(9), ..settings }, &Env::new("test").with_clock(clock)).unwrap();
    let _permit = limit.try_acquire(&CallContext::default()).unwrap();
    for (deadline, waited) in [(None, 1000), (Some(30), 30), (Some(5000), 1000), (Some(0), 0)] {
        let start = tokio::time::Instant::now();
        let deadline = deadline.map(|ms| Moment::ZERO + Duration::from_millis(ms));
        let rejection = limit.acquire(&CallContext { deadline, ..CallContext::default() }).await.unwrap_err();
        assert_eq!((rejection.reason, start.elapsed()), (Reason::QueueTimeout, waited * MS));
    }
    assert_eq!(limit.queued(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropped_at_any_point_it_gives_back_what_it_has() {
    let (limit, ..) = made(enforced(1));
    let context = CallContext::default();
    drop(limit.acquire(&context));
    let permit = limit.try_acquire(&context).unwrap();
    drop(limit.acquire(&context));
    drop(queued(&limit, context));
    let granted = queued(&limit, context);
    permit.record(Health::Good);
    assert_eq!((limit.in_flight(), limit.queued()), (1, 0));
    drop(granted);
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    // Whoever lost its place and has not looked yet has nothing to give back.
    let _permit = limit.try_acquire(&context).unwrap();
    let lost = queued(&limit, call(Priority::NORMAL, 0));
    let _better = queued(&limit, call(Priority::HIGHEST, 0));
    drop(lost);
    assert_eq!((limit.in_flight(), limit.queued()), (1, 1));
}

#[test]
fn in_shadow_it_tells_and_learns_and_does_not_act() {
    let (limit, _, told) = made(LimitSettings { queue: Some(2), mode: Mode::Shadow, ..enforced(4) });
    let all: Vec<_> = (0..6).map(|_| limit.try_acquire(&CallContext::default()).unwrap()).collect();
    assert!(told.take().is_empty());
    let more = limit.try_acquire(&CallContext::default()).unwrap();
    assert_eq!(told.take(), [Event::Rejected { reason: Reason::Shed, enforced: false }]);
    let critical = limit.try_acquire(&call(Priority::CRITICAL, 0)).unwrap();
    assert!(told.take().is_empty());
    assert_eq!(limit.in_flight(), 8);
    drop((all, more, critical));
    assert_eq!(limit.in_flight(), 0);
}

#[test]
fn switched_off_it_passes_all_and_counts_none() {
    let (limit, hand, told) = made(LimitSettings { mode: Mode::Off, ..enforced(1) });
    let permits: Vec<_> = (0..200).map(|_| limit.try_acquire(&CallContext::default()).unwrap()).collect();
    hand.advance(2 * SECOND);
    permits.into_iter().for_each(|permit| permit.record(Health::Busy));
    assert_eq!((limit.in_flight(), limit.limit(), told.take().len()), (0, 1, 0));
}

#[test]
fn what_cannot_work_is_refused_with_all_its_fields() {
    let settings = LimitSettings {
        start: 0,
        min: Some(0),
        max: u32::MAX,
        queue: Some(0),
        wait: Duration::ZERO,
        max_healthy: Some(Duration::ZERO),
        ..Default::default()
    };
    let error = Limit::new(settings, &Env::default()).unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|problem| problem.field.as_str()).collect();
    let all = ["start", "min", "max", "queue", "wait", "max_healthy"].map(|field| format!("adaptive.{field}"));
    assert_eq!(fields, all);
    for (start, min, max) in [(10, Some(11), 1000), (1001, None, 1000)] {
        assert!(LimitSettings { start, min, max, ..Default::default() }.check().is_err());
    }
    assert_eq!(LimitSettings::default().check(), Ok(()));
    // However many cores there are, the least is not above the start.
    assert_eq!(LimitSettings { start: 2, ..Default::default() }.floor(), 2);
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_read_as_in_a_file() {
    let text = r#"{"mode": "enforce", "algorithm": "vegas", "queue": 9, "max_healthy": "250ms"}"#;
    let settings: LimitSettings = serde_json::from_str(text).unwrap();
    let expected = LimitSettings {
        mode: Mode::Enforce,
        algorithm: Algorithm::Vegas,
        queue: Some(9),
        max_healthy: Some(250 * MS),
        ..Default::default()
    };
    assert_eq!(settings, expected);
    assert_eq!(serde_json::from_str::<LimitSettings>(&serde_json::to_string(&settings).unwrap()).unwrap(), expected);
    assert_eq!(serde_json::from_str::<LimitSettings>("{}").unwrap().mode, Mode::Shadow);
    assert!(serde_json::from_str::<LimitSettings>(r#"{"limit": 8}"#).is_err());
}

#[derive(Clone)]
struct ByNumber;

/// A request is its priority.
impl Profile<u8> for ByNumber {
    fn context(&self, request: &u8) -> CallContext {
        call(if *request == 5 { Priority::CRITICAL } else { Priority::claimed(*request) }, 0)
    }
}

#[tokio::test(start_paused = true)]
async fn the_layer_takes_priorities_from_the_profile_and_health_from_the_judge() {
    let (limit, hand, _) = made(LimitSettings { min: Some(1), algorithm: Algorithm::Aimd, ..enforced(2) });
    let layer = LimitLayer::new(limit.clone())
        .profiled_by(ByNumber)
        .judged_by(|_: Result<&(), &Error<()>>| Verdict { health: Health::Busy, ..Verdict::GOOD });
    let service = layer.layer(service_fn(|_: u8| async {
        tokio::task::yield_now().await;
        Ok::<_, Error<()>>(())
    }));
    let mut calls: Vec<_> = [2, 2, 2, 5].iter().map(|level| Box::pin(service.clone().oneshot(*level))).collect();
    assert!(calls.iter_mut().all(|call| poll(call).is_pending()));
    assert_eq!((limit.in_flight(), limit.queued()), (3, 1));
    let shed = service.clone().oneshot(2).await.unwrap_err();
    assert_eq!(shed.reason(), Some(Reason::Shed));
    drop(calls);
    assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    for _ in 0..50 {
        hand.advance(20 * MS);
        service.clone().oneshot(2).await.unwrap();
    }
    // 50 calls of which the judge says that the service has enough.
    assert_eq!(limit.limit(), 1);
}

#[derive(Debug, Clone)]
enum Step {
    Ask(u8, u64),
    Poll(prop::sample::Index),
    Finish(prop::sample::Index, bool),
    Cancel(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..6, 0u64..4).prop_map(|(level, tenant)| Step::Ask(level, tenant)),
        4 => any::<prop::sample::Index>().prop_map(Step::Poll),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, good)| Step::Finish(at, good)),
        2 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => (0u64..700).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Any calls of any class that begin, wait, end and are dropped in any order, while the limit moves: every permit
    /// is counted once, the queue keeps its bound, nobody waits who might go, nothing leaks.
    #[test]
    fn no_permit_leaks_and_nobody_waits_who_might_go(
        start in 1u32..6,
        queue in 1u32..5,
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let (limit, hand, _) = made(LimitSettings { queue: Some(queue), min: Some(1), ..enforced(start) });
        let (mut permits, mut asked) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Ask(level, tenant) => {
                    let priority = if level == 5 { Priority::CRITICAL } else { Priority::claimed(level) };
                    let mut acquire = Box::pin(limit.acquire(&call(priority, tenant)));
                    match poll(&mut acquire) {
                        Poll::Ready(Ok(permit)) => permits.push(permit),
                        Poll::Ready(Err(rejection)) => {
                            prop_assert_eq!(rejection.reason, Reason::Shed);
                            prop_assert!(priority < Priority::CRITICAL && limit.queued() == queue);
                        }
                        Poll::Pending => asked.push((priority, acquire)),
                    }
                }
                Step::Poll(at) if !asked.is_empty() => {
                    let at = at.index(asked.len());
                    if let Poll::Ready(answer) = poll(&mut asked[at].1) {
                        permits.extend(answer.ok());
                        drop(asked.swap_remove(at));
                    }
                }
                Step::Finish(at, good) if !permits.is_empty() => {
                    let health = if good { Health::Good } else { Health::Busy };
                    permits.swap_remove(at.index(permits.len())).record(health);
                }
                Step::Cancel(at) if !asked.is_empty() => drop(asked.swap_remove(at.index(asked.len()))),
                Step::Pass(millis) => {
                    hand.advance(Duration::from_millis(millis));
                    runtime.block_on(tokio::time::advance(Duration::from_millis(millis)));
                }
                _ => {}
            }
            prop_assert!(limit.queued() <= queue && limit.queued() as usize <= asked.len());
            prop_assert!(limit.in_flight() as usize >= permits.len());
            prop_assert!(limit.in_flight() as usize <= permits.len() + asked.len());
            // Whoever is still in the queue has no room; whoever has a permit or lost its place is told when polled.
            let waiting = limit.queued() as usize;
            let answered = asked.len() - waiting;
            let mut ready = 0;
            let mut left = Vec::new();
            for (priority, mut acquire) in asked {
                match poll(&mut acquire) {
                    Poll::Ready(answer) => {
                        ready += 1;
                        permits.extend(answer.ok());
                    }
                    Poll::Pending => {
                        let percent = [50, 75, 100, 100, 100][usize::from(priority.level())];
                        prop_assert!(limit.in_flight() >= (limit.limit() * percent).div_ceil(100));
                        left.push((priority, acquire));
                    }
                }
            }
            prop_assert!(ready >= answered);
            asked = left;
        }
        drop((permits, asked));
        prop_assert_eq!((limit.in_flight(), limit.queued()), (0, 0));
    }

    #[test]
    fn no_setting_and_no_clock_panics(
        start: u32, min: Option<u32>, max: u32, queue: Option<u32>, wait: u64, healthy: Option<u64>,
        algorithm in prop_oneof![Just(Algorithm::Gradient2), Just(Algorithm::Aimd), Just(Algorithm::Vegas)],
        times: [u64; 8],
    ) {
        let settings = LimitSettings {
            mode: Mode::Enforce,
            algorithm,
            // Half of the cases within what is allowed, or hardly any would come past the check.
            start: if wait % 2 == 0 { start % 1000 + 1 } else { start },
            min: min.map(|min| min % 1000),
            max: if wait % 2 == 0 { max % 1_000_000 } else { max },
            queue: queue.map(|queue| queue % 2000),
            wait: Duration::from_millis(wait),
            max_healthy: healthy.map(Duration::from_nanos),
        };
        let (clock, hand) = Clock::manual();
        let Ok(limit) = Limit::new(settings, &Env::new("test").with_clock(clock)) else { return Ok(()) };
        for (n, time) in times.into_iter().enumerate() {
            hand.set(Moment::from_nanos(time));
            let context = CallContext { tenant: time, priority: Priority::claimed(n as u8), ..CallContext::default() };
            for _ in 0..60 {
                let Ok(permit) = limit.try_acquire(&context) else { continue };
                hand.advance(Duration::from_nanos(time));
                permit.record(if n % 2 == 0 { Health::Good } else { Health::Failed });
            }
        }
        prop_assert_eq!(limit.in_flight(), 0);
        prop_assert!(limit.limit() >= 1);
    }
}
