//! The engine on the SQLite journal, its process gone in the middle of things, again and again: what was acknowledged
//! ends, and nothing happens twice.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::{EventBus, Shutdown, SystemClock, TransactionId};
use mainstay_store::{SqliteJournal, StoreOptions};
use mainstay_txn::{
    BranchCall, Definition, Engine, Handle, Op, Options, Outcome, Participant, STUCK_AFTER, Start, Status, Step,
};
use tokio::runtime::Runtime;

const ROUNDS: usize = 6;
const STARTS_PER_ROUND: usize = 40;
const SETTLE_MAX: Duration = Duration::from_secs(60);

/// A participant that outlives the coordinator, keeps the barrier rule and refuses every fifth charge.
#[derive(Default)]
struct Shop {
    applied: Mutex<BTreeMap<String, u32>>,
    barred: Mutex<BTreeMap<String, ()>>,
    calls: AtomicUsize,
}

impl Participant for Shop {
    async fn call(&self, call: BranchCall) -> Outcome {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let branch = format!("{}/{}", call.transaction, call.step);
        let mut barred = self.barred.lock().unwrap();
        if call.op == Op::Compensate {
            barred.insert(branch, ());
            return Outcome::Done;
        }
        let number: u32 = call.path.rsplit('-').next().unwrap().parse().unwrap();
        if call.step == "charge" && number.is_multiple_of(5) {
            return Outcome::Refused { why: "card limit".into() };
        }
        let mut applied = self.applied.lock().unwrap();
        let times = applied.entry(branch.clone()).or_default();
        if !barred.contains_key(&branch) && *times == 0 {
            *times += 1;
        }
        Outcome::Done
    }
}

fn checkout() -> Definition {
    let step = |name: &str, pivot| Step {
        name: name.into(),
        call: format!("POST shop/{name}/{{key}}").parse().unwrap(),
        undo: Some(format!("DELETE shop/{name}/{{key}}").parse().unwrap()),
        pivot,
    };
    let steps = vec![step("reserve", false), step("charge", true), step("confirm", false)];
    Definition::saga("checkout", Duration::from_secs(600), STUCK_AFTER, steps).unwrap()
}

fn start(runtime: &Runtime, folder: &Path, shop: &Arc<Shop>, seed: u64) -> (Handle, Shutdown) {
    let journal = Arc::new(SqliteJournal::open(folder.join("mainstay.db"), StoreOptions::default()).unwrap());
    let clock = Arc::new(SystemClock);
    let bus = EventBus::new(clock.clone());
    let options = Options { seed, ..Options::default() };
    let (engine, handle) = Engine::new(options, vec![checkout()], journal, shop.clone(), clock, bus).unwrap();
    let shutdown = Shutdown::new();
    runtime.spawn(engine.run(shutdown.clone()));
    (handle, shutdown)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn what_was_acknowledged_ends_although_the_process_dies_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let shop = Arc::new(Shop::default());
    let acknowledged: Arc<Mutex<BTreeMap<String, TransactionId>>> = Arc::default();
    for round in 0..ROUNDS {
        let runtime = runtime();
        let (handle, _) = start(&runtime, folder.path(), &shop, round as u64);
        let calls_before = shop.calls.load(Ordering::Relaxed);
        for i in 0..STARTS_PER_ROUND {
            let (handle, acknowledged) = (handle.clone(), acknowledged.clone());
            runtime.spawn(async move {
                let key = format!("o-{}", round * STARTS_PER_ROUND + i);
                let start = Start { name: "checkout".into(), key: Some(key.clone()), input: serde_json::json!({}) };
                if let Ok(started) = handle.start(start).await {
                    acknowledged.lock().unwrap().insert(key, started.id);
                }
            });
        }
        drop(handle);
        // Somewhere in the middle, at another place in each round.
        runtime.block_on(async {
            let middle = calls_before + 10 + 13 * round;
            let reached = async {
                while shop.calls.load(Ordering::Relaxed) < middle {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(SETTLE_MAX, reached).await.expect("calls are made");
        });
        // Every task is dropped where it stands; the journal, and with it the writer, goes when the last one has.
        drop(runtime);
    }

    let runtime = runtime();
    let (handle, shutdown) = start(&runtime, folder.path(), &shop, 99);
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() >= ROUNDS, "only {} were acknowledged", acknowledged.len());
    runtime.block_on(async {
        for (key, id) in &acknowledged {
            let record = handle.wait(id, SETTLE_MAX).await.unwrap().expect("acknowledged and lost");
            let number: u32 = key[2..].parse().unwrap();
            let expected = if number.is_multiple_of(5) { Status::RolledBack } else { Status::Committed };
            assert_eq!(record.status, expected, "{key}");
        }
        // The others were accepted without an answer: they end as well.
        let all_ended = async {
            while handle.counts().open() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SETTLE_MAX, all_ended).await.expect("everything ends");
        shutdown.cancel();
    });
    let applied = shop.applied.lock().unwrap();
    assert!(applied.values().all(|times| *times <= 1), "something took effect twice");
}
