//! Faults that a drill puts on replicas, each a lease: a fault that nobody renews ends by itself, so that none outlives
//! the drill that wanted it.
//!
//! A lease is written to `run/leases` before its fault is carried out. If Mainstay is killed meanwhile, the next one reads
//! there what may still be frozen, lets it go on, and forgets the rest.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use mainstay_core::{FAULT_TTL_MAX, Fault, FaultKind, LeaseId, WallMs};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::error::FaultError;
use crate::fleet::Now;

/// Most faults at once.
const LEASES_MAX: usize = 64;
/// Longest id.
const LEASE_ID_LEN_MAX: usize = 200;

/// A fault that lasts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// Its name.
    pub id: LeaseId,
    /// What is done, and to whom.
    #[serde(flatten)]
    pub fault: Fault,
    /// When it ends unless it is renewed.
    pub until: WallMs,
}

/// The leases that last, in memory and on disk.
pub(crate) struct Leases {
    dir: PathBuf,
    held: BTreeMap<LeaseId, (Lease, Instant)>,
}

impl Leases {
    /// Makes the folder.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        Ok(Self { dir, held: BTreeMap::new() })
    }

    /// What a killed Mainstay left, and removes it: the readable leases, and whether there were others.
    pub(crate) fn reconcile(&self) -> io::Result<(Vec<Lease>, bool)> {
        let (mut leases, mut unreadable) = (Vec::new(), false);
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let path = entry.path();
            match fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()) {
                Some(lease) => leases.push(lease),
                None => unreadable = true,
            }
            if !path.is_dir() {
                let _ = fs::remove_file(path);
            }
        }
        Ok((leases, unreadable))
    }

    /// Checks and writes a lease. Nothing is done yet.
    pub(crate) fn insert(&mut self, now: Now, id: LeaseId, fault: Fault) -> Result<(), FaultError> {
        if fault.ttl.0 < Duration::from_millis(1) || fault.ttl.0 > FAULT_TTL_MAX {
            return Err(FaultError::Ttl);
        }
        if self.held.contains_key(&id) {
            return Err(FaultError::Duplicate(id));
        }
        if self.held.len() >= LEASES_MAX || id.0.len() > LEASE_ID_LEN_MAX {
            return Err(FaultError::TooMany { max: LEASES_MAX });
        }
        self.hold(now, id, fault)
    }

    /// Lets it live for its time to live from now on.
    pub(crate) fn renew(&mut self, now: Now, id: &LeaseId) -> Result<(), FaultError> {
        let Some((lease, _)) = self.held.get(id) else { return Err(FaultError::UnknownLease(id.clone())) };
        let fault = lease.fault.clone();
        self.hold(now, id.clone(), fault)
    }

    fn hold(&mut self, now: Now, id: LeaseId, fault: Fault) -> Result<(), FaultError> {
        let ttl = fault.ttl.0;
        let lease = Lease { id: id.clone(), fault, until: now.wall.saturating_add(ttl.as_millis() as WallMs) };
        let path = self.path(&id);
        let written = serde_json::to_vec(&lease).map_err(io::Error::other).and_then(|text| {
            let aside = path.with_extension("tmp");
            fs::write(&aside, text)?;
            fs::rename(aside, &path)
        });
        written.map_err(|e| FaultError::Failed(format!("cannot write the lease {}: {e}", path.display())))?;
        self.held.insert(id, (lease, now.at + ttl));
        Ok(())
    }

    /// Forgets it; what it was.
    pub(crate) fn remove(&mut self, id: &LeaseId) -> Option<Lease> {
        let (lease, _) = self.held.remove(id)?;
        let _ = fs::remove_file(self.path(id));
        Some(lease)
    }

    /// Those whose time is over.
    pub(crate) fn expired(&self, now: Instant) -> Vec<LeaseId> {
        self.held.iter().filter(|(_, (_, until))| now >= *until).map(|(id, _)| id.clone()).collect()
    }

    /// When the next one expires.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.held.values().map(|(_, until)| *until).min()
    }

    /// All, by name.
    pub(crate) fn list(&self) -> Vec<Lease> {
        self.held.values().map(|(lease, _)| lease.clone()).collect()
    }

    /// Whether another lease does the same to the same.
    pub(crate) fn others_like(&self, kind: &FaultKind) -> bool {
        self.held.values().any(|(lease, _)| lease.fault.kind == *kind)
    }

    /// An id may hold anything; a file name may not.
    fn path(&self, id: &LeaseId) -> PathBuf {
        let digest = Sha256::digest(id.0.as_bytes());
        let name: String = digest.iter().take(16).map(|b| format!("{b:02x}")).collect();
        self.dir.join(format!("{name}.json"))
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::Span;

    use super::*;

    fn now(ms: u64) -> Now {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        Now { at: *START.get_or_init(Instant::now) + Duration::from_millis(ms), wall: ms as WallMs }
    }

    fn freeze(ttl_ms: u64) -> Fault {
        let kind = FaultKind::Freeze { replica: "a-1".parse().unwrap() };
        Fault { kind, ttl: Span(Duration::from_millis(ttl_ms)) }
    }

    #[test]
    fn a_lease_ends_unless_it_is_renewed() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = Leases::open(dir.path().join("leases")).unwrap();
        let id = LeaseId("../../etc/passwd".to_owned());
        leases.insert(now(0), id.clone(), freeze(1000)).unwrap();
        assert_eq!(leases.insert(now(0), id.clone(), freeze(1000)), Err(FaultError::Duplicate(id.clone())));
        assert_eq!(leases.expired(now(999).at), []);
        leases.renew(now(900), &id).unwrap();
        assert_eq!((leases.expired(now(1899).at).len(), leases.due()), (0, Some(now(1900).at)));
        assert_eq!(leases.expired(now(1900).at), std::slice::from_ref(&id));
        assert!(leases.others_like(&freeze(5).kind));
        assert_eq!(leases.remove(&id).map(|l| l.until), Some(1900));
        assert_eq!(leases.renew(now(0), &id), Err(FaultError::UnknownLease(id)));
        assert_eq!(leases.reconcile().unwrap(), (vec![], false));
    }

    #[test]
    fn refused_is_what_could_outlive_its_drill() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = Leases::open(dir.path().to_owned()).unwrap();
        for ttl in [0, 600_001] {
            assert_eq!(leases.insert(now(0), LeaseId("x".to_owned()), freeze(ttl)), Err(FaultError::Ttl));
        }
        for i in 0..LEASES_MAX {
            leases.insert(now(0), LeaseId(i.to_string()), freeze(1)).unwrap();
        }
        let one_more = leases.insert(now(0), LeaseId("x".to_owned()), freeze(1));
        assert_eq!(one_more, Err(FaultError::TooMany { max: LEASES_MAX }));
    }

    #[test]
    fn the_next_mainstay_finds_what_was_hurt() {
        let dir = tempfile::tempdir().unwrap();
        let mut leases = Leases::open(dir.path().to_owned()).unwrap();
        leases.insert(now(0), LeaseId("x".to_owned()), freeze(1000)).unwrap();
        drop(leases);
        let next = Leases::open(dir.path().to_owned()).unwrap();
        let (found, unreadable) = next.reconcile().unwrap();
        assert_eq!((found[0].fault.clone(), found.len(), unreadable), (freeze(1000), 1, false));
        fs::write(dir.path().join("y.json"), b"{\"id\":").unwrap();
        assert_eq!(next.reconcile().unwrap(), (vec![], true));
        assert_eq!(next.reconcile().unwrap(), (vec![], false), "each is seen once");
    }
}
