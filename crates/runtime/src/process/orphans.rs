//! Processes that an earlier Mainstay left behind: found by their records, and by the mark in their environment where the
//! record is lost (Mainstay was killed between the start of a process and the writing of its record).

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use mainstay_core::ReplicaId;

use super::attend::{Process, end_stray, kill_descendants};
use super::records::{self, Record};
use super::{Folders, OWNER_VARIABLE, REPLICA_VARIABLE, procfs};
use crate::driver::DriverError;

/// What was found.
pub(super) struct Found {
    /// Recorded and running.
    pub(super) running: Vec<(Record, Process)>,
    /// Ours, running, and not recorded.
    pub(super) strays: Vec<Process>,
}

/// Looks for everything of ours that runs. Records of what does not run are removed, with what it left behind.
pub(super) fn find(folders: &Folders) -> Result<Found, DriverError> {
    let failed = |e: std::io::Error| DriverError::Transient(format!("cannot look for running replicas: {e}"));
    let boot_id = procfs::boot_id();
    let mut running = Vec::new();
    for record in records::read_all(&folders.records).map_err(failed)? {
        let held = match record.boot_id == boot_id {
            true => Process::hold(record.pid, record.start_ticks).map_err(failed)?,
            false => None,
        };
        match held {
            Some(process) => running.push((record, process)),
            None => {
                if record.boot_id == boot_id {
                    let replica = record.replica.to_string();
                    let ours = |pid| {
                        is_ours(folders, pid) && procfs::variable(pid, REPLICA_VARIABLE).as_ref() == Some(&replica)
                    };
                    kill_descendants(record.pid, record.start_ticks, ours);
                }
                records::forget(&folders.records, &record);
            }
        }
    }
    let known: BTreeSet<String> = running.iter().map(|(record, _)| record.replica.to_string()).collect();
    let strays = strays(folders, &known, u64::MAX).map_err(failed)?;
    Ok(Found { running, strays })
}

/// Processes of ours that nobody knows, started before that time of the machine. What bears the name of a known replica
/// was made by that replica: some begin a session for each of their children, as PostgreSQL does.
pub(super) fn strays(folders: &Folders, known: &BTreeSet<String>, before_ticks: u64) -> std::io::Result<Vec<Process>> {
    let unknown = |pid| procfs::variable(pid, REPLICA_VARIABLE).is_some_and(|replica| !known.contains(&replica));
    let is_stray = |stat: &procfs::Stat| {
        let leads = stat.session == stat.pid && stat.runs() && stat.pid != std::process::id();
        leads && stat.start_ticks < before_ticks && is_ours(folders, stat.pid) && unknown(stat.pid)
    };
    let held = procfs::all().into_iter().filter(is_stray).map(|stat| Process::hold(stat.pid, stat.start_ticks));
    held.filter_map(std::io::Result::transpose).collect()
}

fn is_ours(folders: &Folders, pid: u32) -> bool {
    procfs::variable(pid, OWNER_VARIABLE).as_ref() == Some(&folders.owner)
}

/// A replica that ran without a Mainstay and was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Which; none for a process of ours that no record knew.
    pub replica: Option<ReplicaId>,
    /// Its process.
    pub pid: u32,
    /// KILL was needed.
    pub forced: bool,
}

/// Stops every replica that an earlier Mainstay left running, for `mainstay down` when none runs: TERM, at most `grace`,
/// KILL, all at once. The caller makes sure that no Mainstay runs in that folder.
pub async fn stop_orphans(state_dir: &Path, grace: Duration) -> Result<Vec<Orphan>, DriverError> {
    if !state_dir.join("run/replicas").is_dir() {
        return Ok(Vec::new());
    }
    let folders = Folders::make(state_dir)?;
    let found = find(&folders)?;
    let mut stopping = Vec::new();
    for (record, process) in found.running {
        stopping.push((Some(record), process.pid, tokio::spawn(end_stray(process, grace))));
    }
    for process in found.strays {
        stopping.push((None, process.pid, tokio::spawn(end_stray(process, grace))));
    }
    let mut stopped = Vec::new();
    for (record, pid, end) in stopping {
        let forced = end.await.unwrap_or(true);
        if let Some(record) = &record {
            records::forget(&folders.records, record);
        }
        stopped.push(Orphan { replica: record.map(|r| r.replica), pid, forced });
    }
    // What was frozen for a drill runs no more.
    let _ = std::fs::remove_dir_all(state_dir.join("run/leases"));
    Ok(stopped)
}
