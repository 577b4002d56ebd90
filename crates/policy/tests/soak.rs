//! Ten million random calls through the whole stack, cut off at random points, against a model that counts.
//!
//! The model is what the stack promises about resources: what runs at the service is what the bulkhead says, no more
//! than its limit; requests are active in the budget while their futures live, and not longer; a half-open breaker
//! has at most its probes at the service; retries stay within the budget; and when all futures are gone, nothing is
//! held by anybody.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mainstay_policy::{
    BreakerState, Clock, Env, Error, Judge, Plain, Policy, PolicyLayer, PolicyService, PolicySettings, Verdict,
};
use tower::{Layer, Service};

const CALLS: u64 = 10_000_000;
/// Futures alive at once.
const SLOTS: usize = 48;
const IN_FLIGHT: u32 = 16;
const QUEUE: u32 = 8;
const PROBES: u32 = 3;

/// What the service does next, for all calls: an outage, or random answers.
#[derive(Debug, Default)]
struct Weather {
    rng: Cell<u64>,
    failing_percent: Cell<u64>,
    /// Calls at the service.
    running: Cell<u32>,
    /// Calls that ever came to the service.
    arrived: Cell<u64>,
}

impl Weather {
    fn random(&self, below: u64) -> u64 {
        // splitmix64: enough for dice, and the model needs no crate for it.
        let state = self.rng.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.rng.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[derive(Debug, Clone)]
struct Fickle(Rc<Weather>);

/// A call at the service: answers after some polls, or never.
struct Work {
    weather: Rc<Weather>,
    polls: Option<u64>,
}

impl Service<u64> for Fickle {
    type Response = u64;
    type Error = &'static str;
    type Future = Work;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u64) -> Work {
        let weather = self.0.clone();
        weather.running.set(weather.running.get() + 1);
        weather.arrived.set(weather.arrived.get() + 1);
        let polls = match weather.random(20) {
            0 => None,
            n => Some(n / 6),
        };
        Work { weather, polls }
    }
}

impl Future for Work {
    type Output = Result<u64, &'static str>;
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.polls {
            None => Poll::Pending,
            Some(0) if self.weather.random(100) < self.weather.failing_percent.get() => Poll::Ready(Err("failed")),
            Some(0) => Poll::Ready(Ok(self.weather.random(50))),
            Some(left) => {
                self.polls = Some(left - 1);
                Poll::Pending
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.weather.running.set(self.weather.running.get() - 1);
    }
}

/// One in fifty answers says "too many", so that this is met, too.
#[derive(Debug, Clone, Copy)]
struct Rule;

impl Judge<u64, &'static str> for Rule {
    fn judge(&self, outcome: Result<&u64, &&'static str>) -> Verdict {
        match outcome {
            Ok(0) => Verdict { health: mainstay_policy::Health::Busy, ..Verdict::FAILED },
            Ok(_) => Verdict::GOOD,
            Err(_) => Verdict::FAILED,
        }
    }
}

type Stack = PolicyService<Fickle, Plain, Rule>;
type Running = Pin<Box<<Stack as Service<u64>>::Future>>;

struct Soak {
    weather: Rc<Weather>,
    layer: PolicyLayer<Plain, Rule>,
    service: Stack,
    slots: Vec<Option<Running>>,
    calls: u64,
    ended: [u64; 3],
}

impl Soak {
    fn new(seed: u64) -> Self {
        let weather = Rc::new(Weather::default());
        weather.rng.set(seed);
        let env = Env::new("soak").with_clock(Clock::tokio()).with_seed(seed);
        let layer = Policy::standard()
            .with(|settings| {
                let PolicySettings { timeout, breaker, bulkhead, adaptive, hedge, .. } = settings;
                timeout.total = Duration::from_secs(3);
                timeout.per_try = Duration::from_secs(1);
                breaker.probes = PROBES;
                (bulkhead.in_flight, bulkhead.queue) = (IN_FLIGHT, QUEUE);
                adaptive.mode = mainstay_policy::Mode::Enforce;
                hedge.mode = mainstay_policy::Mode::Enforce;
            })
            .profiled_by(Plain::repeatable())
            .judged_by(Rule)
            .layer(&env)
            .expect("these settings can work");
        let service = layer.layer(Fickle(weather.clone()));
        Self { weather, layer, service, slots: (0..SLOTS).map(|_| None).collect(), calls: 0, ended: [0; 3] }
    }

    /// Begins, polls or drops the call of a random slot.
    fn step(&mut self, cx: &mut Context<'_>) {
        let at = self.weather.random(SLOTS as u64) as usize;
        match &mut self.slots[at] {
            slot @ None => {
                if let Poll::Ready(ready) = self.service.poll_ready(cx) {
                    ready.expect("the service is always ready");
                    *slot = Some(Box::pin(self.service.call(self.calls)));
                    self.calls += 1;
                }
            }
            slot if self.weather.random(12) == 0 => {
                *slot = None;
                self.ended[2] += 1;
            }
            slot @ Some(_) => {
                let poll = slot.as_mut().map(|call| call.as_mut().poll(cx));
                if let Some(Poll::Ready(outcome)) = poll {
                    self.ended[usize::from(outcome.is_err())] += 1;
                    *slot = None;
                }
            }
        }
        self.hold();
    }

    /// What must be true at every moment.
    fn hold(&self) {
        let (running, layer) = (self.weather.running.get(), &self.layer);
        assert!(running <= IN_FLIGHT && layer.bulkhead().in_flight() <= IN_FLIGHT, "{running} run at the service");
        assert!(running <= layer.bulkhead().in_flight(), "who runs has a permit");
        assert!(layer.bulkhead().queued() <= QUEUE);
        let alive = self.slots.iter().flatten().count() as u64;
        assert!(layer.budget().active() <= alive, "a request is active while its future lives");
        assert!(layer.breaker().probes() <= PROBES as usize);
        if layer.breaker().state() == BreakerState::HalfOpen {
            assert!(layer.breaker().probes() as u64 <= alive * 2);
        }
    }

    /// With all futures dropped nothing may be held.
    fn clear(&mut self) {
        self.slots.iter_mut().for_each(|slot| *slot = None);
        let layer = &self.layer;
        assert_eq!(self.weather.running.get(), 0);
        assert_eq!((layer.bulkhead().in_flight(), layer.bulkhead().queued()), (0, 0));
        assert_eq!((layer.budget().active(), layer.budget().retrying()), (0, 0));
        assert_eq!((layer.limit().in_flight(), layer.limit().queued()), (0, 0));
        assert_eq!(layer.breaker().probes(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn ten_million_calls_leak_nothing() {
    let mut soak = Soak::new(7);
    let mut cx = Context::from_waker(Waker::noop());
    let mut weather_until = 0;
    while soak.calls < CALLS {
        for _ in 0..512 {
            soak.step(&mut cx);
        }
        // Timers fire, breakers come back, budgets refill.
        tokio::time::advance(Duration::from_millis(soak.weather.random(40))).await;
        if soak.calls >= weather_until {
            // An outage now and then; mostly a few failures.
            let failing = [0, 2, 5, 30, 100][soak.weather.random(5) as usize];
            soak.weather.failing_percent.set(failing);
            weather_until = soak.calls + 20_000;
            soak.clear();
        }
    }
    soak.clear();
    let [good, bad, dropped] = soak.ended;
    assert!(good > CALLS / 100 && bad > CALLS / 100 && dropped > CALLS / 100, "{good} {bad} {dropped}");
}

/// The same seed gives the same run: what fails once fails again.
#[tokio::test(start_paused = true)]
async fn a_run_repeats() {
    async fn run() -> ([u64; 3], u64) {
        let mut soak = Soak::new(11);
        soak.weather.failing_percent.set(30);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..200 {
            for _ in 0..512 {
                soak.step(&mut cx);
            }
            tokio::time::advance(Duration::from_millis(soak.weather.random(40))).await;
        }
        (soak.ended, soak.weather.arrived.get())
    }
    assert_eq!(run().await, run().await);
}

/// The error of a stack is one type, however many layers there are.
#[test]
fn the_stack_has_one_error() {
    fn error_of<S: Service<u64, Error = Error<&'static str>>>(_: &S) {}
    let layer = Policy::standard().judged_by(Rule).layer(&Env::default()).unwrap();
    error_of(&layer.layer(Fickle(Rc::default())));
    let _: Option<Error<Infallible>> = None;
}
