use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::time::Hand;
use crate::{Clock, Env, Event, Health, Mode, Moment, Observer, PolicyKind, Rejection, Share};

mod layer;
mod model;
mod modes;
mod refusals;
mod soak;
mod transitions;

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// Keeps all that it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Observer for Heard {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!((name, policy), ("payment", PolicyKind::Breaker));
        self.0.lock().unwrap().push(event.clone());
    }
}

/// A breaker whose clock a test turns.
struct Rig {
    breaker: Breaker,
    hand: Hand,
    heard: Arc<Heard>,
}

impl Rig {
    fn new(settings: BreakerSettings) -> Self {
        Self::seeded(settings, 1)
    }

    fn seeded(settings: BreakerSettings, seed: u64) -> Self {
        let (clock, hand) = Clock::manual();
        let heard = Arc::new(Heard::default());
        let env = Env::new("payment").with_clock(clock).with_seed(seed).with_observer(heard.clone());
        Self { breaker: Breaker::new(settings, &env).unwrap(), hand, heard }
    }

    fn call(&self, health: Health) {
        self.breaker.try_acquire().expect("not open").record(health);
    }

    fn calls(&self, n: u32, health: Health) {
        (0..n).for_each(|_| self.call(health));
    }

    fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Ten failures in a row, and for how long it is open.
    fn trip(&self) -> Duration {
        self.calls(10, Health::Failed);
        assert_eq!(self.state(), BreakerState::Open);
        self.open_for()
    }

    fn open_for(&self) -> Duration {
        self.breaker.try_acquire().unwrap_err().retry_after.expect("an open breaker knows until when")
    }

    /// Trips and waits until it may be probed.
    fn half_open(&self) {
        self.hand.advance(self.trip());
    }

    fn probe(&self) -> Pass {
        let pass = self.breaker.try_acquire().expect("a probe is due");
        assert!(pass.is_probe());
        pass
    }

    /// Trips it, and probes it well again.
    fn ramping(&self) {
        self.half_open();
        (0..3).for_each(|_| self.probe().record(Health::Good));
        assert_eq!(self.state(), BreakerState::Ramp);
    }

    /// Of so many calls, how many pass; they do well.
    fn passing(&self, of: u32) -> u32 {
        (0..of).filter(|_| self.breaker.try_acquire().map(|pass| pass.record(Health::Good)).is_ok()).count() as u32
    }

    fn heard(&self) -> Vec<Event> {
        std::mem::take(&mut self.heard.0.lock().unwrap())
    }

    /// The states that it has gone to.
    fn states(&self) -> Vec<(&'static str, bool)> {
        let states = self.heard().into_iter().filter_map(|event| match event {
            Event::State { to, enforced, .. } => Some((to, enforced)),
            _ => None,
        });
        states.collect()
    }
}

fn default() -> BreakerSettings {
    BreakerSettings::default()
}
