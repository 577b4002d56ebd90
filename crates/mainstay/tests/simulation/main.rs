//! Deterministic simulation: the gateway's very worker and the saga engine in one simulated host, a shop of toy
//! participants in others, clients in more; a network and machines that are hurt by a seed.
//!
//! Real processes show that it works; this shows that it works in an order of events that nobody thought of. Every run
//! has two phases: faults and load, then all faults are taken away and everything must heal. Afterwards an oracle that
//! knows only what clients were told, what the journal says and what the participants did looks for broken promises.
//! An answer that a client did not get says nothing.
//!
//! Time is simulated and every draw comes from the seed, so a run repeats exactly: a failure prints the seed, and
//! `MAINSTAY_SIMULATION_SEED=<seed> cargo test -p mainstay --test simulation -- --nocapture` shows it event by event.
#![expect(clippy::unwrap_used, reason = "in a test, to fail is to panic")]

mod client;
mod faults;
mod host;
mod http;
mod oracle;
mod run;
mod shop;
mod world;

use oracle::Rule;
use run::{Mutation, Run, run};

/// Always run. Whatever seed finds something is added here. 10: an action arrives after its undo.
const REGRESSIONS: [u64; 1] = [10];
/// Further seeds that are made of the commit's, unless [`RUNS_VARIABLE`] says how many.
const DERIVED: u64 = 30;
/// Seeds that are run twice to compare their traces.
const REPEATED: usize = 6;
/// Runs in which a switched-off protection must show.
const MUTATED_RUNS_MAX: u64 = 60;
/// Draws that many further seeds: for a search that may take its time.
const RUNS_VARIABLE: &str = "MAINSTAY_SIMULATION_RUNS";
/// Runs one seed and prints its trace.
const SEED_VARIABLE: &str = "MAINSTAY_SIMULATION_SEED";

fn seeds() -> Vec<u64> {
    if let Some(seed) = number(SEED_VARIABLE) {
        return vec![seed];
    }
    let mut seeds = mainstay_testing::seeds();
    // The last one is the commit's; where there is no commit it is a fixed one, and does no harm.
    let mut rng = fastrand::Rng::with_seed(seeds.last().copied().unwrap_or_default());
    seeds.extend(REGRESSIONS);
    let derived = number(RUNS_VARIABLE).unwrap_or(DERIVED);
    seeds.extend((0..derived).map(|_| rng.u64(..)));
    seeds
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[expect(clippy::print_stderr, reason = "whoever reads a failed run needs its trace")]
fn check(seed: u64) -> Run {
    let run = run(seed, Mutation::None);
    if number(SEED_VARIABLE).is_some() || !run.violations.is_empty() {
        eprintln!("{}", run.trace.join("\n"));
    }
    assert!(
        run.violations.is_empty(),
        "repeat with {SEED_VARIABLE}={seed} cargo test -p mainstay --test simulation\n{:#?}",
        run.violations
    );
    run
}

#[test]
fn whatever_the_seed_does_every_promise_is_kept_and_everything_heals() {
    let mut all = run::Facts::default();
    for seed in seeds() {
        all += check(seed).facts;
    }
    // A simulation in which nothing goes wrong proves nothing.
    if number(SEED_VARIABLE).is_none() {
        assert!(all.committed > 100 && all.rolled_back > 20, "{all:?}");
        assert!(all.recovered > 0 && all.ejections > 0 && all.unanswered > 20 && all.replayed > 0, "{all:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let seeds = seeds();
    for &seed in &seeds[seeds.len().saturating_sub(REPEATED)..] {
        let (first, second) = (check(seed).trace, check(seed).trace);
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        assert_eq!(differs.map(|at| (&first[at.saturating_sub(3)..=at], &second[at])), None, "seed {seed}");
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
    if let [first, second, ..] = seeds[..] {
        assert_ne!(run(first, Mutation::None).trace, run(second, Mutation::None).trace);
    }
}

/// With a protection off, the oracle must see what it protects from.
fn must_break(mutation: Mutation, rule: Rule) {
    let broken = |seed: &u64| run(*seed, mutation).violations.iter().any(|v| v.rule == rule);
    assert!((1..=MUTATED_RUNS_MAX).any(|seed| broken(&seed)), "{mutation:?} goes unnoticed");
}

#[test]
fn without_stable_keys_effects_are_seen_to_happen_more_than_once() {
    must_break(Mutation::FreshKeys, Rule::AtMostOnce);
}

#[test]
fn without_recovery_transactions_are_seen_to_stay_open() {
    must_break(Mutation::NoRecovery, Rule::AllTerminal);
}

#[test]
fn without_the_barrier_late_actions_are_seen_to_stay() {
    must_break(Mutation::NoBarrier, Rule::NeverBoth);
}
