//! Processes die at the worst moment, and nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::app::{Folder, SHOP, alive, mainstay, order, said, turn, until};
use crate::http;

/// Rounds of the kill test.
const ROUNDS: u32 = 50;

fn kill(pid: i32) {
    // It may have died by itself meanwhile, which is as good.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
}

#[tokio::test]
async fn a_killed_mainstay_is_followed_by_one_that_adopts_every_replica() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let before = folder.pids();
    assert_eq!(before.len(), 6);
    up.kill().await;
    assert!(before.iter().all(|(_, pid)| alive(*pid)), "replicas outlive Mainstay");

    let mut up = folder.up();
    let status = up.ready().await;
    assert_eq!(folder.pids(), before, "not one was restarted");
    let adopted =
        |s: &Value| s["replicas"].as_array().unwrap().iter().all(|r| r["adopted"] == true && r["restarts"] == 0);
    assert!(status["services"].as_array().unwrap().iter().all(adopted), "{status}");
    // The edges still lead where the replicas think they do.
    let catalog = http::get(folder.ingress, "/catalog/tea").await.unwrap();
    assert_eq!(catalog.status, 200, "{}", catalog.body);
    up.stop().await;
    assert!(before.iter().all(|(_, pid)| !alive(*pid)));
}

#[tokio::test]
async fn down_stops_replicas_that_a_killed_mainstay_left() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let pids = folder.pids();
    up.kill().await;
    let down = mainstay(folder.path(), &["down"]).await;
    assert!(down.status.success() && said(&down).contains("payment-2 stopped"), "{}", said(&down));
    assert!(pids.iter().all(|(_, pid)| !alive(*pid)));
    let again = mainstay(folder.path(), &["down"]).await;
    assert!(again.status.success() && said(&again).contains("nothing is up"), "{}", said(&again));
}

/// Everything that a killed process can leave, half written and out of date, and then a start.
#[tokio::test]
async fn stale_state_never_blocks_a_start() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let pids = folder.pids();
    up.kill().await;
    for (_, pid) in &pids {
        kill(*pid);
    }
    until("all are gone", async || pids.iter().all(|(_, pid)| !alive(*pid)).then_some(())).await;
    let run = folder.state().join("run");
    // A record of a process that is not ours and must never be signalled: this test.
    let record = run.join("replicas/payment-1.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let mut stolen: Value = serde_json::from_str(&text).unwrap();
    stolen["pid"] = std::process::id().into();
    std::fs::write(&record, stolen.to_string()).unwrap();
    std::fs::write(run.join("replicas/payment-2.json"), &text[..text.len() / 2]).unwrap();
    std::fs::write(run.join("replicas/ghost-7.json"), "{}").unwrap();
    std::fs::write(run.join("leases/fault-1.json"), "\0\0").unwrap();
    std::fs::write(run.join("edges.json"), "[").unwrap();
    std::fs::write(run.join("api.json"), "{\"pid\":1}").unwrap();

    let mut up = folder.up();
    up.ready().await;
    let answer = http::post(folder.ingress, "/checkout", &order("after")).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    up.stop().await;
}

#[tokio::test]
async fn a_transaction_that_was_open_when_mainstay_died_is_finished_by_the_next() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let token = std::fs::read_to_string(folder.state().join("run/token")).unwrap();
    let auth = format!("Bearer {token}");
    // With payment away the saga stops at its charge.
    let fault = r#"{"fault":"down","service":"payment","ttl":"60s"}"#;
    let injected = http::send(folder.console, "POST", "/v1/faults", &[("authorization", &auth)], fault).await.unwrap();
    assert_eq!(injected.status, 201, "{}", injected.body);
    let start = format!(r#"{{"name":"checkout","key":"held","input":{}}}"#, order("held"));
    let started =
        http::send(folder.console, "POST", "/v1/transactions", &[("authorization", &auth)], &start).await.unwrap();
    assert_eq!(started.status, 201, "{}", started.body);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    up.kill().await;

    let mut up = folder.up();
    up.ready().await;
    let path = format!("/v1/transactions/{id}");
    let record = until("the transaction is over", async || {
        let record = http::get(folder.console, &path).await.ok()?.json();
        (record["status"] == "committed" || record["status"] == "rolled_back").then_some(record)
    })
    .await;
    assert_eq!(record["status"], "committed", "{record}");
    // The same start again finds it, and charges nobody twice.
    let again = http::post(folder.ingress, "/checkout", &order("held")).await.unwrap();
    assert_eq!((again.status, again.json()["id"].as_str()), (200, Some(id.as_str())));
    assert_eq!(audit(&folder, "payment").await["effects"]["charges"]["held"], 1);
    up.stop().await;
}

async fn audit(folder: &Folder, service: &str) -> Value {
    let status = folder.status().await.unwrap();
    let service = status["services"].as_array().unwrap().iter().find(|s| s["name"] == service).unwrap().clone();
    for replica in service["replicas"].as_array().unwrap() {
        let address = replica["addr"].as_str().unwrap().parse().unwrap();
        if let Ok(answer) = http::get(address, "/audit").await {
            return answer.json();
        }
    }
    panic!("nobody answers for {service}");
}

/// A service that will not stop holds up the first Ctrl-C, and not the second.
#[tokio::test]
async fn a_second_interrupt_ends_at_once() {
    let _turn = turn().await;
    let folder = Folder::new(
        "services:\n  deaf: { run: [/bin/sh, -c, 'trap \"\" TERM; while :; do sleep 1; done'], probes: { ready: { exec: /bin/true } } }\n",
    );
    let mut up = folder.up();
    up.ready().await;
    let pid = Pid::from_raw(up.pid()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    until("the stop has begun", async || folder.up_said().contains("Ctrl-C again").then_some(())).await;
    kill_process(pid, Signal::INT).unwrap();
    let (code, words) = up.ended().await;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("mainstay down"), "{words}");
    let down = mainstay(folder.path(), &["down"]).await;
    assert!(said(&down).contains("deaf-1 stopped"), "{}", said(&down));
}

/// An orderly stop under load: whoever was let in gets a right answer, inner calls included; the rest are not let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_loses_no_request() {
    let _turn = turn().await;
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let (ingress, served) = (folder.ingress, Arc::new(AtomicU64::new(0)));
    let clients = (0..8).map(|client| {
        let served = served.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let answer = match client % 2 {
                    0 => http::get(ingress, "/catalog/tea").await,
                    _ => http::post(ingress, "/checkout", &order(&format!("s{client}-{n}"))).await,
                };
                match answer {
                    Ok(answer) if answer.status == 200 => served.fetch_add(1, Ordering::Relaxed),
                    // Refused at the door: nothing was lost, the client knows that it was not served.
                    Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => return None,
                    Ok(answer) if answer.header("mainstay-reason") == Some("draining") => return None,
                    Ok(answer) => return Some(format!("{}: {}", answer.status, answer.body)),
                    Err(e) => return Some(e.to_string()),
                };
            }
            None
        })
    });
    let clients: Vec<_> = clients.collect();
    until("load flows", async || (served.load(Ordering::Relaxed) > 50).then_some(())).await;
    up.stop().await;
    for client in clients {
        assert_eq!(client.await.unwrap(), None, "a request that was let in was lost");
    }
}

/// kill -9 of each process in turn, Mainstay included, at moments that nobody chose, while orders come in. An order is
/// sent again with the same key until it has a definite answer, as a client does that is not sure.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_at_random_moments_lose_and_double_nothing() {
    let _turn = turn().await;
    let seed = mainstay_testing_seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = Folder::new(SHOP);
    let mut up = folder.up();
    up.ready().await;
    let mut answers: BTreeMap<String, u16> = BTreeMap::new();
    for round in 0..ROUNDS {
        let ids: Vec<String> = (0..4).map(|i| format!("r{round}-{i}")).collect();
        let orders = ids.iter().map(|id| until_definite(&folder, id));
        let orders = futures_util::future::join_all(orders);
        let victims = folder.pids();
        // Every seventh kill is Mainstay's, the others go round the replicas.
        let hit = async {
            let pause = random.u64(0..60);
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            if round % 7 == 3 {
                up.kill_and_start().await;
            } else {
                kill(victims[round as usize % victims.len()].1);
            }
        };
        let (statuses, ()) = futures_util::join!(orders, hit);
        answers.extend(ids.into_iter().zip(statuses));
        up.ready().await;
    }
    until("no transaction is open", async || {
        let counts = folder.status().await?["transactions"].clone();
        (counts["running"] == 0 && counts["compensating"] == 0).then_some(())
    })
    .await;
    let orders = audit(&folder, "order").await["orders"].clone();
    let (payment, inventory) = (audit(&folder, "payment").await, audit(&folder, "inventory").await);
    let replay = format!("seed {seed}: MAINSTAY_SEED={seed} cargo test -p mainstay --test it fifty_kills");
    for (id, status) in &answers {
        let expected = if *status == 200 { "completed" } else { "compensated" };
        assert_eq!(orders[id], expected, "{id} was answered {status}; {replay}");
    }
    for (what, counts) in
        [("charge", &payment["effects"]["charges"]), ("reservation", &inventory["effects"]["reservations"])]
    {
        let double: Vec<_> = counts.as_object().unwrap().iter().filter(|(_, n)| n.as_u64() > Some(1)).collect();
        assert!(double.is_empty(), "double {what}: {double:?}; {replay}");
    }
    let sum = |names: &[&str]| names.iter().map(|n| inventory["totals"][n].as_i64().unwrap()).sum::<i64>();
    assert_eq!(sum(&["initial"]), sum(&["available", "reserved", "sold"]), "{replay}");
    let money = |name: &str| payment["totals"][name].as_i64().unwrap();
    assert_eq!(money("charged"), money("captured") + money("refunded"), "{replay}");
    up.stop().await;
}

async fn until_definite(folder: &Folder, id: &str) -> u16 {
    until(&format!("a definite answer for {id}"), async || {
        let answer = http::post(folder.ingress, "/checkout", &order(id)).await.ok()?;
        // A conflict of keys would be a bug: every repeat is the same.
        assert_ne!(answer.header("mainstay-reason"), Some("idempotency_conflict"), "{}", answer.body);
        let over = matches!(answer.status, 200 | 409);
        over.then_some(answer.status)
    })
    .await
}

fn mainstay_testing_seed() -> u64 {
    std::env::var("MAINSTAY_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_261_123)
}
