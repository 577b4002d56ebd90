//! What the next Mainstay must know of a running replica: `run/replicas/<replica>.json`.
//!
//! Written to the side and renamed, so that a record is whole or not there. It is a hint, never an order: who reads it
//! checks that the process is the recorded one, and whatever cannot be read is put away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use mainstay_core::{ReplicaId, WallMs};
use serde::{Deserialize, Serialize};

/// The version of the record's form. Another one is not understood, and its process replaced.
pub(super) const FORMAT: u32 = 1;
/// A longer file is no record.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) format: u32,
    pub(crate) replica: ReplicaId,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) boot_id: String,
    pub(crate) port: u16,
    pub(crate) spec_hash: String,
    pub(crate) incarnation: u64,
    pub(crate) started_at: WallMs,
}

fn path_of(dir: &Path, replica: &ReplicaId) -> PathBuf {
    dir.join(format!("{replica}.json"))
}

pub(super) fn write(dir: &Path, record: &Record) -> io::Result<()> {
    let path = path_of(dir, &record.replica);
    let aside = path.with_extension("tmp");
    fs::write(&aside, serde_json::to_vec_pretty(record).map_err(io::Error::other)?)?;
    fs::rename(&aside, &path)
}

/// Removes the record of a process that has ended, unless it is another process's by now.
pub(super) fn forget(dir: &Path, record: &Record) {
    let path = path_of(dir, &record.replica);
    let is_its = |r: Record| r.pid == record.pid && r.start_ticks == record.start_ticks;
    if read(&path).is_ok_and(is_its) {
        let _ = fs::remove_file(path);
    }
}

/// Every readable record. What is not one is removed: it can only be in the way.
pub(super) fn read_all(dir: &Path) -> io::Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        match read(&path) {
            Ok(record) if path == path_of(dir, &record.replica) => records.push(record),
            other => {
                let why = other.err().map_or_else(|| "it lies under another name".to_owned(), |e| e.to_string());
                tracing::warn!(path = %path.display(), why, "not the record of a replica: removed");
                if !path.is_dir() {
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }
    records.sort_by(|a, b| a.replica.cmp(&b.replica));
    Ok(records)
}

fn read(path: &Path) -> io::Result<Record> {
    if fs::metadata(path)?.len() > RECORD_BYTES_MAX {
        return Err(io::Error::other("too long"));
    }
    let record: Record = serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)?;
    if record.format != FORMAT {
        return Err(io::Error::other(format!("format {} is not known", record.format)));
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(replica: &str, pid: u32) -> Record {
        Record {
            format: FORMAT,
            replica: replica.parse().unwrap(),
            pid,
            start_ticks: 5,
            boot_id: "b".to_owned(),
            port: 4000,
            spec_hash: "h".to_owned(),
            incarnation: 3,
            started_at: 9,
        }
    }

    #[test]
    fn a_record_reads_back_and_rubbish_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let good = record("pay-ment-1", 10);
        write(dir.path(), &good).unwrap();
        let whole = serde_json::to_vec(&record("b-1", 1)).unwrap();
        fs::write(dir.path().join("b-1.json"), &whole[..whole.len() / 2]).unwrap();
        fs::write(dir.path().join("c-1.json"), b"").unwrap();
        fs::write(dir.path().join("c-2.json"), b"\xff\xfe[]").unwrap();
        fs::write(dir.path().join("d-1.tmp"), &whole).unwrap();
        fs::write(dir.path().join("x-1.json"), &whole).unwrap();
        fs::write(dir.path().join("y-1.json"), vec![b' '; 70_000]).unwrap();
        let newer = serde_json::to_vec(&Record { format: 2, ..record("e-1", 1) }).unwrap();
        fs::write(dir.path().join("e-1.json"), newer).unwrap();
        assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(&good));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        forget(dir.path(), &record("pay-ment-1", 11));
        assert_eq!(read_all(dir.path()).unwrap(), std::slice::from_ref(&good), "it is another process's");
        forget(dir.path(), &good);
        assert_eq!(read_all(dir.path()).unwrap(), []);
    }
}
