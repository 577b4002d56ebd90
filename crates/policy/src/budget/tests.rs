use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{Hand, Moment, Rate};

fn budget(settings: BudgetSettings) -> (RetryBudget, Hand) {
    let (clock, hand) = Clock::manual();
    (RetryBudget::new(settings, &Env::new("test").with_clock(clock)).unwrap(), hand)
}

fn settings(percent: u16, floor: u32, concurrent_min: u32) -> BudgetSettings {
    BudgetSettings { share: Share::percent(percent).unwrap(), floor: Rate::per_second(floor), concurrent_min }
}

#[derive(Debug, Clone)]
enum Step {
    Begin(u8),
    End,
    Withdraw,
    Settle,
    Refund,
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Begin(1)),
        1 => any::<u8>().prop_map(Step::Begin),
        3 => Just(Step::End),
        4 => Just(Step::Withdraw),
        2 => Just(Step::Settle),
        2 => Just(Step::Refund),
        2 => (0u64..3000).prop_map(Step::Wait),
        1 => (3000u64..30_000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..200)
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
    fn balance(&self, settings: &BudgetSettings, second: u64) -> u64 {
        let within = |list: &[u64]| list.iter().filter(|s| **s + 10 > second).count() as u64;
        (within(&self.deposits) * u64::from(settings.share.points()) / 10)
            .max(u64::from(settings.floor.count) * 10_000)
            .saturating_sub(within(&self.withdrawals) * 1000)
    }

    fn may_run(&self, settings: &BudgetSettings) -> bool {
        let share_of_active = self.active * u64::from(settings.share.points()) / 10_000;
        self.retrying < share_of_active.max(u64::from(settings.concurrent_min))
    }
}

/// Drives both. After each step `compare` sees what the budget has, if it is to be asked, and what the model has.
fn drive(
    steps: Vec<Step>,
    settings: BudgetSettings,
    mut compare: impl FnMut(&RetryBudget, &Model, u64) -> Result<(), TestCaseError>,
    exact: bool,
) -> Result<(), TestCaseError> {
    let (budget, hand) = budget(settings);
    let mut model = Model::default();
    let mut requests = Vec::new();
    let mut permits: VecDeque<(RetryPermit, u64)> = VecDeque::new();
    let mut now = Moment::ZERO;
    for step in steps {
        let second = now.as_secs();
        match step {
            Step::Begin(count) => {
                for _ in 0..count {
                    requests.push(budget.begin());
                    model.deposits.push(second);
                    model.active += 1;
                }
            }
            Step::End => {
                if requests.pop().is_some() {
                    model.active -= 1;
                }
            }
            Step::Withdraw => {
                let allowed = model.may_run(&settings) && model.balance(&settings, second) >= 1000;
                let permit = budget.try_withdraw();
                if exact {
                    prop_assert_eq!(permit.is_some(), allowed);
                } else {
                    prop_assert!(permit.is_none() || allowed);
                }
                if let Some(permit) = permit {
                    permits.push_back((permit, second));
                    model.withdrawals.push(second);
                    model.retrying += 1;
                }
            }
            Step::Settle => {
                if permits.pop_front().is_some() {
                    model.retrying -= 1;
                }
            }
            Step::Refund => {
                if let Some((permit, at)) = permits.pop_front() {
                    permit.refund();
                    model.retrying -= 1;
                    let index = model.withdrawals.iter().position(|s| *s == at).unwrap();
                    model.withdrawals.remove(index);
                }
            }
            Step::Wait(ms) => {
                now += Duration::from_millis(ms);
                hand.set(now);
            }
        }
        compare(&budget, &model, now.as_secs())?;
        prop_assert_eq!(budget.active(), model.active);
        prop_assert_eq!(u64::from(budget.retrying()), model.retrying);
    }
    Ok(())
}

proptest! {
    /// Somebody asks after every step, so every deposit has its date.
    #[test]
    fn behaves_as_the_lists_do(steps in steps(), share in 0u16..=100, floor in 0u32..5, min in 0u32..5) {
        let settings = settings(share, floor, min);
        let exact = |budget: &RetryBudget, model: &Model, second| {
            prop_assert_eq!(budget.remaining_milli(), model.balance(&settings, second));
            Ok(())
        };
        drive(steps, settings, exact, true)?;
    }

    /// Nobody asks but those who withdraw: what was not dated makes the budget smaller, never larger, and by less
    /// than 64 deposits.
    #[test]
    fn what_is_undated_is_never_in_favour_of_a_retry(
        steps in steps(),
        share in 0u16..=100,
        floor in 0u32..5,
        min in 0u32..5,
    ) {
        let settings = settings(share, floor, min);
        let mut asked = 0u32;
        let bound = |budget: &RetryBudget, model: &Model, second| {
            // Asking dates what was not dated, so it is done now and then only.
            asked += 1;
            if asked.is_multiple_of(20) {
                let (ours, theirs) = (budget.remaining_milli(), model.balance(&settings, second));
                let undated = (STRIDE_MAX - 1) * u64::from(settings.share.points()) / 10 + 1;
                prop_assert!(ours <= theirs && ours + undated >= theirs, "{ours} of {theirs}");
            }
            Ok(())
        };
        drive(steps, settings, bound, false)?;
    }

    /// A share of 60 % is 60 % and not 100 % (tower#857).
    #[test]
    fn a_total_outage_is_amplified_by_the_share_only(share in 1u16..=100, per_s in 100u64..500) {
        let settings = settings(share, 0, u32::MAX);
        let (budget, hand) = budget(settings);
        let (mut first, mut retries) = (0u64, 0u64);
        for i in 0..per_s * 20 {
            hand.set(Moment::from(Duration::from_micros(i * 1_000_000 / per_s)));
            let _request = budget.begin();
            first += 1;
            // Everything fails, and everything asks twice.
            for _ in 0..2 {
                retries += u64::from(budget.try_withdraw().is_some());
            }
        }
        let allowed = first * u64::from(share) / 100;
        prop_assert!(retries <= allowed, "{retries} of {first}");
        // And the share is really there to be used, but for the fractions that leave the ring unused.
        prop_assert!(retries + 4 >= allowed, "{retries} of {first}");
    }

    #[test]
    fn no_setting_and_no_time_breaks_it(
        points in 0u16..=10_000,
        count: u32,
        per in 1u64..,
        concurrent_min: u32,
        times in prop::collection::vec(any::<u64>(), 1..50),
    ) {
        let settings = BudgetSettings {
            share: Share::basis_points(points).unwrap(),
            floor: Rate { count, per: Duration::from_nanos(per).min(Duration::from_secs(86_400_000)) },
            concurrent_min,
        };
        let (budget, hand) = budget(settings);
        let mut permits = Vec::new();
        for time in times {
            hand.set(Moment::from_nanos(time));
            let _request = budget.begin();
            permits.extend(budget.try_withdraw());
            prop_assert!(budget.level() <= Share::ALL);
            if time % 3 == 0
                && let Some(permit) = permits.pop()
            {
                permit.refund();
            }
        }
        drop(permits);
        prop_assert_eq!((budget.active(), budget.retrying()), (0, 0));
    }
}

#[test]
fn the_floor_serves_those_with_little_traffic_and_comes_back() {
    let (budget, hand) = budget(settings(20, 3, 1000));
    let take = || std::iter::from_fn(|| budget.try_withdraw()).count();
    assert_eq!(take(), 30);
    hand.advance(Duration::from_secs(9));
    assert_eq!(take(), 0);
    hand.advance(Duration::from_secs(1));
    assert_eq!(take(), 30);
}

#[test]
fn waiting_retries_count_against_the_share_of_active_requests() {
    let (budget, _hand) = budget(BudgetSettings::default());
    let _requests: Vec<_> = (0..50).map(|_| budget.begin()).collect();
    // 20 % of 50, although the tokens (30 by the floor) would allow more.
    let permits: Vec<_> = std::iter::from_fn(|| budget.try_withdraw()).collect();
    assert_eq!((permits.len(), budget.retrying(), budget.active()), (10, 10, 50));
    drop(permits);
    assert!(budget.try_withdraw().is_some());
}

/// Retries deposit nothing, and requests that fail together leave as much as requests that succeed
/// (envoy-mobile#811).
#[test]
fn failing_together_shrinks_nothing_and_retrying_adds_nothing() {
    let (budget, _hand) = budget(settings(20, 0, 100));
    let requests: Vec<_> = (0..100).map(|_| budget.begin()).collect();
    let full = budget.remaining_milli();
    assert_eq!(full, 20_000);
    let permits: Vec<_> = std::iter::from_fn(|| budget.try_withdraw()).collect();
    assert_eq!((permits.len(), budget.remaining_milli()), (20, 0));
    drop((permits, requests));
    assert_eq!(budget.remaining_milli(), 0);
}

/// A retry counts from its decision until its permit is dropped, wherever its future is dropped (envoy#30205).
#[test]
fn a_permit_that_is_dropped_anywhere_leaks_nothing() {
    let (budget, hand) = budget(settings(0, 1, 2));
    for _ in 0..10 {
        let permits: Vec<_> = std::iter::from_fn(|| budget.try_withdraw()).collect();
        assert_eq!((permits.len(), budget.retrying()), (2, 2));
        let other = std::thread::spawn(move || drop(permits));
        other.join().unwrap();
        assert_eq!(budget.retrying(), 0);
        hand.advance(Duration::from_secs(10));
    }
}

#[test]
fn a_refund_gives_the_token_back_to_its_second() {
    let (budget, hand) = budget(settings(0, 1, 100));
    let early = budget.try_withdraw().unwrap();
    hand.advance(Duration::from_secs(5));
    let late = budget.try_withdraw().unwrap();
    assert_eq!(budget.remaining_milli(), 8000);
    early.refund();
    assert_eq!(budget.remaining_milli(), 9000);
    // At 12 s all of second 0 is forgotten; what is refunded then must not be given twice.
    hand.advance(Duration::from_secs(7));
    assert_eq!(budget.remaining_milli(), 9000);
    hand.advance(Duration::from_secs(3));
    assert_eq!(budget.remaining_milli(), 10_000);
    late.refund();
    assert_eq!(budget.remaining_milli(), 10_000);
}

#[test]
fn the_level_is_a_share_of_what_there_would_be() {
    let (budget, _hand) = budget(settings(20, 0, 100));
    assert_eq!(budget.level(), Share::NONE);
    let _requests: Vec<_> = (0..100).map(|_| budget.begin()).collect();
    assert_eq!(budget.level(), Share::ALL);
    let _permits: Vec<_> = (0..15).map(|_| budget.try_withdraw().unwrap()).collect();
    assert_eq!(budget.level(), Share::percent(25).unwrap());
}

#[test]
fn other_settings_hold_at_once() {
    let (budget, _hand) = budget(settings(0, 0, 0));
    let _requests: Vec<_> = (0..100).map(|_| budget.begin()).collect();
    assert!(budget.try_withdraw().is_none());
    budget.set_settings(settings(10, 0, 3)).unwrap();
    assert_eq!(budget.remaining_milli(), 10_000);
    let refused = BudgetSettings { floor: Rate { count: 1, per: Duration::ZERO }, ..settings(10, 0, 3) };
    assert_eq!(budget.set_settings(refused).unwrap_err().problems()[0].field, "retry.floor");
    assert_eq!(budget.remaining_milli(), 10_000);
}

#[test]
fn a_rate_per_minute_is_a_floor_too() {
    let minute = Rate { count: 12, per: Duration::from_secs(60) };
    let (budget, _hand) = budget(BudgetSettings { floor: minute, ..settings(0, 0, 9) });
    assert_eq!(budget.remaining_milli(), 2000);
}

/// A clock that is slow to read is read rarely, and a thread with little traffic dates each request.
#[test]
fn the_clock_is_read_as_rarely_as_the_traffic_allows() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64 as Plain, Ordering::Relaxed};
    let (reads, second) = (Arc::new(Plain::new(0)), Arc::new(Plain::new(0)));
    let clock = {
        let (reads, second) = (reads.clone(), second.clone());
        Clock::custom(move || {
            reads.fetch_add(1, Relaxed);
            Moment::from(Duration::from_secs(second.load(Relaxed)))
        })
    };
    let budget = RetryBudget::new(BudgetSettings::default(), &Env::new("test").with_clock(clock)).unwrap();
    for _ in 0..64_000 {
        let _request = budget.begin();
    }
    assert!(reads.swap(0, Relaxed) < 1010);
    for _ in 0..100 {
        second.fetch_add(1, Relaxed);
        let _request = budget.begin();
    }
    // The first 64 are those that the storm before had put off.
    assert!(reads.load(Relaxed) >= 36);
}

#[test]
fn threads_lose_no_deposit_and_no_end() {
    let (budget, _hand) = budget(settings(50, 0, u32::MAX));
    let (sender, receiver) = std::sync::mpsc::sync_channel(100);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            let (budget, sender) = (budget.clone(), sender.clone());
            scope.spawn(move || {
                for n in 0..1000 {
                    let request = budget.begin();
                    if n % 2 == 0 {
                        // Ends on another thread.
                        sender.send(request).unwrap();
                    }
                    if n % 10 == 9 {
                        let permit = budget.try_withdraw().expect("a tenth is less than a half");
                        if n % 20 == 9 { permit.refund() } else { drop(permit) }
                    }
                }
            });
        }
        drop(sender);
        scope.spawn(move || receiver.into_iter().for_each(drop));
    });
    assert_eq!((budget.active(), budget.retrying()), (0, 0));
    assert_eq!(budget.remaining_milli(), 40 * (1000 * 500 - 50 * 1000));
}
