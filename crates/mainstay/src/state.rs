//! The state folder `.mainstay/`: where things lie, who holds it, and how others find the one who does.
//!
//! Whatever a killed Mainstay left here must never block a start. So the lock is one of the kernel's, which dies with
//! its process, and every other file is either written as a whole or read with the possibility that it is nonsense.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use mainstay_core::WallMs;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How often a held lock is tried again, and the pause between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);
/// Random bytes of a token.
const TOKEN_BYTES: usize = 24;

/// The state folder of one app.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
}

/// How a running Mainstay is reached; lies in `run/api.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) app: String,
    pub(crate) pid: u32,
    pub(crate) boot: WallMs,
    pub(crate) api: SocketAddr,
    pub(crate) ingress: SocketAddr,
}

/// Held by the one `up` of a state folder; given back by the kernel whatever happens.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl StateDir {
    /// The state folder beside the file of the app.
    pub(crate) fn beside(file: &Path) -> Self {
        let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { root: parent.join(".mainstay") }
    }

    /// A state folder at a place of its own.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("mainstay.db")
    }

    pub(crate) fn event_log(&self) -> PathBuf {
        self.root.join("logs/events.jsonl")
    }

    pub(crate) fn drills(&self) -> PathBuf {
        self.root.join("drills")
    }

    fn run(&self, name: &str) -> PathBuf {
        self.root.join("run").join(name)
    }

    /// Makes the folders that are missing.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        for dir in ["", "logs", "run", "run/replicas", "run/leases"] {
            let dir = self.root.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make the state folder {}", dir.display()))?;
        }
        self.ignore_in_git()
    }

    /// Nothing in here belongs into anybody's repository.
    pub(crate) fn ignore_in_git(&self) -> anyhow::Result<()> {
        let ignore = self.root.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").with_context(|| format!("cannot write {}", ignore.display()))?;
        }
        Ok(())
    }

    /// Takes the folder for this process, or says who has it.
    pub(crate) async fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.run("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        let mut outcome = file.try_lock();
        // Whoever only looks whether it is held holds it for a moment, and a process that was killed a little longer.
        for _ in 0..LOCK_TRIES {
            if !matches!(outcome, Err(TryLockError::WouldBlock)) {
                break;
            }
            tokio::time::sleep(LOCK_PAUSE).await;
            outcome = file.try_lock();
        }
        match outcome {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {
                let who =
                    self.running().map_or_else(String::new, |r| format!(" (pid {}, console http://{}/)", r.pid, r.api));
                bail!(
                    "Mainstay is already up in {}{who}\n  fix: use it as it is, or end it with `mainstay down`",
                    self.root.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Whether some process holds the folder.
    pub(crate) fn is_held(&self) -> bool {
        File::open(self.run("lock")).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// The token for calls that change something: made at the first start, readable by its owner only, then kept.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        let path = self.run("token");
        if let Ok(token) = fs::read_to_string(&path)
            && token.trim().len() == TOKEN_BYTES * 2
        {
            return Ok(token.trim().to_owned());
        }
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))?;
        let token: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        file.and_then(|mut f| f.write_all(token.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(token)
    }

    /// Announces the running process.
    pub(crate) fn announce(&self, running: &Running) -> anyhow::Result<()> {
        self.write_json("api.json", running)
    }

    /// Takes the announcement back.
    pub(crate) fn withdraw(&self) {
        let _ = fs::remove_file(self.run("api.json"));
    }

    /// What was announced last: it may have died since.
    pub(crate) fn running(&self) -> Option<Running> {
        self.read_json("api.json")
    }

    /// The ports of the edges, kept over restarts: running replicas have them in their environment.
    pub(crate) fn edge_ports(&self) -> std::collections::BTreeMap<String, u16> {
        self.read_json("edges.json").unwrap_or_default()
    }

    pub(crate) fn keep_edge_ports(&self, ports: &std::collections::BTreeMap<String, u16>) -> anyhow::Result<()> {
        self.write_json("edges.json", ports)
    }

    fn read_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.run(name)).ok()?).ok()
    }

    /// Written beside and renamed, so that a reader meets the old file or the new one and never half of one.
    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> anyhow::Result<()> {
        let path = self.run(name);
        let write = || -> io::Result<()> {
            let beside = path.with_extension("new");
            fs::write(&beside, serde_json::to_vec_pretty(value)?)?;
            fs::rename(&beside, &path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::beside(&dir.path().join("mainstay.yaml"));
        state.create().unwrap();
        (dir, state)
    }

    #[tokio::test]
    async fn only_one_holds_the_folder_and_the_other_is_told_who() {
        let (_dir, state) = state();
        assert!(!state.is_held());
        let lock = state.lock().await.unwrap();
        let address = "127.0.0.1:1".parse().unwrap();
        state.announce(&Running { app: "shop".into(), pid: 77, boot: 1, api: address, ingress: address }).unwrap();
        assert!(state.is_held());
        let refused = state.lock().await.unwrap_err().to_string();
        assert!(refused.contains("pid 77") && refused.contains("mainstay down"), "{refused}");
        drop(lock);
        state.lock().await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_left_behind_blocks_nothing() {
        let (_dir, state) = state();
        for name in ["token", "api.json", "edges.json", "lock"] {
            fs::write(state.run(name), "\0half a fi").unwrap();
        }
        assert!(state.running().is_none());
        assert!(state.edge_ports().is_empty());
        assert_eq!(state.token().unwrap().len(), TOKEN_BYTES * 2);
        state.lock().await.unwrap();
    }

    #[test]
    fn the_token_is_kept_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, state) = state();
        let token = state.token().unwrap();
        assert_eq!(state.token().unwrap(), token);
        assert_eq!(fs::metadata(state.run("token")).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
