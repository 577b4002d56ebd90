//! A power loss, as real as it gets without pulling a plug: a file system of its own is shut down under the journal so
//! that whatever was not flushed is gone, then it is mounted again.
//!
//! `EXT4_IOC_SHUTDOWN` with `NOLOGFLUSH` stops a mounted ext4 at once and drops its caches and its unflushed log: what
//! a machine that loses power leaves behind. Needs root and a loop device. Without them the test is skipped, and says
//! so; with `MAINSTAY_REQUIRE_ALL=1` a skip is a failure.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests are tests")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use mainstay_core::TransactionId;
use mainstay_store::{SqliteJournal, StoreOptions};
use mainstay_txn::{Change, Cursor, DefinitionId, History, Inserted, Journal, New, Status};

const DISK_BYTES: u64 = 64 * 1024 * 1024;
const WRITERS: usize = 8;
const EACH: usize = 25;

/// `_IOR('X', 125, __u32)`, the same number for every file system that can be shut down.
const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const NO_LOG_FLUSH: u32 = 2;

/// A file system of its own, gone without a trace when it is dropped.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
    _folder: tempfile::TempDir,
}

#[expect(
    clippy::disallowed_types,
    reason = "mounting is done by the system's tools; the supervised driver is not for them"
)]
fn tool(name: &str, arguments: &[&Path]) -> Result<(), String> {
    let output = std::process::Command::new(name).args(arguments).output().map_err(|e| format!("{name}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or_else(|| format!("{name}: {}", said.trim()))
}

impl Disk {
    fn make() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting needs root".into());
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let image = folder.path().join("disk");
        let mount = folder.path().join("mount");
        std::fs::create_dir(&mount).map_err(|e| e.to_string())?;
        File::create(&image).and_then(|f| f.set_len(DISK_BYTES)).map_err(|e| e.to_string())?;
        tool("mkfs.ext4", &[Path::new("-q"), Path::new("-F"), &image])?;
        let mut disk = Self { image, mount, mounted: false, _folder: folder };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&mut self) -> Result<(), String> {
        tool("mount", &[Path::new("-o"), Path::new("loop"), &self.image, &self.mount])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<(), String> {
        tool("umount", &[&self.mount])?;
        self.mounted = false;
        Ok(())
    }

    fn database(&self) -> PathBuf {
        self.mount.join("mainstay.db")
    }

    fn lose_power(&self) {
        let root = File::open(&self.mount).unwrap();
        #[expect(unsafe_code, reason = "no safe wrapper of this ioctl exists")]
        // SAFETY: the opcode takes a pointer to one u32, which `Setter` gives; it touches no memory of this process.
        let result = unsafe {
            let shutdown = rustix::ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH);
            rustix::ioctl::ioctl(&root, shutdown)
        };
        result.unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            // A failing test may still hold files: detach now, free when they are closed.
            let _ = tool("umount", &[Path::new("-l"), &self.mount]);
        }
    }
}

/// None when there can be no disk here, which is said aloud, or is a failure where everything is required.
fn disk() -> Option<Disk> {
    match Disk::make() {
        Ok(disk) => Some(disk),
        Err(why) => {
            assert!(std::env::var_os("MAINSTAY_REQUIRE_ALL").is_none_or(|v| v != "1"), "required, but: {why}");
            println!("SKIPPED: power loss: {why}");
            None
        }
    }
}

fn new(id: &str) -> New {
    New {
        id: TransactionId::new(id),
        name: "checkout".into(),
        key: id.into(),
        dedup: true,
        definition: DefinitionId(1),
        status: Status::Running,
        state: "{}".into(),
        started_ms: 0,
        input: Bytes::from_static(b"{\"amount_cents\":4200}"),
    }
}

async fn accept(journal: &SqliteJournal, id: String) -> (String, i64) {
    let Ok(Inserted::New(cursor)) = journal.insert(new(&id)).await else { panic!("{id} was not accepted") };
    let version = i64::from(commit(journal, &id, cursor).await);
    (id, version)
}

async fn commit(journal: &SqliteJournal, id: &str, cursor: Cursor) -> bool {
    let change = Change {
        cursor,
        id: TransactionId::new(id),
        version: 0,
        status: Status::Committed,
        state: "{}".into(),
        updated_ms: 1,
        history: History::Append(String::new()),
    };
    journal.update(change).await.expect("the disk is well")
}

/// Writes with and without flushes, loses power, and counts what of the acknowledged is lost.
fn lost_of_acknowledged(disk: &mut Disk, sync: bool) -> usize {
    let options = StoreOptions { sync, ..StoreOptions::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let acknowledged: Vec<(String, i64)> = runtime.block_on(async {
        let journal = Arc::new(SqliteJournal::open(disk.database(), options).unwrap());
        journal.define("{}".into()).await.unwrap();
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let journal = journal.clone();
            writers.spawn(async move {
                let mut acknowledged = Vec::new();
                for i in 0..EACH {
                    acknowledged.push(accept(&journal, format!("{writer}-{i}")).await);
                }
                acknowledged
            });
        }
        let acknowledged = writers.join_all().await.concat();
        disk.lose_power();
        acknowledged
    });
    drop(runtime);
    assert_eq!(acknowledged.len(), WRITERS * EACH);

    disk.unmount().unwrap();
    disk.mount().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = SqliteJournal::open(disk.database(), StoreOptions::default()).unwrap();
        let mut lost = 0;
        for (id, version) in &acknowledged {
            let row = journal.get(TransactionId::new(id)).await.unwrap();
            lost += usize::from(row.is_none_or(|r| r.version != *version || r.status != Status::Committed));
        }
        lost
    })
}

#[test]
fn nothing_acknowledged_is_lost_with_the_power() {
    let Some(mut disk) = disk() else { return };
    assert_eq!(lost_of_acknowledged(&mut disk, true), 0);
}

/// The mutation that proves that the test above can fail.
#[test]
fn without_the_flush_acknowledged_transactions_are_lost() {
    let Some(mut disk) = disk() else { return };
    assert!(lost_of_acknowledged(&mut disk, false) > 0, "nothing was lost: the power loss is not real");
}
