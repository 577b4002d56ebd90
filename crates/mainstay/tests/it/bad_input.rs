//! Everything that a user can get wrong: a clear error that names the place and the fix, and nothing changed.

use serde_json::Value;

use crate::app::{Folder, SHOP, mainstay, order, said, turn, until};
use crate::http;

/// `up` and `check` refuse `body` with exit code 2 and these words, and leave no state folder.
async fn check(body: &str, words: &[&str]) {
    let _turn = turn().await;
    let folder = Folder::new(body);
    for verb in ["check", "up"] {
        let output = mainstay(folder.path(), &[verb]).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(2), "{verb}: {text}");
        for word in words {
            assert!(text.contains(word), "{verb}: {word:?} is not in\n{text}");
        }
    }
    assert!(!folder.state().exists(), "a refused file changes nothing");
}

#[tokio::test]
async fn unknown_keys() {
    check("services:\n  a: { run: /bin/true, replica: 2 }\n", &["mainstay.yaml:4:", "replica", "replicas"]).await;
}

#[tokio::test]
async fn wrong_units() {
    check("services:\n  a: { run: /bin/true, stop: { grace: 10 } }\n", &["mainstay.yaml:4:", "10", "10s"]).await;
}

#[tokio::test]
async fn cycles() {
    check("services:\n  a: { run: /bin/true, needs: [b] }\n  b: { run: /bin/true, needs: [a] }\n", &["a -> b -> a"])
        .await;
}

#[tokio::test]
async fn a_missing_program() {
    check("services:\n  a: { run: ./nowhere }\n", &["mainstay.yaml:4:", "nowhere"]).await;
}

#[tokio::test]
async fn all_errors_at_once() {
    check(
        "services:\n  a: { run: /bin/true, needs: [ghost], replicas: many }\nroutes:\n  - { match: \"GET /x\", to: nobody }\n",
        &["ghost", "many", "nobody"],
    )
    .await;
}

#[tokio::test]
async fn a_missing_file_says_how_to_begin() {
    let dir = tempfile::tempdir().unwrap();
    let output = mainstay(dir.path(), &["up"]).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("mainstay.yaml") && text.contains("mainstay init"), "{text}");
}

#[tokio::test]
async fn init_writes_a_file_that_is_right_and_never_overwrites_one() {
    let dir = tempfile::tempdir().unwrap();
    let first = mainstay(dir.path(), &["init", "--app", "shop"]).await;
    assert!(first.status.success() && said(&first).contains("mainstay check"), "{}", said(&first));
    let written = std::fs::read_to_string(dir.path().join("mainstay.yaml")).unwrap();
    assert_eq!(
        written.lines().filter(|l| !l.trim_start().starts_with('#') && !l.trim().is_empty()).count(),
        5,
        "{written}"
    );
    let second = mainstay(dir.path(), &["init"]).await;
    assert!(!second.status.success() && said(&second).contains("there already"), "{}", said(&second));
    assert_eq!(std::fs::read_to_string(dir.path().join("mainstay.yaml")).unwrap(), written);
    let explained = mainstay(dir.path(), &["explain"]).await;
    assert!(explained.status.success() && said(&explained).contains("default"), "{}", said(&explained));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let _turn = turn().await;
    for which in ["ingress", "console"] {
        let folder = Folder::new("services:\n  a: { run: \"/bin/sleep 1000\" }\n");
        let address = if which == "ingress" { folder.ingress } else { folder.console };
        let _taken = std::net::TcpListener::bind(address).unwrap();
        let (code, text) = folder.up().ended().await;
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(which) && text.contains(&address.to_string()) && text.contains("fix: "), "{text}");
        assert!(folder.pids().is_empty(), "nothing was started");
    }
}

#[tokio::test]
async fn a_second_up_in_the_same_folder() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let before = folder.pids();
    let second = mainstay(folder.path(), &["up"]).await;
    let text = said(&second);
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(
        text.contains("already up") && text.contains(&up.pid().to_string()) && text.contains("mainstay down"),
        "{text}"
    );
    assert_eq!(folder.pids(), before);
    up.stop().await;
    assert!(folder.pids().is_empty(), "an orderly stop leaves nothing");
}

/// The first replica of the service `name`.
fn replica<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().unwrap();
    &services.iter().find(|s| s["name"] == name).unwrap()["replicas"][0]
}

/// A service that cannot come up is named with what it said; its neighbour runs.
#[tokio::test]
async fn a_service_that_exits_at_once_or_never_gets_ready() {
    let _turn = turn().await;
    let folder = Folder::new(concat!(
        "services:\n",
        "  good: { run: \"@SHOP@ payment\", env: { SHOP_DATA: \"@DATA@\" }, probes: { ready: { http: /health } } }\n",
        "  dead: { run: [/bin/sh, -c, 'echo the licence has expired; exit 3'], restart: { limit: 2, within: 60s } }\n",
        "  mute: { run: \"/bin/sleep 1000\", probes: { ready: { http: /health, every: 200ms, timeout: 200ms } } }\n",
    ));
    let up = folder.up();
    let status = until("dead has failed, good is ready, mute fails its probe", async || {
        let status = folder.status().await?;
        let state = |name: &str| replica(&status, name)["state"].as_str().map(str::to_owned);
        let all =
            (state("good")?, state("dead")?, state("mute")?) == ("ready".into(), "failed".into(), "not_ready".into());
        (all && replica(&status, "mute")["probes"].to_string().contains("error")).then_some(status)
    })
    .await;
    let dead = replica(&status, "dead");
    assert!(dead["last_exit"]["status"].as_str().unwrap().contains('3'), "{dead}");
    assert!(dead["last_exit"]["log_tail"].to_string().contains("the licence has expired"), "{dead}");
    let ps = mainstay(folder.path(), &["ps"]).await;
    assert!(said(&ps).contains("dead-1") && said(&ps).contains("failed"), "{}", said(&ps));
    up.stop().await;
}

#[tokio::test]
async fn requests_that_are_wrong_reach_nobody() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let big = format!(r#"{{"order_id":"big","sku":"{}"}}"#, "x".repeat(70_000));
    let refused: &[(&str, &str, u16, &str)] = &[
        ("/checkout", "this is no JSON", 400, "bad_request"),
        ("/checkout", r#"{"sku":"tea"}"#, 400, "bad_request"),
        ("/checkout", r#"{"order_id":["a"]}"#, 400, "bad_request"),
        ("/checkout", &big, 413, "body_too_large"),
        ("/nowhere", "{}", 404, "no_route"),
    ];
    for (path, body, status, reason) in refused {
        let answer = http::post(folder.ingress, path, body).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("mainstay-reason")),
            (*status, Some(*reason)),
            "{path}: {}",
            answer.body
        );
        assert_eq!(answer.json()["reason"], *reason);
    }
    let smuggled: &[(&str, &str)] = &[
        ("both lengths", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths", "content-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        ("duplicate Transfer-Encoding", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("listed Transfer-Encoding", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("bare LF", "content-length: 2\n\r\n\r\n{}"),
        ("obsolete folding", "x-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}"),
        ("premature Upgrade", "connection: upgrade\r\nupgrade: websocket\r\ncontent-length: 2\r\n\r\n{}"),
    ];
    for (what, rest) in smuggled {
        let request = format!("POST /reservations HTTP/1.1\r\nhost: x\r\n{rest}");
        let answer = http::raw(folder.ingress, request.as_bytes()).await.unwrap();
        assert_eq!(
            (answer.status, answer.header("mainstay-reason")),
            (400, Some("bad_request")),
            "{what}: {}",
            answer.head
        );
    }
    let counts = &folder.status().await.unwrap()["transactions"];
    assert_eq!((counts["committed"].as_u64(), counts["running"].as_u64()), (Some(0), Some(0)), "nothing was started");
    let good = http::post(folder.ingress, "/checkout", &order("fine")).await.unwrap();
    assert_eq!(good.status, 200, "{}", good.body);
    let conflict = http::post(folder.ingress, "/checkout", &order("fine").replace("700", "701")).await.unwrap();
    assert_eq!((conflict.status, conflict.header("mainstay-reason")), (409, Some("idempotency_conflict")));
    up.stop().await;
}
