//! What a service in trouble gets to see of retries, and what HTTP requests get to feel of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tower::{Layer, ServiceExt, service_fn};

use crate::*;

/// Everything fails; the first attempts come evenly. Returns how many there were and how many attempts in all.
async fn outage(per_s: u64, seconds: u64, settings: RetrySettings) -> (u64, u64) {
    let seen = Arc::new(AtomicU64::new(0));
    let service = service_fn({
        let seen = seen.clone();
        move |_request: ()| {
            seen.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Err::<(), Error<()>>(Error::from(())))
        }
    });
    let retry = Retry::new(settings, &Env::new("test").with_clock(Clock::tokio()).with_seed(7)).unwrap();
    let service = RetryLayer::new(retry.clone()).profiled_by(Plain::repeatable()).layer(service);
    let mut calls = tokio::task::JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_s).unwrap());
    for _ in 0..per_s * seconds {
        ticks.tick().await;
        calls.spawn(service.clone().oneshot(()));
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap_err();
    }
    assert_eq!((retry.budget().active(), retry.budget().retrying()), (0, 0));
    (per_s * seconds, seen.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn a_total_outage_is_amplified_by_a_fifth_at_most() {
    let (first, all) = outage(200, 60, RetrySettings::default()).await;
    assert!(all * 10 <= first * 12, "{all} attempts for {first} requests");
    // And the fifth is there: the budget does not shrink because all fail together (envoy-mobile#811).
    assert!(all * 100 >= first * 118, "{all} attempts for {first} requests");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_little_traffic_the_floor_is_all_there_is() {
    let (first, all) = outage(4, 60, RetrySettings::default()).await;
    assert!(all - first <= 3 * 60 + 30, "{all} attempts for {first} requests");
    assert!(all - first >= 3 * 60 - 30, "{all} attempts for {first} requests");
}

/// A share of 60 % is 60 % and not 100 % (tower#857).
#[tokio::test(start_paused = true)]
async fn a_share_is_the_share() {
    let budget =
        BudgetSettings { share: Share::percent(60).unwrap(), floor: Rate::per_second(0), ..BudgetSettings::default() };
    let (first, all) = outage(200, 30, RetrySettings { budget, ..RetrySettings::default() }).await;
    assert!(all * 10 <= first * 16 && all * 100 >= first * 157, "{all} attempts for {first} requests");
}

#[cfg(feature = "http")]
mod http {
    use super::*;
    use ::http::{Request, Response, StatusCode};

    /// How often the service is asked that answers with `status` first and 200 then.
    async fn attempts(policy: impl FnOnce(Http) -> Http, request: Request<()>, first: Response<()>) -> u64 {
        let seen = Arc::new(AtomicU64::new(0));
        let first = Arc::new(first);
        let service = service_fn({
            let seen = seen.clone();
            move |_request: Request<()>| {
                let mut answer = Response::new(());
                if seen.fetch_add(1, Ordering::Relaxed) == 0 {
                    *answer.status_mut() = first.status();
                    *answer.headers_mut() = first.headers().clone();
                }
                std::future::ready(Ok::<_, BoxError>(answer))
            }
        });
        let env = Env::new("test").with_clock(Clock::tokio());
        let http = policy(Http::new(&env));
        let retry = Retry::new(RetrySettings::default(), &env).unwrap();
        RetryLayer::new(retry).profiled_by(http.clone()).judged_by(http).layer(service).oneshot(request).await.unwrap();
        seen.load(Ordering::Relaxed)
    }

    fn answer(status: u16) -> Response<()> {
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
    }

    /// The POST that paid twice (istio#50506).
    #[tokio::test(start_paused = true)]
    async fn a_post_is_not_repeated_because_of_a_status() {
        for status in [500, 502, 503, 504] {
            let post = Request::post("/payouts").body(()).unwrap();
            assert_eq!(attempts(|http| http, post, answer(status)).await, 1, "{status}");
        }
        let post = || Request::post("/payouts").header("idempotency-key", "a1").body(()).unwrap();
        // A key is worth nothing where nobody is known to look at it.
        assert_eq!(attempts(|http| http, post(), answer(503)).await, 1);
        assert_eq!(attempts(Http::with_idempotency_keys, post(), answer(503)).await, 2);
        assert_eq!(attempts(Http::idempotent, post(), answer(503)).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_is_repeated_when_the_answer_says_not_now() {
        for (status, expected) in [(500, 1), (502, 2), (503, 2), (504, 2), (404, 1), (429, 1)] {
            let get = Request::get("/").body(()).unwrap();
            assert_eq!(attempts(|http| http, get, answer(status)).await, expected, "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_waited_for_unless_there_is_no_time() {
        for status in [429, 503] {
            let later = || Response::builder().status(status).header("retry-after", "2").body(()).unwrap();
            let get = || Request::get("/").body(()).unwrap();
            let begun = tokio::time::Instant::now();
            assert_eq!(attempts(|http| http, get(), later()).await, 2);
            let took = begun.elapsed();
            assert!(took >= Duration::from_secs(2) && took <= Duration::from_millis(3001), "{took:?}");

            let begun = tokio::time::Instant::now();
            let hurried = Request::get("/").header("mainstay-deadline-ms", "1500").body(()).unwrap();
            assert_eq!(attempts(|http| http, hurried, later()).await, 1);
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_forbids_it_is_not_retried() {
        let forbids = Response::builder().status(503).header("mainstay-no-retry", "budget").body(()).unwrap();
        assert_eq!(attempts(|http| http, Request::get("/").body(()).unwrap(), forbids).await, 1);
    }
}
