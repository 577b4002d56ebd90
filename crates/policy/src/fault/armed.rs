//! A fault that is armed: which requests it hits, and what it holds back.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Duration;

use super::{Delay, FaultSettings};
use crate::Moment;
use crate::settings::DURATION_MAX;
use crate::sync::{AtomicU64, Mutex, Ordering, lock};

/// A clock that has gone back further than threads can differ in its reading.
const STEP_BACK_MAX: Duration = Duration::from_secs(1);

pub(super) struct Armed {
    pub(super) settings: FaultSettings,
    seed: u64,
    until: Moment,
    seen: AtomicU64,
    held: Mutex<Held>,
}

/// Requests that wait for the fault to end. Bounded by `at_most`.
#[derive(Default)]
struct Held {
    over: bool,
    next: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl Armed {
    pub(super) fn new(settings: FaultSettings, seed: u64, now: Moment) -> Self {
        let until = now + settings.ttl;
        Self { settings, seed, until, seen: AtomicU64::new(0), held: Mutex::default() }
    }

    /// How much longer it lasts. A clock that was set back ends it: the time that it has lasted is not known.
    pub(super) fn left(&self, now: Moment) -> Option<Duration> {
        let left = self.until.since(now);
        (!left.is_zero() && left <= self.settings.ttl + STEP_BACK_MAX).then_some(left)
    }

    /// Whether it hits the next request, and if so how long that is held back.
    pub(super) fn next(&self) -> Option<Duration> {
        let n = self.seen.fetch_add(1, Ordering::Relaxed);
        if self.settings.nth.is_some_and(|nth| u64::from(nth) != n + 1) {
            return None;
        }
        // A generator for each request: what is drawn for one does not depend on which thread had the one before.
        let mut rng = fastrand::Rng::with_seed(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let hit = rng.u16(0..10_000) < self.settings.share.points();
        hit.then(|| self.settings.delay.map_or(Duration::ZERO, |delay| delay.draw(&mut rng)))
    }

    /// Lets go of what it holds.
    pub(super) fn end(&self) {
        let wakers = {
            let mut held = lock(&self.held);
            held.over = true;
            std::mem::take(&mut held.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    /// Whether it has ended; if not, `waker` will hear of it, in the place of what stood under `ticket`.
    pub(super) fn ended(&self, ticket: &mut Option<u64>, waker: &Waker) -> bool {
        let mut held = lock(&self.held);
        if held.over {
            return true;
        }
        let id = *ticket.get_or_insert(held.next);
        held.next = held.next.max(id + 1);
        held.wakers.entry(id).or_insert_with(|| waker.clone()).clone_from(waker);
        false
    }

    pub(super) fn forget(&self, ticket: u64) {
        lock(&self.held).wakers.remove(&ticket);
    }
}

impl Delay {
    pub(super) fn draw(self, rng: &mut fastrand::Rng) -> Duration {
        match self {
            Self::Fixed(delay) => delay,
            Self::Normal { mean, deviation } => {
                // Box and Muller (1958); 1 − U is never 0, so the logarithm is finite.
                let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * rng.f64()).cos();
                seconds(mean.as_secs_f64() + normal * deviation.as_secs_f64(), DURATION_MAX)
            }
            Self::Pareto { scale, shape, cap } => {
                let tail = (1.0 - rng.f64()).powf(-1.0 / shape);
                seconds(scale.as_secs_f64() * tail, cap)
            }
        }
    }
}

/// What is below nothing is nothing; what is infinite is `max`.
fn seconds(seconds: f64, max: Duration) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(max).min(max)
}
