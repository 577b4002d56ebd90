use std::collections::BTreeSet;

use super::*;
use crate::sample;
use crate::spec::TimedFault;

fn ready() -> Vec<ReplicaId> {
    ["order-1", "payment-1", "payment-2", "payment-3"].map(sample::replica).to_vec()
}

fn spec(seed: u64) -> Spec {
    let mut spec = sample::spec();
    spec.seed = seed;
    spec.load.mix[0].body = Some(r#"{"order_id":"{key}","quantity":{int:1..5},"sku":"{pick:a|b}"}"#.into());
    spec.load.mix[0].resend = mainstay_core::Share::percent(20);
    let mut kill =
        TimedFault::new(sample::secs(6.0), None, Harm::Kill { service: "payment".parse().unwrap(), replica: None });
    kill.jitter = Span(sample::secs(2.0));
    spec.faults = vec![kill; 3];
    spec
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
    let plan = |seed| Plan::make(&spec(seed), &ready(), 1).unwrap();
    assert_eq!(plan(7).preview(500), plan(7).preview(500));
    assert_eq!(plan(7).faults, plan(7).faults);
    assert_ne!(plan(7).preview(500), plan(8).preview(500));
    let targets: BTreeSet<String> = (0..50).map(|seed| plan(seed).faults[0].action.to_string()).collect();
    assert_eq!(targets.len(), 3, "the seed picks among all replicas: {targets:?}");
}

#[test]
fn the_order_in_which_replicas_are_listed_does_not_matter() {
    let mut reversed = ready();
    reversed.reverse();
    assert_eq!(Plan::make(&spec(7), &ready(), 1).unwrap().faults, Plan::make(&spec(7), &reversed, 1).unwrap().faults);
}

#[test]
fn fault_times_stay_within_their_jitter_and_in_order() {
    for seed in 0..50 {
        let plan = Plan::make(&spec(seed), &ready(), 1).unwrap();
        let times: Vec<f64> = plan.faults.iter().map(|f| f.at.as_secs_f64()).collect();
        assert!(times.is_sorted() && times.iter().all(|t| (6.0..=8.0).contains(t)), "{times:?}");
    }
}

#[test]
fn keys_are_unique_except_where_a_request_is_repeated() {
    let plan = Plan::make(&spec(7), &ready(), 3).unwrap();
    let arrivals: Vec<_> = plan.arrivals().take(2000).collect();
    let keys: BTreeSet<_> = arrivals.iter().map(|a| a.request.key.clone()).collect();
    let repeated = arrivals.len() - keys.len();
    assert!((300..500).contains(&repeated), "a fifth of 2000 repeats another: {repeated}");
    assert!(keys.iter().all(|key| key.starts_with("d7-3-")));
    for arrival in &arrivals {
        let body = String::from_utf8_lossy(&arrival.request.body);
        assert!(body.contains(&*arrival.request.key), "a repeated request is the same request: {body}");
    }
}

#[test]
fn arrivals_are_poisson() {
    let plan = Plan::make(&spec(7), &ready(), 1).unwrap();
    let dues: Vec<f64> = plan.arrivals().take(20_000).map(|a| a.due.as_secs_f64()).collect();
    let gaps: Vec<f64> = dues.windows(2).map(|w| w[1] - w[0]).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
    assert!((mean * 60.0 - 1.0).abs() < 0.03, "60/s: {mean}");
    assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "an exponential gap varies as much as its mean");
}

#[test]
fn a_target_that_is_not_ready_is_refused() {
    let mut spec = spec(7);
    spec.faults[0].harm = Harm::Kill { service: "payment".parse().unwrap(), replica: Some(9) };
    assert_eq!(Plan::make(&spec, &ready(), 1).unwrap_err().to_string(), "kill: payment-9 is not ready");
    spec.faults[0].harm = Harm::Down { service: "shipping".parse().unwrap() };
    assert_eq!(Plan::make(&spec, &ready(), 1).unwrap_err().to_string(), "down: shipping is not ready");
}

#[test]
fn faults_at_one_time_hurt_different_replicas() {
    for seed in 0..20 {
        let mut spec = spec(seed);
        for fault in &mut spec.faults {
            fault.jitter = Span(Duration::ZERO);
        }
        let plan = Plan::make(&spec, &ready(), 1).unwrap();
        let hurt: BTreeSet<String> = plan.faults.iter().map(|f| f.action.to_string()).collect();
        assert_eq!(hurt.len(), 3, "{hurt:?}");
        spec.faults.push(spec.faults[0].clone());
        assert!(Plan::make(&spec, &ready(), 1).is_ok(), "a fourth of three hurts one of them again");
    }
}
