use std::collections::VecDeque;
use std::time::Duration;

use crate::Moment;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Begin,
    End,
    Withdraw,
    Settle,
    Refund,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Begin),
        3 => Just(Step::End),
        4 => Just(Step::Withdraw),
        2 => Just(Step::Settle),
        2 => Just(Step::Refund),
        2 => (0u64..3000).prop_map(Step::Wait),
        1 => (3000u64..30_000).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 1..400)
}

/// The rule written down as slowly as possible: lists of what happened in which second.
#[derive(Default)]
struct Model {
    deposits: Vec<u64>,
    withdrawals: Vec<u64>,
    active: u64,
    retrying: u64,
}

impl Model {
    fn balance(&self, options: &BudgetOptions, second: u64) -> u64 {
        let within = |list: &[u64]| list.iter().filter(|s| **s + 10 > second).count() as u64;
        (within(&self.deposits) * u64::from(options.share_milli))
            .max(u64::from(options.floor_milli_per_s) * 10)
            .saturating_sub(within(&self.withdrawals) * 1000)
    }
}

proptest! {
    #[test]
    fn behaves_as_the_lists_do(steps in steps(), share in 0u32..=1000, floor in 0u32..5000, min in 0u32..5) {
        let options = BudgetOptions { share_milli: share, floor_milli_per_s: floor, concurrent_min: min };
        let mut budget = RetryBudget::new(options);
        let mut model = Model::default();
        let mut permits: VecDeque<(RetryPermit, u64)> = VecDeque::new();
        let mut now = Moment::ZERO;
        for step in steps {
            let second = now.as_secs();
            match step {
                Step::Begin => { budget.begin(now); model.deposits.push(second); model.active += 1; }
                Step::End if model.active > 0 => { budget.end(); model.active -= 1; }
                Step::Withdraw => {
                    let limit = (model.active * u64::from(share) / 1000).max(u64::from(min));
                    let allowed = model.retrying < limit && model.balance(&options, second) >= 1000;
                    let permit = budget.withdraw(now);
                    prop_assert_eq!(permit.is_some(), allowed);
                    if let Some(permit) = permit {
                        permits.push_back((permit, second));
                        model.withdrawals.push(second);
                        model.retrying += 1;
                    }
                }
                Step::Settle => if let Some((permit, _)) = permits.pop_front() {
                    budget.settle(permit, now);
                    model.retrying -= 1;
                },
                Step::Refund => if let Some((permit, at)) = permits.pop_front() {
                    budget.refund(permit, now);
                    model.retrying -= 1;
                    let index = model.withdrawals.iter().position(|s| *s == at).unwrap();
                    model.withdrawals.remove(index);
                },
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::End => {}
            }
            prop_assert_eq!(budget.remaining_milli(now), model.balance(&options, now.as_secs()));
            prop_assert_eq!(u64::from(budget.retrying()), model.retrying);
        }
    }

    /// A share of 60 % is 60 % and not 100 % (tower#857).
    #[test]
    fn a_total_outage_is_amplified_by_the_share_only(share in 10u32..=1000, per_s in 100u64..2000) {
        let options = BudgetOptions { share_milli: share, floor_milli_per_s: 0, concurrent_min: u32::MAX };
        let mut budget = RetryBudget::new(options);
        let (mut first, mut retries) = (0u64, 0u64);
        for i in 0..per_s * 20 {
            let now = Moment::from(Duration::from_micros(i * 1_000_000 / per_s));
            budget.begin(now);
            first += 1;
            // Everything fails, and everything asks twice.
            for _ in 0..2 {
                if let Some(permit) = budget.withdraw(now) {
                    retries += 1;
                    budget.settle(permit, now);
                }
            }
            budget.end();
        }
        prop_assert!(retries * 1000 <= first * u64::from(share), "{retries} of {first}");
        // And the share is really there to be used, but for the fractions that leave the ring unused.
        prop_assert!((retries + 3) * 1000 + u64::from(share) >= first * u64::from(share), "{retries} of {first}");
    }
}

#[test]
fn the_floor_serves_those_with_little_traffic_and_comes_back() {
    let mut budget = RetryBudget::new(BudgetOptions { concurrent_min: 1000, ..BudgetOptions::default() });
    let at = |s| Moment::from(Duration::from_secs(s));
    let mut take = |now| std::iter::from_fn(|| budget.withdraw(now)).count();
    assert_eq!(take(at(0)), 30);
    assert_eq!(take(at(9)), 0);
    assert_eq!(take(at(10)), 30);
}

#[test]
fn waiting_retries_count_against_the_share_of_active_requests() {
    let mut budget = RetryBudget::new(BudgetOptions::default());
    let now = Moment::ZERO;
    for _ in 0..50 {
        budget.begin(now);
    }
    // 20 % of 50, although the tokens (30 by the floor) would allow more.
    let permits: Vec<_> = std::iter::from_fn(|| budget.withdraw(now)).collect();
    assert_eq!(permits.len(), 10);
    for permit in permits {
        budget.settle(permit, now);
    }
    assert!(budget.withdraw(now).is_some());
}
