use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};

use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::{Clock, FaultKind, FaultSettings, Manual, Mode, Reason, Share};

#[test]
fn the_presets_can_work() {
    for settings in [PolicySettings::standard(), PolicySettings::careful(), PolicySettings::reading()] {
        settings.check().unwrap();
    }
}

/// The figures that the documentation promises.
#[test]
fn the_defaults_are_the_documented_ones() {
    let PolicySettings { timeout, retry, breaker, bulkhead, adaptive, rate_limit, hedge } = PolicySettings::default();
    let s = Duration::from_secs;
    let ms = Duration::from_millis;
    assert_eq!((timeout.total, timeout.per_try), (s(15), s(5)));
    assert_eq!((retry.attempts, retry.backoff.base, retry.backoff.max), (2, ms(25), ms(250)));
    assert_eq!((retry.budget.share, retry.budget.floor.to_string().as_str()), (Share::of_percent(20), "3/s"));
    assert_eq!((breaker.window, breaker.min_requests, breaker.consecutive), (s(10), 20, 10));
    assert_eq!((breaker.error_rate, breaker.open_for, breaker.open_max), (Share::of_percent(50), s(5), s(60)));
    assert_eq!((bulkhead.in_flight, bulkhead.queue), (1024, 256));
    assert_eq!((adaptive.mode, rate_limit.mode, hedge.mode), (Mode::Shadow, Mode::Off, Mode::Off));
}

/// A service that counts its calls and does with each what it is told.
#[derive(Clone)]
struct Counted<F>(Rc<Cell<u32>>, F);

impl<F, Fut, Res> Service<u32> for Counted<F>
where
    F: Fn(u32) -> Fut,
    Fut: Future<Output = Result<Res, &'static str>>,
{
    type Response = Res;
    type Error = &'static str;
    type Future = Fut;
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, request: u32) -> Fut {
        self.0.set(self.0.get() + 1);
        (self.1)(request)
    }
}

fn env() -> Env {
    Env::new("test").with_clock(Clock::tokio()).with_seed(5)
}

#[tokio::test(start_paused = true)]
async fn a_total_outage_is_amplified_by_a_fifth_at_most() {
    let calls = Rc::new(Cell::new(0));
    let policy = Policy::standard().with(|settings| settings.breaker.mode = Mode::Off);
    let layer = policy.profiled_by(Plain::repeatable()).layer(&env()).unwrap();
    let service = layer.layer(Counted(calls.clone(), |_| async { Err::<(), _>("down") }));
    let clients = 6000;
    for n in 0..clients {
        service.clone().oneshot(n).await.unwrap_err();
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let amplification = f64::from(calls.get()) / f64::from(clients);
    assert!(amplification > 1.0 && amplification <= 1.2, "{amplification}");
}

#[tokio::test(start_paused = true)]
async fn with_the_breaker_an_outage_reaches_nobody() {
    let calls = Rc::new(Cell::new(0));
    let layer = Policy::standard().profiled_by(Plain::repeatable()).layer(&env()).unwrap();
    let service = layer.layer(Counted(calls.clone(), |_| async { Err::<(), _>("down") }));
    for n in 0..1000 {
        service.clone().oneshot(n).await.unwrap_err();
    }
    assert!(calls.get() < 30, "{}", calls.get());
    let start = tokio::time::Instant::now();
    let error = service.oneshot(0).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::BreakerOpen));
    assert!(error.retry_after().is_some());
    // And at once: a retry does not wait for the breaker to let it through.
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_cut_off_tried_again_and_given_up() {
    let calls = Rc::new(Cell::new(0));
    let layer = Policy::standard().profiled_by(Plain::repeatable()).layer(&env()).unwrap();
    let service = layer.layer(Counted(calls.clone(), |_| std::future::pending::<Result<(), _>>()));
    let start = tokio::time::Instant::now();
    let error = service.oneshot(1).await.unwrap_err();
    assert!(error.reason() == Some(Reason::TimeoutTotal), "{error}");
    assert_eq!((start.elapsed().as_secs(), calls.get()), (15, 3));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_does_not_wait_for_room() {
    let calls = Rc::new(Cell::new(0));
    let policy = Policy::standard().with(|settings| (settings.bulkhead.in_flight, settings.bulkhead.queue) = (1, 1));
    let layer = policy.layer(&env()).unwrap();
    let service = layer.layer(Counted(calls.clone(), |_| std::future::pending::<Result<(), _>>()));
    let mut first = Box::pin(service.clone().oneshot(1));
    assert!(futures_poll(&mut first).is_pending());
    layer.breaker().force(Manual::Open);
    let error = service.oneshot(2).await.unwrap_err();
    assert_eq!((error.reason(), calls.get()), (Some(Reason::BreakerOpen), 1));
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// istio#13705: a fault that goes around the retries proves nothing about them.
#[tokio::test(start_paused = true)]
async fn faults_are_innermost() {
    let calls = Rc::new(Cell::new(0));
    let layer = Policy::standard().profiled_by(Plain::repeatable()).layer(&env()).unwrap();
    let service = layer.layer(Counted(calls.clone(), |n| async move { Ok(n) }));
    let aborts = FaultSettings { kind: Some(FaultKind::Abort), share: Share::of_percent(10), ..Default::default() };
    layer.fault().arm(aborts).unwrap();
    let mut good = 0;
    for n in 0..500 {
        good += u32::from(service.clone().oneshot(n).await.is_ok());
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    assert!(good > 490, "retries meet the fault and heal it: {good}");
    assert!(layer.budget().active() == 0 && calls.get() >= good);
}

#[cfg(feature = "serde")]
mod files {
    use super::*;

    fn read(json: &str) -> Result<PolicySettings, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_is_read_as_the_file_writes_it() {
        let settings = read(
            r#"{ "timeout": "3s", "per_try": "500ms", "bulkhead": { "in_flight": 64, "queue": 32 }, "hedge": "off",
                 "retry": { "attempts": 3, "backoff": "50ms..1s", "budget": "25%", "floor": "1/s" }, "adaptive": false,
                 "breaker": { "error_rate": "40%", "window": "20s", "min_requests": 5, "consecutive": 3, "open_for": "1s" },
                 "rate_limit": { "mode": "enforce", "rate": "500/s", "burst": 100 } }"#,
        )
        .unwrap();
        settings.check().unwrap();
        assert_eq!(settings.timeout.total, Duration::from_secs(3));
        assert_eq!((settings.retry.attempts, settings.retry.backoff.max), (3, Duration::from_secs(1)));
        assert_eq!(settings.retry.budget.share.points(), 2500);
        assert_eq!((settings.breaker.window, settings.breaker.probes), (Duration::from_secs(20), 3));
        assert_eq!((settings.adaptive.mode, settings.hedge.mode), (Mode::Off, Mode::Off));
        assert_eq!(settings.rate_limit.rate.to_string(), "500/s");
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_written_is_read_back() {
        assert_eq!(read("{}").unwrap(), PolicySettings::default());
        for settings in [PolicySettings::standard(), PolicySettings::careful(), PolicySettings::reading()] {
            let text = serde_json::to_string(&settings).unwrap();
            assert_eq!(read(&text).unwrap(), settings, "{text}");
        }
    }

    #[test]
    fn what_nobody_knows_or_can_read_is_refused_by_name() {
        for (json, named) in [
            (r#"{ "retries": 3 }"#, "retries"),
            (r#"{ "breaker": { "treshold": 3 } }"#, "treshold"),
            (r#"{ "breaker": { "error_rate": "150%" } }"#, "at most 100%"),
            (r#"{ "breaker": "on" }"#, "off"),
            (r#"{ "timeout": "soon" }"#, "'soon' is not a duration"),
            (r#"{ "timeout": 5 }"#, "invalid type"),
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains(named), "{json}: {error}");
        }
    }
}

#[test]
fn every_setting_that_cannot_work_is_named_at_once() {
    let policy = Policy::standard().with(|settings| {
        settings.timeout.per_try = settings.timeout.total;
        settings.breaker.window = Duration::ZERO;
        settings.breaker.error_rate = Share::NONE;
        settings.retry.budget.share = Share::NONE;
        settings.retry.budget.floor.count = 0;
        settings.bulkhead.in_flight = 0;
    });
    let error = policy.layer(&Env::default()).unwrap_err();
    let fields: Vec<_> = error.problems().iter().map(|p| p.field.split('.').next().unwrap()).collect();
    for section in ["timeout", "retry", "breaker", "bulkhead"] {
        assert!(fields.contains(&section), "{error}");
    }
    assert!(error.problems().len() >= 5, "{error}");
}
