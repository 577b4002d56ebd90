//! One of three endpoints fails all its requests: what do clients see of it?
//!
//! A thousand calls a second, the better of two by peak-EWMA, up to two retries to endpoints that were not tried,
//! ejection. The balancer shuns an endpoint that has failed, too, and so well that it hides what ejection does; so
//! everything is also run with a balancer that does not, and to which failing at once looks quick.

use std::collections::BTreeMap;

use super::*;
use crate::{PeakEwma, better_of_two};

const CALLS_PER_S: u64 = 1000;
const SECONDS: u64 = 60;
const BAD: u32 = 1;

#[derive(Debug, Default)]
struct Seen {
    calls: u64,
    errors: u64,
    attempts: u64,
    bad_attempts: u64,
}

#[derive(Clone, Copy)]
struct Case {
    mode: Mode,
    retries: usize,
    shuns: bool,
    failure: Failure,
    failure_took: Duration,
    seed: u64,
}

const WORST: Case =
    Case { mode: Mode::Enforce, retries: 2, shuns: false, failure: Failure::Status, failure_took: MS, seed: 1 };

/// What was seen after the first second.
fn simulate(case: Case) -> Seen {
    let Case { mode, retries, shuns, failure, failure_took, seed } = case;
    let mut rig = Rig::with(OutlierSettings { mode, ..OutlierSettings::default() }, 3);
    rig.rng = fastrand::Rng::with_seed(seed);
    let mut loads: BTreeMap<u32, PeakEwma> = (0..3).map(|key| (key, PeakEwma::new(Moment::ZERO, None))).collect();
    let mut seen = Seen::default();
    for call in 0..CALLS_PER_S * SECONDS {
        let now = Moment::from_nanos(call * 1_000_000_000 / CALLS_PER_S);
        let counts = now >= T;
        let mut tried = Vec::new();
        let mut ok = false;
        while !ok && tried.len() <= retries {
            let Some((key, probe)) = pick(&mut rig, now, &tried, &loads) else { break };
            let (failure, took) = if key == BAD { (failure, failure_took) } else { (Failure::None, 5 * MS) };
            let load = loads.get_mut(&key).unwrap();
            load.observe(now, took);
            if shuns && failure != Failure::None {
                load.fail(now, 5 * S);
            }
            rig.outlier.observe(now, &key, Outcome::new(failure, took).of_probe(probe), &mut rig.rng);
            ok = failure == Failure::None;
            tried.push(key);
            seen.attempts += u64::from(counts);
            seen.bad_attempts += u64::from(counts && key == BAD);
        }
        seen.calls += u64::from(counts);
        seen.errors += u64::from(counts && !ok);
    }
    seen
}

fn pick(rig: &mut Rig, now: Moment, tried: &[u32], loads: &BTreeMap<u32, PeakEwma>) -> Option<(u32, Option<Probe>)> {
    let due = rig.outlier.pool(now).iter().find(|(_, a)| *a == Admission::ProbeDue).map(|(key, _)| *key);
    if let Some(key) = due
        && let Some(probe) = rig.outlier.start_probe(now, &key)
    {
        return Some((key, Some(probe)));
    }
    let pool = rig.outlier.pool(now);
    let mut chance = rig.rng.fork();
    let may = pool.iter().filter(|(key, a)| !tried.contains(key) && a.accepts(&mut chance));
    let key = better_of_two(may.map(|(key, _)| *key), &mut rig.rng, |key| loads[key].load(now, 0))?;
    Some((key, None))
}

#[test]
fn clients_see_at_most_one_error_in_a_thousand_after_a_second() {
    for seed in 0..5 {
        for (failure, failure_took) in [(Failure::Local, MS), (Failure::Status, MS), (Failure::Local, 5 * S)] {
            for shuns in [false, true] {
                let seen = simulate(Case { shuns, failure, failure_took, seed, ..WORST });
                assert!(seen.errors * 1000 <= seen.calls, "{seen:?}");
                // Not by retrying it away: all that the endpoint gets are its probes.
                assert!(seen.bad_attempts <= 10, "{seen:?}");
                assert!(seen.attempts <= seen.calls + 10, "{seen:?}");
            }
        }
    }
}

/// Ejection keeps the promise even without a retry; without ejection it is broken, so the test above can fail.
#[test]
fn it_is_ejection_that_does_it() {
    let alone = simulate(Case { retries: 0, ..WORST });
    assert!(alone.errors > 0 && alone.errors * 1000 <= alone.calls, "{alone:?}");
    for mode in [Mode::Off, Mode::Shadow] {
        let without = simulate(Case { mode, retries: 0, ..WORST });
        assert!(without.errors * 2 > without.calls, "{without:?}");
        let retried = simulate(Case { mode, ..WORST });
        assert!(retried.attempts * 2 > retried.calls * 3, "{retried:?}");
    }
}
