//! What the simulation of outages claims.

#[path = "../examples/outages.rs"]
mod outages;

use outages::{Stack, Trouble, run, table};

/// Envoy's and Istio's defaults make two to three calls of one in a total outage.
#[test]
fn a_budget_keeps_an_outage_from_growing() {
    let naive = run(Trouble::Outage, Stack::Naive, 1).unwrap().amplification();
    let budget = run(Trouble::Outage, Stack::Budget, 1).unwrap().amplification();
    let whole = run(Trouble::Outage, Stack::Whole, 1).unwrap().amplification();
    assert!(naive > 3.0 && budget <= 1.2 && whole < 0.2, "{naive} {budget} {whole}");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let run = |seed| run(Trouble::BrownOut, Stack::Whole, seed).unwrap();
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

/// The program itself: all troubles and all stacks.
#[test]
fn the_whole_table() {
    table(None).unwrap();
}
