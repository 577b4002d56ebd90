//! Many calls, and nothing is left of them.

use super::model::{MANUAL, Pair};
use super::*;

/// So many calls of a service that is well, fails, is slow and recovers in turn, by callers of whom some go away, some
/// never come back in time, and never more than 40 at once.
fn soak(calls: u64, seed: u64) {
    let settings = BreakerSettings { slow: Some(SlowCalls::over(400 * MS)), ..default() };
    let mut pair = Pair::new(settings, seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut visited = [false; 7];
    let (mut made, mut bad_percent) = (0, 0);
    while made < calls {
        // About 50 calls a second, so that the lists of the model stay short.
        pair.advance(Duration::from_millis(rng.u64(0..20)));
        if rng.u32(0..2000) == 0 {
            bad_percent = [0, 5, 40, 60, 100][rng.usize(0..5)];
        }
        if rng.u32(0..20_000) == 0 {
            pair.force(MANUAL[rng.usize(0..4)]);
        }
        if rng.u32(0..5000) == 0 {
            pair.force(Manual::Auto);
        }
        if pair.running.len() < 40 && rng.bool() {
            made += 1;
            pair.acquire();
        } else {
            let health = match rng.u32(0..100) {
                n if n < bad_percent => Some(if rng.u8(0..4) == 0 { Health::Busy } else { Health::Failed }),
                97 => Some(Health::Unknown),
                98 => None,
                _ => Some(Health::Good),
            };
            pair.end(rng.usize(..), health);
        }
        if made % 512 == 0 {
            pair.compare_counts();
        }
        visited[pair.rig.state() as usize] = true;
    }
    assert_eq!(visited, [true; 7], "a soak must see every state");
    pair.heals();
}

/// The longest test of this crate: 15 s in a debug build.
#[test]
fn a_soak_of_ten_million_calls_leaks_no_probe() {
    soak(10_000_000, 2);
}

/// Threads at once: the breaker is never left with a probe that nobody has.
#[test]
fn threads_leak_no_probe() {
    let settings = BreakerSettings { open_for: MS, open_max: 2 * MS, ramp: 3 * MS, ..default() };
    let rig = Rig::new(settings);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (breaker, hand) = (rig.breaker.clone(), rig.hand.clone());
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..20_000 {
                    hand.advance(Duration::from_micros(rng.u64(0..100)));
                    let Ok(pass) = breaker.try_acquire() else { continue };
                    match rng.u8(0..6) {
                        0 | 1 => pass.record(Health::Failed),
                        2 => drop(pass),
                        _ => pass.record(Health::Good),
                    }
                }
            });
        }
    });
    assert_eq!(rig.breaker.probes(), 0);
}
