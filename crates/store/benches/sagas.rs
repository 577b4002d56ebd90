//! Sagas per second on disk, against the least that any coordinator with a durable log must do: one group-committed
//! insert per transition, five for a saga of three calls. Both in the same run, in turns, as a ratio; participants
//! answer at once, so that what is measured is the coordinator.
//!
//! `cargo bench -p mainstay-store`
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::{EventBus, Shutdown, SystemClock};
use mainstay_store::{SqliteJournal, StoreOptions};
use mainstay_txn::{
    BranchCall, Definition, Engine, Handle, Journal, Options, Outcome, Participant, STUCK_AFTER, Start, Status, Step,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: u64 = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const INSERTS_PER_SAGA: usize = 5;

struct AtOnce;

impl Participant for AtOnce {
    async fn call(&self, _: BranchCall) -> Outcome {
        tokio::task::yield_now().await;
        Outcome::Done
    }
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

struct Measure {
    per_second: f64,
    cpu_ms: f64,
}

/// Runs `once` in [`CLIENTS`] tasks for [`ROUND`].
async fn measure<F: Future<Output = ()> + Send>(once: impl Fn(u64) -> F + Clone + Send + 'static) -> Measure {
    let count = Arc::new(AtomicU64::new(0));
    let (begun, cpu_before) = (Instant::now(), cpu());
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (once, count) = (once.clone(), count.clone());
        clients.spawn(async move {
            while begun.elapsed() < ROUND {
                once(client).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    clients.join_all().await;
    let count = count.load(Ordering::Relaxed) as f64;
    Measure {
        per_second: count / begun.elapsed().as_secs_f64(),
        cpu_ms: (cpu() - cpu_before).as_secs_f64() * 1000.0 / count,
    }
}

fn definition() -> Definition {
    let step = |name: &str| Step {
        name: name.into(),
        call: format!("POST {name}/do").parse().unwrap(),
        undo: Some(format!("POST {name}/undo/{{key}}").parse().unwrap()),
        pivot: false,
    };
    let steps = vec![step("order"), step("inventory"), step("payment")];
    Definition::saga("checkout", Duration::from_secs(30), STUCK_AFTER, steps).unwrap()
}

async fn saga(handle: Handle, key: u64) {
    let input =
        serde_json::json!({"order_id": key, "sku": "chair", "quantity": 1, "card": "4242", "amount_cents": 4200});
    let start = Start { name: "checkout".into(), key: Some(format!("o-{key}")), input };
    let started = handle.start(start).await.unwrap();
    let record = handle.wait(&started.id, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Committed);
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // On the disk that the code is on: a folder in memory would measure nothing.
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let open = |name| Arc::new(SqliteJournal::open(folder.path().join(name), StoreOptions::default()).unwrap());
    let (floor, journal) = (open("floor.db"), open("mainstay.db"));
    let clock = Arc::new(SystemClock);
    let bus = EventBus::new(clock.clone());
    let (engine, handle) =
        Engine::new(Options::default(), vec![definition()], journal, Arc::new(AtOnce), clock, bus).unwrap();
    let shutdown = Shutdown::new();
    let engine = tokio::spawn(engine.run(shutdown.clone()));
    let next = Arc::new(AtomicU64::new(0));
    println!(
        "{:>5} {:>12} {:>12} {:>7} {:>12} {:>12}",
        "round", "floor /s", "sagas /s", "ratio", "floor ms", "saga ms CPU"
    );
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let (floor, numbers) = (floor.clone(), next.clone());
        let least = measure(move |_| {
            let (floor, number) = (floor.clone(), numbers.fetch_add(1, Ordering::Relaxed));
            async move {
                for transition in 0..INSERTS_PER_SAGA {
                    floor.define(format!("{number} {transition} {}", "x".repeat(150))).await.unwrap();
                }
            }
        })
        .await;
        let (handle, numbers) = (handle.clone(), next.clone());
        let ours = measure(move |_| saga(handle.clone(), numbers.fetch_add(1, Ordering::Relaxed))).await;
        let ratio = ours.per_second / least.per_second;
        ratios.push(ratio);
        println!(
            "{round:>5} {:>12.0} {:>12.0} {ratio:>7.2} {:>12.3} {:>12.3}",
            least.per_second, ours.per_second, least.cpu_ms, ours.cpu_ms
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ROUNDS / 2]);
    shutdown.cancel();
    engine.await.unwrap().unwrap();
}
