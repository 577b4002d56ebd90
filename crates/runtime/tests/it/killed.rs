//! A real Mainstay process is killed at random moments, again and again: nothing is lost, doubled or left over.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::world::{World, state_of, wait_for};

const ROUNDS: usize = 25;
const REPLICAS: [&str; 4] = ["inventory-1", "order-1", "order-2", "payment-1"];

struct Killed(std::process::Child);

impl Killed {
    #[expect(clippy::disallowed_types, reason = "what is tested is a process of its own that dies")]
    fn start(dir: &Path) -> Self {
        let program = env!("CARGO_BIN_EXE_mainstay-runtime-test-service");
        Self(std::process::Command::new(program).arg("supervise").arg(dir).spawn().unwrap())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The running processes that bear the mark of this folder: replica → numbers.
fn marked(dir: &Path) -> BTreeMap<String, Vec<u32>> {
    let owner = format!("MAINSTAY_OWNER={}", std::fs::canonicalize(dir).unwrap().display());
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        let environ = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let entries: Vec<&[u8]> = environ.split(|b| *b == 0).collect();
        if entries.contains(&owner.as_bytes()) && state_of(pid).is_some() {
            let replica = entries.iter().find_map(|e| e.strip_prefix(b"MAINSTAY_REPLICA="));
            let replica = String::from_utf8_lossy(replica.unwrap_or_default()).into_owned();
            found.entry(replica).or_default().push(pid);
        }
    }
    found
}

fn recorded(dir: &Path) -> BTreeMap<String, Vec<u32>> {
    let pid_of = |replica: &str| {
        let text = std::fs::read(dir.join(format!("run/replicas/{replica}.json"))).ok()?;
        let record: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(vec![record["pid"].as_u64()? as u32])
    };
    REPLICAS.into_iter().filter_map(|r| Some((r.to_owned(), pid_of(r)?))).collect()
}

/// Every replica there once, and known.
fn is_whole(dir: &Path) -> bool {
    let running = marked(dir);
    running.len() == REPLICAS.len() && running == recorded(dir)
}

#[test]
fn killed_at_any_moment_it_loses_and_doubles_nothing() {
    let world = World::new();
    let dir = world.path("state");
    std::fs::create_dir(&dir).unwrap();
    let seed = 20_260_101;
    let mut rng = fastrand::Rng::with_seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for _ in 0..ROUNDS {
        let mainstay = Killed::start(&dir);
        // Not to wait for anything: this is the random moment.
        let moment = Duration::from_micros(rng.u64(0..80_000));
        runtime.block_on(async { tokio::time::sleep(moment).await });
        drop(mainstay);
    }
    let mainstay = Killed::start(&dir);
    wait_for("every replica runs once", || is_whole(&dir));
    let before = marked(&dir);
    drop(mainstay);
    // From whole to whole: adopted, each of them.
    for _ in 0..3 {
        let mainstay = Killed::start(&dir);
        wait_for("every replica runs once", || is_whole(&dir));
        drop(mainstay);
        assert_eq!(marked(&dir), before, "seed {seed}");
    }
}
