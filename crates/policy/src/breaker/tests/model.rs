//! The breaker against a model of it that keeps lists where the breaker keeps counts, one thing after the other where
//! that has atomics, and leases where they are plain to see. The model is told the length of an opening, which chance
//! decides, and holds it to its bounds.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const HEALTH: [Health; 4] = [Health::Good, Health::Failed, Health::Busy, Health::Unknown];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Closed,
    Open { until: Moment },
    HalfOpen { successes: u32 },
    Ramp { since: Moment, calls: u32 },
    ByHand(BreakerState),
}

/// One call as the model sees it: in which state it was let in, and since when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Let {
    Counted { epoch: u64, since: Moment },
    Probe { id: u64, since: Moment },
    Uncounted,
}

struct Model {
    settings: BreakerSettings,
    is: Is,
    epoch: u64,
    openings: u32,
    row: u32,
    // When, whether bad, whether slow.
    calls: VecDeque<(u64, bool, bool)>,
    leases: Vec<(u64, Moment)>,
    next_lease: u64,
    // Opened just now: how long is still to be learnt.
    opened: bool,
}

impl Model {
    fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            is: Is::Closed,
            epoch: 0,
            openings: 0,
            row: 0,
            calls: VecDeque::new(),
            leases: Vec::new(),
            next_lease: 0,
            opened: false,
        }
    }

    fn slot(&self, now: Moment) -> u64 {
        now.as_nanos() / (self.settings.window.as_nanos() as u64 / 10)
    }

    fn enter(&mut self, is: Is) {
        self.is = is;
        self.epoch += 1;
        self.row = 0;
        self.calls.clear();
        self.leases.clear();
    }

    fn open(&mut self) {
        // The time is not known yet.
        self.enter(Is::Open { until: Moment::MAX });
        self.openings += 1;
        self.opened = true;
    }

    fn lease(&mut self, now: Moment) -> Option<Let> {
        self.next_lease += 1;
        self.leases.push((self.next_lease, now + self.settings.probe_lease));
        Some(Let::Probe { id: self.next_lease, since: now })
    }

    fn acquire(&mut self, now: Moment) -> Option<Let> {
        let counted = Let::Counted { epoch: self.epoch, since: now };
        match self.is {
            Is::Closed | Is::ByHand(BreakerState::MetricsOnly) => Some(counted),
            Is::ByHand(BreakerState::Disabled) => Some(Let::Uncounted),
            Is::ByHand(_) => None,
            Is::Open { until } if now < until => None,
            Is::Open { .. } => {
                self.enter(Is::HalfOpen { successes: 0 });
                self.lease(now)
            }
            Is::HalfOpen { .. } if self.leases.iter().any(|(_, until)| *until <= now) => {
                self.open();
                None
            }
            Is::HalfOpen { .. } if self.leases.len() < self.settings.probes as usize => self.lease(now),
            Is::HalfOpen { .. } => None,
            Is::Ramp { since, calls } => {
                let age = now.since(since);
                if age >= self.settings.ramp {
                    self.is = Is::Closed;
                    self.openings = 0;
                    return Some(counted);
                }
                self.is = Is::Ramp { since, calls: calls + 1 };
                let third = self.settings.ramp / 3;
                let quarters = 1 + u32::from(age >= third) + u32::from(age >= 2 * third);
                // Of four calls in a row at most so many quarters: the last ones of the four.
                let passes = match quarters {
                    1 => calls % 4 == 3,
                    2 => calls % 2 == 1,
                    _ => calls % 4 != 0,
                };
                passes.then_some(counted)
            }
        }
    }

    fn end(&mut self, now: Moment, call: Let, health: Health) {
        let is_slow = |since: Moment| self.settings.slow.is_some_and(|slow| now.since(since) > slow.over);
        match call {
            Let::Uncounted => {}
            Let::Probe { id, since } => {
                let Some(at) = self.leases.iter().position(|(lease, _)| *lease == id) else { return };
                let expired = self.leases.iter().any(|(_, until)| *until <= now);
                let slow = is_slow(since);
                self.leases.remove(at);
                let Is::HalfOpen { successes } = self.is else { panic!("a lease in {:?}", self.is) };
                if expired || matches!(health, Health::Failed | Health::Busy) || (slow && health == Health::Good) {
                    self.open();
                } else if health == Health::Good {
                    self.is = Is::HalfOpen { successes: successes + 1 };
                    if successes + 1 == self.settings.probes {
                        self.enter(Is::Ramp { since: now, calls: 0 });
                    }
                }
            }
            Let::Counted { epoch, since } => {
                if epoch != self.epoch || health == Health::Unknown {
                    return;
                }
                let (bad, slow) = (health != Health::Good, is_slow(since));
                self.calls.push_back((self.slot(now), bad, slow));
                match health {
                    Health::Good => self.row = 0,
                    Health::Failed => self.row += 1,
                    _ => {}
                }
                if (bad || slow) && matches!(self.is, Is::Closed | Is::Ramp { .. }) && self.trips(now) {
                    self.open();
                }
            }
        }
    }

    fn counts(&mut self, now: Moment) -> (u64, u64, u64) {
        let slot = self.slot(now);
        while self.calls.front().is_some_and(|(at, ..)| at + 10 <= slot) {
            self.calls.pop_front();
        }
        self.calls
            .iter()
            .fold((0, 0, 0), |(all, bad, slow), call| (all + 1, bad + u64::from(call.1), slow + u64::from(call.2)))
    }

    fn trips(&mut self, now: Moment) -> bool {
        let (all, bad, slow) = self.counts(now);
        let reached = |share: Share, part: u64| part * 10_000 >= all * u64::from(share.points());
        let enough = all >= u64::from(self.settings.min_requests);
        self.row >= self.settings.consecutive
            || (enough && reached(self.settings.error_rate, bad))
            || (enough && self.settings.slow.is_some_and(|rule| reached(rule.share, slow)))
    }

    fn force(&mut self, manual: Manual) {
        self.openings = 0;
        self.enter(match manual {
            Manual::Auto => Is::Closed,
            Manual::Open => Is::ByHand(BreakerState::ForcedOpen),
            Manual::Disabled => Is::ByHand(BreakerState::Disabled),
            Manual::MetricsOnly => Is::ByHand(BreakerState::MetricsOnly),
        });
    }

    /// Learns how long it is open, and whether that may be.
    fn learn(&mut self, now: Moment, length: Duration) {
        if !std::mem::take(&mut self.opened) {
            return;
        }
        let full = self.settings.open_for.saturating_mul(1 << (self.openings - 1).min(20)).min(self.settings.open_max);
        assert!(length >= full.mul_f64(0.799) && length <= full.mul_f64(1.201), "{length:?} of {full:?}");
        assert!(length <= self.settings.open_max);
        self.is = Is::Open { until: now + length };
    }

    fn state(&self) -> BreakerState {
        match self.is {
            Is::Closed => BreakerState::Closed,
            Is::Open { .. } => BreakerState::Open,
            Is::HalfOpen { .. } => BreakerState::HalfOpen,
            Is::Ramp { .. } => BreakerState::Ramp,
            Is::ByHand(state) => state,
        }
    }
}

/// Both, and the calls that run.
pub(super) struct Pair {
    pub(super) rig: Rig,
    model: Model,
    pub(super) running: Vec<(Pass, Let)>,
    now: Moment,
}

impl Pair {
    pub(super) fn new(settings: BreakerSettings, seed: u64) -> Self {
        let (rig, now) = (Rig::seeded(settings.clone(), seed), Moment::ZERO);
        Self { rig, model: Model::new(settings), running: Vec::new(), now }
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.rig.hand.advance(by);
    }

    pub(super) fn acquire(&mut self) {
        let expected = self.model.acquire(self.now);
        let pass = self.rig.breaker.try_acquire();
        assert_eq!(pass.is_ok(), expected.is_some(), "{:?} at {:?}", self.model.is, self.now);
        if let (Ok(pass), Some(call)) = (pass, expected) {
            assert_eq!(pass.is_probe(), matches!(call, Let::Probe { .. }));
            self.running.push((pass, call));
        }
        self.compare();
    }

    pub(super) fn end(&mut self, which: usize, health: Option<Health>) {
        if self.running.is_empty() {
            return;
        }
        let (pass, call) = self.running.swap_remove(which % self.running.len());
        self.model.end(self.now, call, health.unwrap_or(Health::Unknown));
        match health {
            Some(health) => pass.record(health),
            None => drop(pass),
        }
        self.compare();
    }

    pub(super) fn force(&mut self, manual: Manual) {
        self.model.force(manual);
        self.rig.breaker.force(manual);
        self.compare();
    }

    fn compare(&mut self) {
        assert_eq!(self.rig.state(), self.model.state(), "{:?} at {:?}", self.model.is, self.now);
        if self.model.opened {
            let rejection = Rejection::from(self.rig.breaker.would_refuse().expect("it has just opened"));
            self.model.learn(self.now, rejection.retry_after.unwrap());
        }
    }

    /// What costs more.
    pub(super) fn compare_counts(&mut self) {
        let (all, bad, _) = self.model.counts(self.now);
        assert_eq!(self.rig.breaker.counts(), (all, bad));
        assert_eq!(self.rig.breaker.probes(), self.model.leases.len());
    }

    /// Everything runs out, and a service that is well again is found to be.
    pub(super) fn heals(mut self) {
        while !self.running.is_empty() {
            self.end(0, None);
        }
        self.compare_counts();
        assert_eq!(self.rig.breaker.probes(), 0, "probes have leaked");
        if matches!(self.model.is, Is::ByHand(_)) {
            self.force(Manual::Auto);
        }
        for _ in 0..60 {
            self.advance(self.model.settings.open_max.max(self.model.settings.ramp) / 20);
            self.acquire();
            self.end(0, Some(Health::Good));
        }
        assert_eq!(self.rig.state(), BreakerState::Closed);
    }
}

fn any_settings() -> impl Strategy<Value = BreakerSettings> {
    let slow = prop::option::of((1u64..500, 1u16..=100).prop_map(|(over, share)| SlowCalls {
        over: Duration::from_millis(over),
        share: Share::percent(share).unwrap(),
    }));
    let times = (1u64..2000, 1u64..3000, 1u64..8, 1u64..2000, 0u64..3000);
    (times, 1u32..30, 1u32..15, 1u16..=100, 1u32..5, slow).prop_map(
        |((slot, open_for, longer, lease, ramp), min_requests, consecutive, share, probes, slow)| BreakerSettings {
            mode: Mode::Enforce,
            window: Duration::from_millis(10 * slot),
            min_requests,
            error_rate: Share::percent(share).unwrap(),
            consecutive,
            slow,
            open_for: Duration::from_millis(open_for),
            open_max: Duration::from_millis(open_for * longer),
            probes,
            probe_lease: Duration::from_millis(lease),
            ramp: Duration::from_millis(3 * ramp),
        },
    )
}

#[derive(Debug, Clone)]
enum Step {
    Advance(u64),
    Acquire,
    End(usize, Option<usize>),
    Force(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..300).prop_map(Step::Advance),
        1 => (0u64..10_000).prop_map(Step::Advance),
        8 => Just(Step::Acquire),
        8 => (any::<usize>(), prop::option::weighted(0.9, 0usize..4)).prop_map(|(which, how)| Step::End(which, how)),
        1 => (0usize..8).prop_map(Step::Force),
    ]
}

pub(super) const MANUAL: [Manual; 4] = [Manual::Auto, Manual::Open, Manual::Disabled, Manual::MetricsOnly];

proptest! {
    #[test]
    fn the_breaker_does_what_the_model_does(
        settings in any_settings(),
        steps in prop::collection::vec(any_step(), 1..400),
        seed: u64,
    ) {
        let mut pair = Pair::new(settings, seed);
        for step in steps {
            match step {
                Step::Advance(ms) => pair.advance(Duration::from_millis(ms)),
                Step::Acquire => pair.acquire(),
                Step::End(which, how) => pair.end(which, how.map(|n| HEALTH[n])),
                Step::Force(n) => if let Some(manual) = MANUAL.get(n) { pair.force(*manual) },
            }
            pair.compare_counts();
        }
        pair.heals();
    }
}
