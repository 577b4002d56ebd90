//! What becomes of the two copies of one call.

use std::pin::pin;

use super::*;
use crate::{BudgetSettings, Rate, RetryBudget};

#[tokio::test(start_paused = true)]
async fn a_quick_call_is_sent_once_and_clones_nothing() {
    let mut scene = scene(Plan(99, 1), Plan(0, 2));
    assert_eq!(scene.clones(), 1, "the template");
    assert_eq!(scene.ask(safe()).await, (1, 99, 1));
    assert_eq!((scene.clones(), scene.heard()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_gets_a_second_copy_and_the_first_good_answer_wins() {
    let mut slow = scene(HANGS, Plan(20, 2));
    assert_eq!(slow.ask(safe()).await, (2, 120, 2));
    assert_eq!(slow.heard(), [SENT, Event::HedgeWon]);
    let hedged: Vec<bool> = slow.seen.contexts.lock().unwrap().iter().map(|context| context.hedged).collect();
    assert_eq!(hedged, [false, true], "so that a balancer chooses another endpoint");
    assert!(slow.seen.contexts.lock().unwrap().iter().all(|context| context.tenant == 7));

    let mut first_wins = scene(Plan(110, 1), HANGS);
    assert_eq!(first_wins.ask(safe()).await, (1, 110, 2));
    assert_eq!(first_wins.heard(), [SENT]);
}

#[tokio::test(start_paused = true)]
async fn the_loser_is_cancelled_at_once_tower_resilience_393() {
    for (first, second) in [(HANGS, Plan(20, 2)), (Plan(120, 1), HANGS)] {
        let mut scene = scene(first, second);
        let mut call = pin!(scene.service.ready().await.unwrap().call(safe()));
        assert!(poll(call.as_mut()).is_pending());
        tokio::time::advance(ms(100)).await;
        assert!(poll(call.as_mut()).is_pending());
        assert_eq!(scene.seen.live.load(Ordering::Relaxed), 2);
        tokio::time::advance(ms(20)).await;
        assert!(poll(call.as_mut()).is_ready());
        // The future that has ended is still there, and keeps nothing alive.
        assert_eq!(scene.seen.live.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_before_the_second_copy_is_sent_is_no_business_of_a_hedge() {
    let mut scene = scene(Plan(50, 0), Plan(0, 2));
    assert_eq!(scene.ask(safe()).await, (0, 50, 1));
    assert_eq!(scene.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn when_one_copy_fails_the_other_is_waited_for() {
    assert_eq!(scene(Plan(110, 0), Plan(50, 2)).ask(safe()).await, (2, 150, 2));
    assert_eq!(scene(Plan(150, 1), Plan(10, 0)).ask(safe()).await, (1, 150, 2));
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_caller_sees_how_the_first_did() {
    for (first, second) in [(Plan(110, 0), Plan(50, 0)), (Plan(150, 0), Plan(10, 0))] {
        let mut scene = scene(first, second);
        assert_eq!(scene.ask(safe()).await, (0, 150, 2));
        assert_eq!(scene.heard(), [SENT]);
    }
    // An error of the second copy's service is its failure, too.
    let mut scene = scene_with(settings(Mode::Enforce), Plan(150, 1), HANGS, |h| h, |s| Scripted { broken: true, ..s });
    assert_eq!(scene.ask(safe()).await, (1, 150, 1));
}

#[tokio::test(start_paused = true)]
async fn what_may_not_run_twice_at_once_is_never_doubled() {
    let asks = [
        Ask { repeatable: Repeatable::No, ..safe() },
        Ask { repeatable: Repeatable::ByKey, ..safe() },
        Ask { duplicable: false, ..safe() },
        Ask { context: CallContext { hedged: true, ..safe().context }, ..safe() },
    ];
    for ask in asks {
        let plan = Plan(5000, 1);
        let mut scene = scene(plan, plan);
        assert_eq!(scene.ask(ask).await, (1, 5000, 1), "{ask:?}");
        assert_eq!(scene.heard(), []);
    }
    let mut declared = scene(HANGS, Plan(0, 2));
    assert_eq!(declared.ask(Ask { repeatable: Repeatable::ByDeclaration, ..safe() }).await, (2, 100, 2));
}

#[cfg(feature = "http")]
#[tokio::test]
async fn of_http_only_what_reads_is_doubled() {
    use crate::{Call, Carried, Enter, Http};
    async fn may(http: Http, method: &str) -> bool {
        let request = http::Request::builder().method(method).header("idempotency-key", "1").body(()).unwrap();
        let direct = http.hedgeable(&request);
        let carried = Carried(http.clone());
        let inner = tower::service_fn(move |call: Call<_>| {
            let answer = carried.hedgeable(&call);
            async move { Ok::<_, Infallible>(answer) }
        });
        assert_eq!(Enter { inner, profile: http }.oneshot(request).await, Ok(direct), "the same within a stack");
        direct
    }
    let http = Http::new(&Env::new("test")).with_idempotency_keys();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        assert!(may(http.clone(), method).await, "{method}");
    }
    for method in ["PUT", "DELETE", "POST", "PATCH", "CONNECT", "get"] {
        assert!(!may(http.clone(), method).await, "{method}");
        assert!(may(http.clone().idempotent(), method).await, "{method}");
    }
}

/// Of ten tokens.
fn budget() -> RetryBudget {
    let env = Env::new("test").with_clock(Clock::tokio());
    let floor = Rate::per_second(1);
    RetryBudget::new(BudgetSettings { share: Share::NONE, floor, concurrent_min: 100 }, &env).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_point_gives_everything_back() {
    // Before its delay, while the second copy waits for its service, and while both run.
    for (wait, live, tokens_spent) in [(0, 1, 0), (99, 1, 0), (100, 1, 0), (149, 1, 0), (150, 2, 1), (200, 2, 1)] {
        let budget = budget();
        let mut scene = scene_with(
            settings(Mode::Enforce),
            HANGS,
            HANGS,
            |hedge| hedge.sharing(budget.clone()),
            |service| Scripted { ready_after: Some(ms(50)), ..service },
        );
        let mut call = Box::pin(scene.service.ready().await.unwrap().call(safe()));
        assert!(poll(call.as_mut()).is_pending());
        for _ in 0..wait {
            tokio::time::advance(ms(1)).await;
            assert!(poll(call.as_mut()).is_pending());
        }
        assert_eq!(scene.live(), live, "after {wait} ms");
        assert_eq!(budget.retrying(), u32::from(wait >= 100), "after {wait} ms");
        drop(call);
        assert_eq!((scene.live(), budget.retrying()), (0, 0), "after {wait} ms");
        assert_eq!(budget.remaining_milli(), 10_000 - 1000 * tokens_spent, "after {wait} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_that_was_never_sent_costs_nothing() {
    for answer in [0, 1] {
        let budget = budget();
        let mut scene = scene_with(
            settings(Mode::Enforce),
            Plan(120, answer),
            HANGS,
            |hedge| hedge.sharing(budget.clone()),
            |service| Scripted { ready_after: Some(ms(50)), ..service },
        );
        assert_eq!(scene.ask(safe()).await, (answer, 120, 1));
        assert_eq!((budget.retrying(), budget.remaining_milli()), (0, 10_000));
    }
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_it_tells_and_sends_nothing() {
    let budget = budget();
    let mut scene = scene_with(
        settings(Mode::Shadow),
        Plan(500, 1),
        HANGS,
        |hedge| hedge.sharing(budget.clone()),
        |service| service,
    );
    assert_eq!(scene.ask(safe()).await, (1, 500, 1));
    assert_eq!(scene.heard(), [Event::Hedge { enforced: false }]);
    assert_eq!((scene.clones(), budget.remaining_milli()), (1, 10_000));
}

#[tokio::test(start_paused = true)]
async fn when_off_it_does_not_exist() {
    let mut scene = scene_with(settings(Mode::Off), Plan(500, 1), HANGS, |hedge| hedge, |service| service);
    assert_eq!(scene.ask(safe()).await, (1, 500, 1));
    assert_eq!(scene.heard(), []);
    assert!(scene.hedge.try_acquire().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_first_copy_that_never_rests_does_not_keep_off_the_second() {
    let hedge = Hedge::new(settings(Mode::Enforce), &Env::new("test").with_clock(Clock::tokio())).unwrap();
    let service = tower::service_fn(|ask: Ask| async move {
        if !ask.context.hedged {
            loop {
                tokio::task::consume_budget().await;
            }
        }
        Outcome::Ok(2)
    });
    let mut call = pin!(HedgeLayer::new(hedge).profiled_by(Told).layer(service).oneshot(safe()));
    assert!(poll(call.as_mut()).is_pending());
    tokio::time::advance(ms(100)).await;
    assert_eq!(poll(call.as_mut()), Poll::Ready(Ok(2)));
}
