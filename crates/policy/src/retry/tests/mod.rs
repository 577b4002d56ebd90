//! The decision, as a function of what is known.

mod layer;
mod outage;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::*;

const UNLIMITED: BudgetSettings = BudgetSettings::UNLIMITED;

/// Keeps what is told.
#[derive(Default)]
pub(super) struct Told(Mutex<Vec<Event>>);

impl Observer for Told {
    fn event(&self, _name: &str, policy: PolicyKind, event: &Event) {
        assert_eq!(policy, PolicyKind::Retry);
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Told {
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

pub(super) fn not_retried(why: &'static str) -> Vec<Event> {
    vec![Event::NotRetried { why }]
}

fn retry(settings: RetrySettings) -> (Retry, Arc<Told>) {
    let told = Arc::new(Told::default());
    let env = Env::new("test").with_clock(Clock::manual().0).with_seed(1).with_observer(told.clone());
    (Retry::new(settings, &env).unwrap(), told)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn it_stops_after_the_attempts_that_are_set_and_says_why() {
    let (retry, told) = retry(RetrySettings::default());
    let mut attempts = retry.begin();
    for attempt in 1..=2 {
        let wait = attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None).unwrap();
        assert!(wait <= ms(25 * u64::from(attempt)));
        assert_eq!(attempts.retries(), attempt);
        assert_eq!(told.take(), [Event::Retry { attempt, wait, enforced: true }]);
    }
    assert_eq!(attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None), Err(Denied::Attempts));
    assert_eq!(told.take(), not_retried("attempts"));
}

/// No limit but those that are set (istio#7665).
#[test]
fn there_is_no_hidden_limit() {
    let (retry, _) = retry(RetrySettings { attempts: 200, budget: UNLIMITED, ..RetrySettings::default() });
    let mut attempts = retry.begin();
    let allowed = std::iter::from_fn(|| attempts.next(&Verdict::UNSENT, Repeatable::No, None).ok()).count();
    assert_eq!(allowed, 200);
}

#[test]
fn what_was_never_sent_goes_again_whatever_it_is_and_what_was_sent_only_if_it_means_the_same_twice() {
    let (retry, told) = retry(RetrySettings { budget: UNLIMITED, ..RetrySettings::default() });
    let next = |verdict: &Verdict, repeatable| retry.begin().next(verdict, repeatable, None).map(|_| ());
    for repeatable in [Repeatable::No, Repeatable::ByMethod, Repeatable::ByDeclaration, Repeatable::ByKey] {
        assert_eq!(next(&Verdict::UNSENT, repeatable), Ok(()));
        assert_eq!(next(&Verdict::FAILED, repeatable).is_ok(), repeatable != Repeatable::No);
        for verdict in [Verdict::GOOD, Verdict::ASIDE, Verdict { retry_safety: RetrySafety::No, ..Verdict::FAILED }] {
            assert_eq!(next(&verdict, repeatable), Err(Denied::Final));
        }
    }
    told.take();
    assert_eq!(next(&Verdict::FAILED, Repeatable::No), Err(Denied::Unsafe));
    assert_eq!(told.take(), not_retried("unsafe"));
    // A success is no decision.
    let _ = next(&Verdict::GOOD, Repeatable::ByMethod);
    assert_eq!(told.take(), []);
}

#[test]
fn a_wait_that_the_caller_does_not_have_is_not_waited() {
    let (retry, told) = retry(RetrySettings { budget: UNLIMITED, ..RetrySettings::default() });
    let later = Verdict { retry_after: Some(ms(1000)), ..Verdict::FAILED };
    let next = |remaining| retry.begin().next(&later, Repeatable::ByMethod, Some(remaining)).map(|_| ());
    assert_eq!(next(ms(1000)), Err(Denied::Deadline));
    assert_eq!(told.take(), not_retried("deadline"));
    assert_eq!(next(ms(1501)), Ok(()));
    assert_eq!(next(Duration::ZERO), Err(Denied::Deadline));
    let at_once = retry.begin().next(&Verdict::UNSENT, Repeatable::No, Some(Duration::ZERO));
    assert_eq!(at_once, Err(Denied::Deadline));
    assert_eq!(retry.budget().retrying(), 0);
}

#[test]
fn a_budget_that_is_used_up_denies_and_what_was_never_sent_is_given_back() {
    let budget = BudgetSettings { share: Share::NONE, floor: Rate { count: 1, per: ms(10_000) }, concurrent_min: 9 };
    let (retry, told) = retry(RetrySettings { attempts: 9, budget, ..RetrySettings::default() });
    let mut attempts = retry.begin();
    for _ in 0..9 {
        // One token, again and again.
        attempts.next(&Verdict::UNSENT, Repeatable::No, None).unwrap();
        assert_eq!((retry.budget().remaining_milli(), retry.budget().retrying()), (0, 1));
    }
    assert_eq!(attempts.next(&Verdict::UNSENT, Repeatable::No, None), Err(Denied::Attempts));
    assert_eq!(retry.budget().remaining_milli(), 1000);
    drop(attempts);
    let mut attempts = retry.begin();
    attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None).unwrap();
    told.take();
    assert_eq!(attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None), Err(Denied::Budget));
    assert_eq!(told.take(), not_retried("retry_budget"));
    assert_eq!((retry.budget().retrying(), retry.budget().active()), (0, 1));
    drop(attempts);
    assert_eq!(retry.budget().active(), 0);
}

#[test]
fn in_shadow_it_decides_and_tells_and_lets_be() {
    let (retry, told) = retry(RetrySettings { mode: Mode::Shadow, ..RetrySettings::default() });
    let mut attempts = retry.begin();
    assert_eq!(attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None), Err(Denied::Mode));
    assert!(matches!(told.take()[..], [Event::Retry { attempt: 1, enforced: false, .. }]));
    // The token is spent as if it had been done, so that the figures are those that enforcing would give.
    assert_eq!((retry.budget().remaining_milli(), retry.budget().retrying()), (29_000, 0));
    assert_eq!(attempts.next(&Verdict::FAILED, Repeatable::No, None), Err(Denied::Mode));
    assert_eq!(told.take(), not_retried("unsafe"));
}

#[test]
fn off_is_not_there() {
    let (retry, told) = retry(RetrySettings { mode: Mode::Off, ..RetrySettings::default() });
    let mut attempts = retry.begin();
    assert_eq!(retry.budget().active(), 0);
    assert_eq!(attempts.next(&Verdict::UNSENT, Repeatable::ByMethod, None), Err(Denied::Mode));
    assert_eq!(told.take(), []);
}

#[test]
fn a_budget_can_be_shared_and_clones_are_the_same_policy() {
    let (one, _) = retry(RetrySettings::default());
    let env = Env::new("test").with_clock(Clock::manual().0);
    let clone = one.clone();
    let other = Retry::with_budget(RetrySettings::default(), one.budget().clone(), &env).unwrap();
    let _requests = (one.begin(), clone.begin(), other.begin());
    assert_eq!((one.budget().active(), other.budget().active()), (3, 3));
}

proptest! {
    /// Against the rule as the specification has it, for any settings.
    #[test]
    fn waits_are_within_their_bounds(
        base in 0u64..10_000,
        more in 0u64..100_000,
        retries in 0u8..20,
        after in prop::option::of(0u64..1_000_000),
        after_max in 0u64..400_000,
        seed: u64,
    ) {
        let settings = RetrySettings {
            attempts: 21,
            backoff: Backoff { base: ms(base), max: ms(base + more) },
            retry_after_max: ms(after_max),
            budget: UNLIMITED,
            ..RetrySettings::default()
        };
        let env = Env::new("test").with_clock(Clock::manual().0).with_seed(seed);
        let retry = Retry::new(settings, &env).unwrap();
        let mut attempts = retry.begin();
        for _ in 0..retries {
            attempts.next(&Verdict::FAILED, Repeatable::ByMethod, None).unwrap();
        }
        let verdict = Verdict { retry_after: after.map(ms), ..Verdict::FAILED };
        let wait = attempts.next(&verdict, Repeatable::ByMethod, None).unwrap();
        let ceiling = (u128::from(base) << retries).min(u128::from(base + more)) as u64;
        match after.map(|after| after.min(after_max)) {
            None => prop_assert!(wait <= ms(ceiling)),
            Some(after) => prop_assert!(wait >= ms(after) && wait <= ms(ceiling.max(after)).mul_f64(1.5)),
        }
    }

    /// Whatever happens in whatever order, nothing is left when all is over.
    #[test]
    fn nothing_leaks(steps in prop::collection::vec((any::<u8>(), 0u8..6, any::<bool>()), 1..300)) {
        let (retry, _) = retry(RetrySettings::default());
        let mut running: Vec<Attempts> = Vec::new();
        for (which, step, flag) in steps {
            if step == 0 || running.is_empty() {
                running.push(retry.begin());
                continue;
            }
            let index = usize::from(which) % running.len();
            match step {
                1 => drop(running.swap_remove(index)),
                _ => {
                    let verdict = [Verdict::FAILED, Verdict::UNSENT, Verdict::GOOD][usize::from(step) % 3];
                    let repeatable = if flag { Repeatable::ByKey } else { Repeatable::No };
                    if running[index].next(&verdict, repeatable, flag.then_some(ms(10))).is_err() {
                        drop(running.swap_remove(index));
                    }
                }
            }
            prop_assert_eq!(retry.budget().active(), running.len() as u64);
            let retrying = running.iter().filter(|attempts| attempts.retries() > 0).count();
            prop_assert_eq!(retry.budget().retrying() as usize, retrying);
        }
        running.clear();
        prop_assert_eq!((retry.budget().active(), retry.budget().retrying()), (0, 0));
    }
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_fields() {
    let no_time = Rate { count: 1, per: Duration::ZERO };
    let bad = RetrySettings {
        attempts: 0,
        backoff: Backoff { base: ms(2), max: ms(1) },
        retry_after_max: Duration::MAX,
        budget: BudgetSettings { share: Share::NONE, floor: no_time, concurrent_min: 0 },
        ..RetrySettings::default()
    };
    let fields: Vec<_> = bad.check().unwrap_err().problems().iter().map(|p| p.field.clone()).collect();
    assert_eq!(fields, ["retry.attempts", "retry.backoff", "retry.retry_after_max", "retry.floor", "retry.budget"]);
    let empty = BudgetSettings { share: Share::NONE, floor: Rate::per_second(0), concurrent_min: 3 };
    assert!(RetrySettings { budget: empty, ..RetrySettings::default() }.check().is_err());
    assert_eq!(RetrySettings::default().check(), Ok(()));
}

#[test]
fn extreme_settings_work_without_a_panic() {
    let most = Duration::from_secs(1000 * 86_400);
    let settings = RetrySettings {
        attempts: u8::MAX,
        backoff: Backoff { base: most, max: most },
        retry_after_max: most,
        budget: UNLIMITED,
        ..RetrySettings::default()
    };
    let (retry, _) = retry(settings);
    let mut attempts = retry.begin();
    let verdict = Verdict { retry_after: Some(Duration::MAX), ..Verdict::FAILED };
    for _ in 0..u8::MAX {
        attempts.next(&verdict, Repeatable::ByMethod, Some(Duration::MAX)).unwrap();
    }
    assert_eq!(attempts.next(&verdict, Repeatable::ByMethod, None), Err(Denied::Attempts));
}

#[cfg(feature = "serde")]
#[test]
fn settings_are_written_as_in_the_file() {
    let written = r#"{"attempts":3,"backoff":"10ms..1s","budget":"25%","floor":"10/m"}"#;
    let read: RetrySettings = serde_json::from_str(written).unwrap();
    let expected = RetrySettings {
        attempts: 3,
        backoff: Backoff { base: ms(10), max: ms(1000) },
        budget: BudgetSettings {
            share: Share::percent(25).unwrap(),
            floor: Rate { count: 10, per: ms(60_000) },
            ..BudgetSettings::default()
        },
        ..RetrySettings::default()
    };
    assert_eq!(read, expected);
    let again = serde_json::to_string(&read).unwrap();
    assert_eq!(serde_json::from_str::<RetrySettings>(&again).unwrap(), expected);
    assert_eq!(serde_json::from_str::<RetrySettings>("{}").unwrap(), RetrySettings::default());
    for wrong in [r#"{"attempts":-1}"#, r#"{"attempts":256}"#, r#"{"backoff":"25ms"}"#, r#"{"tries":2}"#] {
        assert!(serde_json::from_str::<RetrySettings>(wrong).is_err(), "{wrong}");
    }
}
