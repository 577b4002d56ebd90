mod keys;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, Service, ServiceExt};

use super::direct::Arrival;
use super::gcra::Gcra;
use super::*;
use crate::{BoxError, Clock, Env, Event, Hand, Mode, Moment, Observer, PolicyKind, Rate, Reason, RetrySafety};

fn manual(settings: RateLimitSettings) -> (RateLimit, Hand) {
    let (clock, hand) = Clock::manual();
    (RateLimit::new(settings, &Env::new("x").with_clock(clock)).unwrap(), hand)
}

fn keyed(settings: RateLimitSettings) -> (KeyedRateLimit<u32>, Hand) {
    let (clock, hand) = Clock::manual();
    (KeyedRateLimit::new(settings, &Env::new("x").with_clock(clock).with_seed(7)).unwrap(), hand)
}

const fn rate(count: u32, per: Duration) -> Rate {
    Rate { count, per }
}

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

/// A bucket of tokens, in whole numbers: a token is `per` parts, and `count` parts flow in each nanosecond. Fed by the
/// time that the clock tells to have passed; what it takes back is not taken back here.
struct Bucket {
    rate: Rate,
    full: u128,
    parts: u128,
    last: u64,
}

impl Bucket {
    fn new(rate: Rate, burst: u32) -> Self {
        let full = u128::from(burst) * rate.per.as_nanos();
        Self { rate, full, parts: full, last: 0 }
    }

    /// Feeds it, with `early` nanoseconds more than have passed, and says whether there is a token.
    fn holds(&mut self, now: u64, early: i64) -> bool {
        self.parts =
            (self.parts + u128::from(now.saturating_sub(self.last)) * u128::from(self.rate.count)).min(self.full);
        self.last = now;
        let slack = i128::from(early) * i128::from(self.rate.count);
        self.parts as i128 + slack >= self.rate.per.as_nanos() as i128
    }

    fn take(&mut self) {
        self.parts = self.parts.saturating_sub(self.rate.per.as_nanos());
    }
}

fn rates() -> impl Strategy<Value = Rate> {
    prop_oneof![
        (1..=u32::MAX).prop_map(Rate::per_second),
        (1u32..2000, 1u64..=1000 * 86_400_000).prop_map(|(count, ms)| rate(count, Duration::from_millis(ms))),
        (1u32..100).prop_map(|count| rate(count, Duration::from_secs(60))),
    ]
}

proptest! {
    /// Against the bucket, for any rate that settings allow and any steps of time: never more than the bucket holds,
    /// and never less but for what lies within two nanoseconds. Who was turned away often comes when told to, which is
    /// where one nanosecond decides.
    #[test]
    fn admits_what_a_bucket_of_tokens_holds(
        rate in rates(),
        burst in 1u32..50,
        steps in prop::collection::vec((0u64..2_500, any::<bool>()), 1..200),
        start in 0u64..1 << 59,
    ) {
        let settings = RateLimitSettings::new(rate, burst);
        prop_assume!(settings.check().is_ok());
        let gcra = Gcra::new(rate, burst);
        let (arrival, mut bucket) = (Arrival::new(), Bucket::new(rate, burst));
        let (mut now, mut wait) = (start, None);
        bucket.last = start;
        for (thousandths, obedient) in steps {
            let step = rate.per.as_nanos() * u128::from(thousandths) / 1000 / u128::from(rate.count);
            now += wait.filter(|_| obedient).unwrap_or(step as u64);
            let (never, surely) = (!bucket.holds(now, 2), bucket.holds(now, -2));
            wait = match arrival.admit(&gcra, gcra.ticks(Moment::from_nanos(now))) {
                Ok(()) => {
                    prop_assert!(!never, "more than there is");
                    bucket.take();
                    None
                }
                Err(refused) => {
                    prop_assert!(!surely, "less than there is");
                    Some(refused.wait.as_nanos() as u64)
                }
            };
        }
    }

    /// A clock that jumps about: what it takes back gives nothing, and nobody waits for longer than until the limit
    /// is full, and the second that tells a step from a clock that was set anew.
    #[test]
    fn a_clock_that_goes_back_takes_nothing_extra(
        count in 1u32..1000,
        burst in 1u32..50,
        times in prop::collection::vec(0u64..20_000_000_000, 1..100),
    ) {
        let rate = Rate::per_second(count);
        let gcra = Gcra::new(rate, burst);
        let (arrival, mut bucket) = (Arrival::new(), Bucket::new(rate, burst));
        for now in times {
            let holds = bucket.holds(now, 2);
            match arrival.admit(&gcra, gcra.ticks(Moment::from_nanos(now))) {
                Ok(()) => {
                    prop_assert!(holds);
                    bucket.take();
                }
                Err(refused) => {
                    let longest = rate.per.as_secs_f64() / f64::from(count) * f64::from(burst) + 1.0;
                    prop_assert!(refused.wait.as_secs_f64() <= longest + 1e-6);
                }
            }
        }
    }

    #[test]
    fn no_time_and_no_rate_however_strange_breaks_it(
        count: u32, per: u64, burst: u32, times in prop::collection::vec(any::<u64>(), 1..30),
    ) {
        for per in [Duration::from_nanos(per), Duration::from_secs(per % 90_000_000)] {
            let settings = RateLimitSettings::new(rate(count, per), burst);
            if settings.check().is_err() {
                continue;
            }
            let (limit, hand) = manual(settings);
            let (keys, other) = keyed(settings);
            for now in &times {
                hand.set(Moment::from_nanos(*now));
                other.set(Moment::from_nanos(*now));
                let _ = (limit.try_acquire(), limit.quota(), keys.try_acquire(&1), keys.quota(&1));
            }
        }
    }

    /// Coming back when told is in time, and two nanoseconds earlier than that it was not yet.
    #[test]
    fn retry_after_is_exact(rate in rates(), burst in 1u32..20, start in 0u64..1 << 59) {
        let settings = RateLimitSettings::new(rate, burst);
        prop_assume!(settings.check().is_ok());
        let (limit, hand) = manual(settings);
        hand.set(Moment::from_nanos(start));
        let wait = (0..=burst).find_map(|_| limit.try_acquire().err()).and_then(|r| r.retry_after).unwrap();
        if wait > 3 * NANO {
            hand.advance(wait - 3 * NANO);
            prop_assert!(limit.try_acquire().is_err());
            hand.advance(3 * NANO);
        } else {
            hand.advance(wait);
        }
        prop_assert!(limit.try_acquire().is_ok());
    }

}

/// 333,333,333⅓ ns each: rounded to whole nanoseconds it would be 43 µs off after the 12 hours of this test.
#[test]
fn three_in_a_second_are_three_in_a_second_after_twelve_hours() {
    let gcra = Gcra::new(Rate::per_second(3), 2);
    let arrival = Arrival::new();
    let admitted = |nanos| arrival.admit(&gcra, gcra.ticks(Moment::from_nanos(nanos))).is_ok();
    // From here on the burst is never whole again, so that a request which comes late moves none that comes after it.
    assert!(admitted(0) && admitted(0));
    for n in 1..=3u64 * 12 * 3600 {
        let exact = n * 1_000_000_000 / 3;
        assert!(!admitted(exact - 3), "{n}");
        assert!(admitted(exact + 3), "{n}");
    }
}

#[test]
fn a_burst_and_then_the_rate() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(10), 5));
    let admitted = |limit: &RateLimit| std::iter::repeat_with(|| limit.try_acquire()).take_while(Result::is_ok).count();
    assert_eq!(admitted(&limit), 5);
    hand.advance(Duration::from_millis(99));
    assert_eq!(admitted(&limit), 0);
    hand.advance(Duration::from_millis(1));
    assert_eq!(admitted(&limit), 1);
    hand.advance(Duration::from_millis(300));
    assert_eq!(admitted(&limit), 3);
    hand.advance(1000 * SECOND);
    assert_eq!(admitted(&limit), 5);
}

#[test]
fn hammering_costs_nothing() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(1), 1));
    assert!(limit.try_acquire().is_ok());
    for _ in 0..1000 {
        assert!(limit.try_acquire().is_err());
    }
    hand.advance(SECOND + 2 * NANO);
    assert!(limit.try_acquire().is_ok());
}

#[test]
fn the_quota_says_what_is_left() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(10), 5));
    assert_eq!(limit.quota(), Quota { limit: 5, remaining: 5, reset: Duration::ZERO });
    for left in (0..5).rev() {
        limit.try_acquire().unwrap();
        let quota = limit.quota();
        assert_eq!((quota.remaining, quota.reset.as_millis()), (left, u128::from(5 - left) * 100));
    }
    hand.advance(Duration::from_millis(250));
    assert_eq!((limit.quota().remaining, limit.quota().reset.as_millis()), (2, 250));
}

#[test]
fn the_fastest_and_the_slowest() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(u32::MAX), u32::MAX));
    assert_eq!(limit.quota().remaining, u32::MAX);
    assert!(limit.try_acquire().is_ok());
    hand.set(Moment::MAX);
    assert!(limit.try_acquire().is_ok());

    let slow = Duration::from_secs(1000 * 86_400);
    let (limit, hand) = manual(RateLimitSettings::new(rate(1, slow), 1));
    assert!(limit.try_acquire().is_ok());
    hand.advance(slow - SECOND);
    assert_eq!(limit.try_acquire().unwrap_err().retry_after.map(|wait| wait.as_secs()), Some(1));
    hand.advance(SECOND + 2 * NANO);
    assert!(limit.try_acquire().is_ok());
}

#[test]
fn a_clock_that_was_set_back_an_hour_is_not_waited_for() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(10), 5));
    let (keys, other) = keyed(RateLimitSettings::new(Rate::per_second(10), 5));
    hand.set(Moment::from(3600 * SECOND));
    other.set(Moment::from(3600 * SECOND));
    assert!(limit.try_acquire().is_ok() && keys.try_acquire(&1).is_ok());
    hand.set(Moment::ZERO);
    other.set(Moment::ZERO);
    // Nothing for the step itself.
    assert!(limit.try_acquire().is_err() && keys.try_acquire(&1).is_err());
    assert_eq!(limit.quota().remaining, 0);
    hand.advance(Duration::from_millis(101));
    other.advance(Duration::from_millis(101));
    assert!(limit.try_acquire().is_ok() && keys.try_acquire(&1).is_ok());
    assert!(limit.try_acquire().is_err() && keys.try_acquire(&1).is_err());
}

#[test]
fn threads_together_get_the_burst_and_no_more() {
    for _ in 0..20 {
        let (limit, hand) = manual(RateLimitSettings::new(rate(1, 100 * SECOND), 1000));
        let keys = keyed(RateLimitSettings::new(rate(1, 100 * SECOND), 1000)).0;
        let admitted = || {
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..4)
                    .map(|n| {
                        let (limit, keys) = (&limit, &keys);
                        scope.spawn(move || {
                            let mut counts = (0, 0);
                            for _ in 0..1000 {
                                counts.0 += usize::from(limit.try_acquire().is_ok());
                                counts.1 += usize::from(keys.try_acquire(&(n % 2)).is_ok());
                            }
                            counts
                        })
                    })
                    .collect();
                all.into_iter().map(|thread| thread.join().unwrap()).fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1))
            })
        };
        assert_eq!(admitted(), (1000, 2000));
        hand.advance(700 * SECOND);
        assert_eq!(admitted(), (7, 0));
    }
}

/// The time runs while threads ask: together they get the burst, and what was earned until the last of them asked.
#[test]
fn threads_never_get_more_than_was_earned_while_time_runs() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(1000), 10));
    let sum: u64 = std::thread::scope(|scope| {
        let clock = scope.spawn(|| (0..20_000).for_each(|_| hand.advance(Duration::from_micros(50))));
        let all: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..50_000).filter(|_| limit.try_acquire().is_ok()).count() as u64))
            .collect();
        clock.join().unwrap();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!((10..=10 + 1000).contains(&sum), "{sum}");
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!((name, policy), ("x", PolicyKind::RateLimit));
        self.0.lock().unwrap().push(event.clone());
    }
}

#[test]
fn shadow_tells_and_turns_nobody_away_and_off_does_neither() {
    for (mode, told) in [(Mode::Off, 0), (Mode::Shadow, 2), (Mode::Enforce, 2)] {
        let heard = Arc::new(Heard::default());
        let env = Env::new("x").with_clock(Clock::manual().0).with_observer(heard.clone());
        let settings = RateLimitSettings { mode, ..RateLimitSettings::new(Rate::per_second(1), 1) };
        let limit = RateLimit::new(settings, &env).unwrap();
        let keys = KeyedRateLimit::<u32>::new(settings, &env).unwrap();
        for n in 0..2 {
            let admitted = n == 0 || mode != Mode::Enforce;
            assert_eq!((limit.try_acquire().is_ok(), keys.try_acquire(&1).is_ok()), (admitted, admitted), "{mode:?}");
        }
        let expected = Event::Rejected { reason: Reason::RateLimited, enforced: mode == Mode::Enforce };
        assert_eq!(*heard.0.lock().unwrap(), vec![expected; told], "{mode:?}");
    }
}

/// Answers with how often it was asked, and counts how often it was polled for readiness.
#[derive(Clone, Default)]
struct Counting(u32);

impl Service<&'static str> for Counting {
    type Response = u32;
    type Error = BoxError;
    type Future = std::future::Ready<Result<u32, BoxError>>;
    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn call(&mut self, _: &'static str) -> Self::Future {
        self.0 += 1;
        std::future::ready(Ok(self.0))
    }
}

#[tokio::test]
async fn the_service_sees_only_what_is_admitted() {
    let (limit, hand) = manual(RateLimitSettings::new(Rate::per_second(1), 2));
    let mut service = RateLimitLayer::new(limit).layer(Counting::default());
    for expected in [1, 2] {
        assert_eq!(service.ready().await.unwrap().call("a").await.unwrap(), expected);
    }
    let error = service.ready().await.unwrap().call("a").await.unwrap_err();
    let rejection = error.downcast_ref::<crate::Rejection>().unwrap();
    assert_eq!((rejection.reason, rejection.retry_safety), (Reason::RateLimited, RetrySafety::Safe));
    hand.advance(rejection.retry_after.unwrap());
    assert_eq!(service.ready().await.unwrap().call("a").await.unwrap(), 3);
    // Clones share the limit.
    assert!(service.clone().ready().await.unwrap().call("a").await.is_err());
}

/// Readiness takes nothing: who asks and goes away has used up nothing.
#[tokio::test]
async fn readiness_takes_nothing() {
    let (limit, _hand) = manual(RateLimitSettings::new(Rate::per_second(1), 1));
    let layer = RateLimitLayer::new(limit.clone());
    for _ in 0..10 {
        let mut service = layer.layer(Counting::default());
        service.ready().await.unwrap();
    }
    assert_eq!(limit.quota().remaining, 1);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let problems = |settings: RateLimitSettings| match settings.check() {
        Ok(()) => Vec::new(),
        Err(error) => error.problems().iter().map(|problem| problem.field.clone()).collect(),
    };
    let fine = RateLimitSettings::new(Rate::per_second(1), 1);
    assert_eq!(problems(fine), [""; 0]);
    assert_eq!(problems(RateLimitSettings::default()), [""; 0]);
    for rate in [
        Rate::per_second(0),
        rate(1, Duration::ZERO),
        rate(1, Duration::MAX),
        rate(u32::MAX, Duration::from_millis(999)),
        rate(2, NANO),
        rate(0, Duration::ZERO),
    ] {
        let expected = if rate == (Rate { count: 2, per: NANO }) { vec![] } else { vec!["rate_limit.rate"] };
        assert_eq!(problems(RateLimitSettings { rate, ..fine }), expected, "{rate}");
    }
    assert_eq!(problems(RateLimitSettings { burst: 0, ..fine }), ["rate_limit.burst"]);
    let slow = rate(1, 500 * 86_400 * SECOND);
    assert_eq!(problems(RateLimitSettings { rate: slow, burst: 3, ..fine }), ["rate_limit.burst"]);
    assert_eq!(
        problems(RateLimitSettings { rate: Rate::per_second(0), burst: 0, keys_max: 0, ..fine }),
        ["rate_limit.rate", "rate_limit.burst", "rate_limit.keys_max"]
    );
}

#[cfg(feature = "serde")]
#[test]
fn what_is_written_acts() {
    let read = |text: &str| serde_json::from_str::<RateLimitSettings>(text);
    assert_eq!(read(r#"{"rate": "500/s", "burst": 100}"#).unwrap(), RateLimitSettings::new(Rate::per_second(500), 100));
    assert_eq!(read(r#"{"rate": "10/m", "mode": "shadow"}"#).unwrap().mode, Mode::Shadow);
    assert!(read(r#"{"rate": "500/s", "bursts": 100}"#).is_err());
    let off = RateLimitSettings::default();
    assert_eq!(off.mode, Mode::Off);
    assert_eq!(read(&serde_json::to_string(&off).unwrap()).unwrap(), off);
}
