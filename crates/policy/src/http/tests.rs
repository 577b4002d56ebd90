use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderName, Method, Request, Response};
use tower::{Layer, ServiceExt};

use super::*;
use crate::{
    CallContext, Clock, Deadline, DeadlineLayer, DeadlineSettings, Env, Error, Evidence, Hand, Health, Judge, Moment,
    Priority, Profile, Reason, Rejection, Repeatable, RetrySafety, Verdict,
};

fn http() -> (Http, Hand) {
    let (clock, hand) = Clock::manual();
    (Http::new(&Env::new("test").with_clock(clock)), hand)
}

fn request(method: Method, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = method;
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    request
}

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Response<()> {
    let mut answer = Response::new(());
    *answer.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        answer.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    answer
}

fn judge(answer: &Response<()>) -> Verdict {
    let judged: Result<_, &()> = Ok(answer);
    http().0.judge(judged)
}

#[test]
fn the_method_makes_a_request_repeatable() {
    let (http, _) = http();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(http.repeatable(&request(method, &[])), Repeatable::ByMethod);
    }
    for method in [Method::POST, Method::PATCH, Method::CONNECT, Method::from_bytes(b"get").unwrap()] {
        assert_eq!(http.repeatable(&request(method.clone(), &[])), Repeatable::No, "{method}");
        assert_eq!(http.clone().idempotent().repeatable(&request(method, &[])), Repeatable::ByDeclaration);
    }
}

#[test]
fn a_key_counts_only_where_keys_are_honoured() {
    let (http, _) = http();
    let keyed = request(Method::POST, &[("idempotency-key", "7f")]);
    assert_eq!(http.repeatable(&keyed), Repeatable::No);
    let honours = http.with_idempotency_keys();
    assert_eq!(honours.repeatable(&keyed), Repeatable::ByKey);
    assert_eq!(honours.repeatable(&request(Method::POST, &[])), Repeatable::No);
    assert_eq!(honours.repeatable(&request(Method::POST, &[("idempotency-key", "")])), Repeatable::No);
}

/// istio#50506: a payout was made twice because a POST was repeated after a 503.
#[test]
fn no_status_makes_a_post_repeatable_istio_50506() {
    let (http, _) = http();
    assert_eq!(http.repeatable(&request(Method::POST, &[])), Repeatable::No);
    for status in 100..1000 {
        let verdict = judge(&answer(status, &[]));
        assert_ne!(verdict.retry_safety, RetrySafety::Safe, "{status}");
    }
}

#[test]
fn each_status_has_its_meaning() {
    for status in 100..1000 {
        let verdict = judge(&answer(status, &[]));
        let health = match status {
            429 => Health::Busy,
            500.. => Health::Failed,
            _ => Health::Good,
        };
        let safety = if (502..=504).contains(&status) { RetrySafety::IfRepeatable } else { RetrySafety::No };
        assert_eq!((verdict.health, verdict.retry_safety, verdict.retry_after), (health, safety, None), "{status}");
    }
}

#[test]
fn retry_after_counts_on_429_and_503_only() {
    for status in [200, 429, 500, 502, 503, 504] {
        let verdict = judge(&answer(status, &[("retry-after", "7")]));
        let meant = matches!(status, 429 | 503);
        assert_eq!(verdict.retry_after, meant.then_some(Duration::from_secs(7)), "{status}");
        let again = meant || matches!(status, 502 | 504);
        assert_eq!(verdict.retry_safety == RetrySafety::IfRepeatable, again, "{status}");
    }
    assert_eq!(judge(&answer(429, &[("retry-after", "soon")])).retry_safety, RetrySafety::No);
}

#[test]
fn an_answer_may_forbid_retries() {
    let forbidden = answer(503, &[("mainstay-no-retry", "budget"), ("retry-after", "1")]);
    assert_eq!(judge(&forbidden).retry_safety, RetrySafety::No);
    assert_eq!(judge(&forbidden).health, Health::Failed);

    let mut response = answer(503, &[]);
    let (http, _) = http();
    Judge::<_, ()>::forbid_retry(&http, &mut response, Reason::RetryBudget);
    assert_eq!(response.headers()["mainstay-no-retry"], "budget");
    assert_eq!(judge(&response).retry_safety, RetrySafety::No);
}

#[test]
fn evidence_on_an_answer_goes_before_its_status() {
    let with = |status, evidence: Evidence, headers: &[(&'static str, &str)]| {
        let mut response = answer(status, headers);
        response.extensions_mut().insert(evidence);
        judge(&response).retry_safety
    };
    assert_eq!(with(503, Evidence::NeverSent, &[]), RetrySafety::Safe);
    assert_eq!(with(500, Evidence::NeverSent, &[]), RetrySafety::Safe);
    assert_eq!(with(503, Evidence::NeverSent, &[("mainstay-no-retry", "budget")]), RetrySafety::No);
    // A good answer is an answer, whoever made it.
    assert_eq!(with(200, Evidence::NeverSent, &[]), RetrySafety::No);
    assert_eq!(with(503, Evidence::Sent, &[]), RetrySafety::IfRepeatable);
    assert_eq!(with(503, Evidence::ResponseStarted, &[]), RetrySafety::No);
}

#[test]
fn errors_are_judged_by_what_they_prove() {
    let (http, _) = http();
    let unknown: Result<&Response<()>, _> = Err(&Evidence::NeverSent);
    assert_eq!(http.judge(unknown), Verdict::FAILED);

    let http = http.errors_by(|evidence: &Evidence| *evidence);
    let by = |evidence: Evidence| {
        let outcome: Result<&Response<()>, _> = Err(&evidence);
        http.judge(outcome)
    };
    assert_eq!(by(Evidence::NeverSent), Verdict::UNSENT);
    assert_eq!(by(Evidence::Sent), Verdict::FAILED);
    assert_eq!(by(Evidence::Answered(500)).retry_safety, RetrySafety::No);
    assert_eq!(by(Evidence::Answered(503)).retry_safety, RetrySafety::IfRepeatable);
    assert_eq!(by(Evidence::ResponseStarted).retry_safety, RetrySafety::No);
    assert_eq!(by(Evidence::ResponseStarted).health, Health::Failed);
}

#[test]
fn grpc_says_in_the_head_how_it_went() {
    let of = |code: &str| judge(&answer(200, &[("grpc-status", code)]));
    for (code, health, safety) in [
        ("0", Health::Good, RetrySafety::No),
        ("1", Health::Good, RetrySafety::No),
        ("2", Health::Failed, RetrySafety::No),
        ("3", Health::Good, RetrySafety::No),
        ("4", Health::Failed, RetrySafety::No),
        ("5", Health::Good, RetrySafety::No),
        ("8", Health::Busy, RetrySafety::No),
        ("12", Health::Good, RetrySafety::No),
        ("13", Health::Failed, RetrySafety::No),
        ("14", Health::Failed, RetrySafety::IfRepeatable),
        ("15", Health::Failed, RetrySafety::No),
        ("16", Health::Good, RetrySafety::No),
        ("99", Health::Good, RetrySafety::No),
        ("what", Health::Failed, RetrySafety::No),
    ] {
        let verdict = of(code);
        assert_eq!((verdict.health, verdict.retry_safety), (health, safety), "{code}");
    }
}

#[test]
fn a_grpc_server_says_when_it_wants_to_be_asked_again() {
    let of = |code: &str, pushback: &str| {
        judge(&answer(200, &[("grpc-status", code), ("grpc-retry-pushback-ms", pushback)]))
    };
    for code in ["8", "14"] {
        let later = of(code, "250");
        assert_eq!(later.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(later.retry_safety, RetrySafety::IfRepeatable);
        assert_eq!(of(code, "-1").retry_safety, RetrySafety::No);
    }
    assert_eq!(of("13", "250").retry_safety, RetrySafety::No);
}

#[test]
fn the_deadline_is_read_from_whichever_header_is_shorter() {
    let (http, hand) = http();
    hand.advance(Duration::from_secs(100));
    for (headers, expected) in [
        (&[("mainstay-deadline-ms", "1500")][..], Some(1500)),
        (&[("grpc-timeout", "2S")], Some(2000)),
        (&[("mainstay-deadline-ms", "1500"), ("grpc-timeout", "2S")], Some(1500)),
        (&[("mainstay-deadline-ms", "2500"), ("grpc-timeout", "2S")], Some(2000)),
        (&[("mainstay-deadline-ms", "soon"), ("grpc-timeout", "2S")], Some(2000)),
        (&[("mainstay-deadline-ms", "0")], Some(0)),
        (&[("mainstay-deadline-ms", "-5")], None),
        (&[], None),
    ] {
        let context = http.context(&request(Method::GET, headers));
        let now = Moment::from(Duration::from_secs(100));
        assert_eq!(context.deadline, expected.map(|ms| now + Duration::from_millis(ms)), "{headers:?}");
    }
    let forever = http.context(&request(Method::GET, &[("mainstay-deadline-ms", "99999999999999999999")]));
    assert_eq!(forever.deadline, Some(Moment::MAX));
}

#[test]
fn priorities_are_believed_of_peers_only() {
    let (http, _) = http();
    let of = |http: &Http, level: &str| http.context(&request(Method::GET, &[("mainstay-priority", level)])).priority;
    assert_eq!(of(&http, "4"), Priority::NORMAL);
    let trusting = http.trusting_peers();
    assert_eq!(of(&trusting, "0"), Priority::LOWEST);
    // Nobody outside can claim to be critical.
    for level in ["4", "5", "256", "99999999999999999999999"] {
        assert_eq!(of(&trusting, level), Priority::HIGHEST, "{level}");
    }
    assert_eq!(of(&trusting, "high"), Priority::NORMAL);
}

#[test]
fn tenants_are_told_apart() {
    let (http, _) = http();
    let acme = request(Method::GET, &[("tenant", "acme")]);
    assert_eq!(http.context(&acme).tenant, 0);
    let http = http.tenant_from(HeaderName::from_static("tenant"));
    let tenant = |name: &str| http.context(&request(Method::GET, &[("tenant", name)])).tenant;
    assert_eq!(tenant("acme"), http.context(&acme).tenant);
    assert!(tenant("acme") != tenant("other") && tenant("acme") != 0 && tenant("") != 0);
    assert_eq!(http.context(&request(Method::GET, &[])).tenant, 0);
}

#[test]
fn what_a_layer_has_said_goes_before_the_headers() {
    let (http, hand) = http();
    let mut request = request(Method::GET, &[("mainstay-deadline-ms", "60000"), ("grpc-timeout", "60S")]);
    let deadline = Some(Moment::from(Duration::from_secs(1)));
    let context = CallContext { deadline, priority: Priority::CRITICAL, attempt: 1, ..CallContext::default() };
    http.stamp(&mut request, &context);
    assert_eq!(http.context(&request), context);
    assert_eq!(request.headers()["mainstay-deadline-ms"], "995");
    assert_eq!(request.headers()["grpc-timeout"], "995m");

    hand.advance(Duration::from_millis(400));
    http.stamp(&mut request, &CallContext { attempt: 2, ..context });
    assert_eq!(request.headers()["mainstay-deadline-ms"], "595");
    assert_eq!(http.context(&request).attempt, 2);

    hand.advance(Duration::from_secs(9));
    http.stamp(&mut request, &context);
    assert_eq!(request.headers()["mainstay-deadline-ms"], "0");
}

/// Milliseconds that remain are so many now; read again later they would be as many still.
#[tokio::test]
async fn a_deadline_that_was_read_once_does_not_move() {
    let (clock, hand) = Clock::manual();
    let env = Env::new("test").with_clock(clock);
    let http = Http::new(&env);
    let layer = DeadlineLayer::new(Deadline::new(DeadlineSettings::default(), &env).unwrap());
    let below = tower::service_fn(|request: Request<()>| async move { Ok::<_, Error<()>>(request) });
    let asked = request(Method::GET, &[("mainstay-deadline-ms", "1500")]);
    let passed_on = layer.profiled_by(http.clone()).layer(below).oneshot(asked).await.unwrap();
    hand.advance(Duration::from_secs(1));
    assert_eq!(http.context(&passed_on).deadline, Some(Moment::from(Duration::from_millis(1500))));
    assert_eq!(passed_on.headers()["mainstay-deadline-ms"], "1495");
}

#[test]
fn without_a_deadline_none_is_told() {
    let (http, _) = http();
    let mut request = request(Method::GET, &[]);
    http.stamp(&mut request, &CallContext::default());
    assert!(request.headers().is_empty());
}

#[test]
fn a_server_reads_what_a_client_says_and_takes_any_body() {
    struct Upload;
    let (http, _) = http();
    let http = http.trusting_peers().sent_once();
    let headers = [("mainstay-deadline-ms", "1500"), ("mainstay-priority", "3")];
    let request = request(Method::GET, &headers).map(|()| Upload);
    let context = http.context(&request);
    assert_eq!((context.deadline.map(|at| at.as_secs()), context.priority), (Some(1), Priority::claimed(3)));
    assert!(http.duplicate(&request).is_none() && !http.hedgeable(&request));
}

#[test]
fn a_copy_is_the_same_request() {
    let (http, _) = http();
    let mut original = request(Method::PUT, &[("a", "1")]).map(|()| String::from("body"));
    *original.uri_mut() = "http://x/y?z=1".parse().unwrap();
    *original.version_mut() = ::http::Version::HTTP_2;
    original.headers_mut().append("a", "2".parse().unwrap());
    original.extensions_mut().insert(7u8);
    let copy = http.duplicate(&original).unwrap();
    assert_eq!(copy.method(), original.method());
    assert_eq!(copy.uri(), original.uri());
    assert_eq!(copy.version(), original.version());
    assert_eq!(copy.headers(), original.headers());
    assert_eq!(copy.body(), original.body());
    assert_eq!(copy.extensions().get(), Some(&7u8));
    assert!(http.duplicate(&request(Method::CONNECT, &[])).is_none());
}

#[test]
fn rejections_become_answers() {
    for &reason in Reason::ALL {
        for rejection in [Rejection::unsent(reason), Rejection::sent(reason), Rejection::last(reason)] {
            let response: Response<String> = rejection_response(&rejection);
            assert_eq!(response.status(), reason.status());
            assert_eq!(response.headers()["mainstay-reason"], reason.code());
            let body: serde_json::Value = serde_json::from_str(response.body()).unwrap();
            assert_eq!(body["reason"], reason.code());
            assert_eq!(body["message"], reason.message());
            let last = rejection.retry_safety == RetrySafety::No;
            assert_eq!(body["retryable"], reason.retryable() && !last);
            assert_eq!(response.headers().contains_key("mainstay-no-retry"), last);
            assert!(!response.headers().contains_key(RETRY_AFTER));
        }
    }
    let budget: Response<String> = rejection_response(&Rejection::last(Reason::RetryBudget));
    assert_eq!(budget.headers()["mainstay-no-retry"], "budget");
}

#[test]
fn retry_after_is_whole_seconds_and_never_too_early() {
    for (wait, expected) in [
        (Duration::ZERO, "1"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_secs(1), "1"),
        (Duration::from_millis(1001), "2"),
        (Duration::MAX, "18446744073709551615"),
    ] {
        let response: Response<String> = rejection_response(&Rejection::unsent(Reason::RateLimited).after(wait));
        assert_eq!(response.headers()[RETRY_AFTER], expected);
    }
}
