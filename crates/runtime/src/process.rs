//! The process driver: replicas as processes of this machine, which outlive Mainstay.
//!
//! Whatever ends Mainstay, `kill -9` included, must not end what it supervises. So a replica is the leader of a session of
//! its own (no signal for our terminal or our group reaches it, and it is never orphaned into a SIGHUP), its output goes
//! to a file that it appends to by itself (no pipe that could break or fill up), and no parent-death signal is set. What
//! the next Mainstay must know lies in a record per replica (`records`).
//!
//! Its end is seen through a pidfd, which works for children and for adopted processes alike and can never mean another
//! process. The group is killed before the leader is reaped: until then its number cannot be given to anybody else.

mod attend;
mod logs;
mod orphans;
mod pidfd;
mod ports;
mod procfs;
mod records;
mod spawn;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::{Clock, ReplicaId};
use rustix::process::Signal as Unix;

use crate::driver::{BoxFuture, Driver, DriverError, ExitStatus, Instance, Launch, Running, Signal, Stopped};
use crate::spec::{ServiceSpec, check_program};
use attend::{Attended, Process};
pub use orphans::{Orphan, stop_orphans};
use records::Record;
pub(crate) use spawn::{Output, Program, run_to_end};

/// Tells a replica who it is.
const REPLICA_VARIABLE: &str = "MAINSTAY_REPLICA";
/// Marks every process of a state folder, so that one without a record is found again.
const OWNER_VARIABLE: &str = "MAINSTAY_OWNER";
/// What cannot be taken over has this long to end.
const STRAY_GRACE: Duration = Duration::from_secs(5);

/// When they are looked for a second time.
const STRAY_LOOK_AGAIN: Duration = Duration::from_secs(1);

/// How the process driver works.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// `.mainstay`: records lie in its `run/replicas`, output in its `logs`.
    pub state_dir: PathBuf,
    /// A log that grows over this is moved to `.1`; both together take about twice as much.
    pub log_bytes_max: u64,
    /// For the choice of ports.
    pub seed: u64,
}

impl ProcessOptions {
    /// The defaults: logs of 8 MiB.
    pub fn new(state_dir: impl Into<PathBuf>, seed: u64) -> Self {
        Self { state_dir: state_dir.into(), log_bytes_max: 8 << 20, seed }
    }
}

/// Runs replicas as processes of this machine. Needs a tokio runtime with I/O and time.
pub struct ProcessDriver {
    folders: Arc<Folders>,
    log_bytes_max: u64,
    clock: Arc<dyn Clock>,
    inner: Mutex<Inner>,
}

/// Where things lie.
pub(crate) struct Folders {
    pub(crate) records: PathBuf,
    pub(crate) logs: PathBuf,
    /// What processes are marked with.
    pub(crate) owner: String,
}

impl Folders {
    fn make(state_dir: &Path) -> Result<Self, DriverError> {
        let make = |dir: PathBuf| match std::fs::create_dir_all(&dir) {
            Ok(()) => Ok(dir),
            Err(e) => Err(DriverError::Permanent(format!("cannot make the folder {}: {e}", dir.display()))),
        };
        let records = make(state_dir.join("run/replicas"))?;
        let logs = make(state_dir.join("logs"))?;
        Ok(Self { records, logs, owner: owner(state_dir) })
    }

    fn log(&self, replica: &ReplicaId) -> PathBuf {
        self.logs.join(format!("{replica}.log"))
    }
}

struct Inner {
    rng: fastrand::Rng,
    /// By replica: the newest instance. Bounded by the number of replicas.
    attended: BTreeMap<ReplicaId, (u64, Attended)>,
    ports: BTreeMap<ReplicaId, u16>,
}

impl ProcessDriver {
    /// Makes the folders; starts nothing.
    pub fn new(options: ProcessOptions, clock: Arc<dyn Clock>) -> Result<Self, DriverError> {
        let ProcessOptions { state_dir, log_bytes_max, seed } = options;
        let folders = Arc::new(Folders::make(&state_dir)?);
        let inner = Inner { rng: fastrand::Rng::with_seed(seed), attended: BTreeMap::new(), ports: BTreeMap::new() };
        Ok(Self { folders, log_bytes_max, clock, inner: Mutex::new(inner) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whom we attend as this very instance.
    fn find(&self, instance: &Instance) -> Option<Attended> {
        let inner = self.inner();
        let (incarnation, attended) = inner.attended.get(&instance.replica)?;
        (*incarnation == instance.incarnation).then(|| attended.clone())
    }

    async fn free_port(&self, replica: &ReplicaId) -> Result<u16, DriverError> {
        let failed = |e: std::io::Error| DriverError::Transient(format!("no free port: {e}"));
        loop {
            let (mut rng, taken) = {
                let mut inner = self.inner();
                inner.ports.remove(replica);
                (inner.rng.fork(), inner.ports.values().copied().collect::<BTreeSet<u16>>())
            };
            let drawn = tokio::task::spawn_blocking(move || ports::free(&mut rng, &taken)).await;
            let port = drawn.map_err(std::io::Error::other).flatten().map_err(failed)?;
            let mut inner = self.inner();
            // Another start may have drawn the same one meanwhile.
            if !inner.ports.values().any(|taken| *taken == port) {
                inner.ports.insert(replica.clone(), port);
                return Ok(port);
            }
        }
    }

    async fn launch(&self, launch: Launch) -> Result<Instance, DriverError> {
        let path = check_program(&launch.spec).map_err(DriverError::Permanent)?;
        let port = self.free_port(&launch.replica).await?;
        let log = self.folders.log(&launch.replica);
        let output = logs::open(&log)
            .map_err(|e| DriverError::Permanent(format!("cannot write the log {}: {e}", log.display())))?;
        let program = Program {
            path,
            arg0: launch.spec.command[0].clone(),
            args: launch.spec.command[1..].to_vec(),
            dir: launch.spec.dir.clone(),
            env: environment(&launch.spec, &launch.replica, port, &self.folders.owner),
            output: Output::Append(output),
        };
        let process = spawn::start(program).await.map_err(|e| start_error(&launch, &e))?;
        let record = Record {
            format: records::FORMAT,
            replica: launch.replica.clone(),
            pid: process.pid,
            start_ticks: process.start_ticks,
            boot_id: procfs::boot_id(),
            port,
            spec_hash: launch.spec.hash(),
            incarnation: launch.incarnation,
            started_at: self.clock.wall_ms(),
        };
        if let Err(error) = records::write(&self.folders.records, &record) {
            // It runs and serves: better unrecorded (the next Mainstay ends it and starts another) than not at all.
            tracing::warn!(replica = %launch.replica, %error, "cannot write the record of a replica");
        }
        Ok(self.attend(process, &record))
    }

    fn attend(&self, process: Process, record: &Record) -> Instance {
        let instance = instance_of(record);
        let log = self.folders.log(&record.replica);
        let attended = attend::begin(process, self.folders.clone(), record.clone(), log, self.log_bytes_max);
        self.inner().attended.insert(record.replica.clone(), (record.incarnation, attended));
        instance
    }

    fn take_over(&self) -> Result<Vec<Running>, DriverError> {
        let found = orphans::find(&self.folders)?;
        end_strays(found.strays);
        let known = found.running.iter().map(|(record, _)| record.replica.to_string()).collect();
        tokio::spawn(look_again(self.folders.clone(), known));
        let mut running = Vec::new();
        for (record, process) in found.running {
            self.inner().ports.insert(record.replica.clone(), record.port);
            let instance = self.attend(process, &record);
            running.push(Running { instance, spec_hash: record.spec_hash, started_at: record.started_at });
        }
        Ok(running)
    }
}

fn end_strays(strays: Vec<Process>) {
    for stray in strays {
        tracing::warn!(pid = stray.pid, "ending a process of ours that no record knows");
        tokio::spawn(attend::end_stray(stray, STRAY_GRACE));
    }
}

/// A Mainstay that is killed just between fork and exec leaves a process that shows its mark only a moment later.
async fn look_again(folders: Arc<Folders>, known: BTreeSet<String>) {
    tokio::time::sleep(STRAY_LOOK_AGAIN).await;
    let Some(us) = procfs::stat(std::process::id()) else { return };
    let found = tokio::task::spawn_blocking(move || orphans::strays(&folders, &known, us.start_ticks)).await;
    end_strays(found.ok().and_then(Result::ok).unwrap_or_default());
}

/// The state folder as every way to it ends: the mark of our processes.
pub(crate) fn owner(state_dir: &Path) -> String {
    let folder = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    folder.to_string_lossy().into_owned()
}

/// What a process of a replica finds in its environment, besides our own.
pub(crate) fn environment(spec: &ServiceSpec, replica: &ReplicaId, port: u16, owner: &str) -> Vec<(String, String)> {
    let ours =
        [("PORT", port.to_string()), (REPLICA_VARIABLE, replica.to_string()), (OWNER_VARIABLE, owner.to_owned())];
    let given = spec.env.iter().map(|(name, value)| (name.clone(), value.clone()));
    given.chain(ours.map(|(name, value)| (name.to_owned(), value))).collect()
}

fn instance_of(record: &Record) -> Instance {
    Instance {
        replica: record.replica.clone(),
        incarnation: record.incarnation,
        pid: record.pid,
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, record.port)),
    }
}

fn start_error(launch: &Launch, error: &std::io::Error) -> DriverError {
    use std::io::ErrorKind as K;
    let (service, command) = (&launch.replica.service, launch.spec.command.join(" "));
    let text = format!("service '{service}': cannot start '{command}': {error}");
    match error.kind() {
        K::NotFound => DriverError::Permanent(format!("{text}: is its interpreter (#! line) installed?")),
        K::PermissionDenied => DriverError::Permanent(format!("{text}: make it executable for this user")),
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            DriverError::Permanent(format!("{text}: not a program of this machine, or a script without a #! line"))
        }
        _ => DriverError::Transient(text),
    }
}

impl Driver for ProcessDriver {
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Instance, DriverError>> {
        Box::pin(self.launch(launch))
    }

    fn stop(&self, instance: &Instance, grace: Duration) -> BoxFuture<'_, Result<Stopped, DriverError>> {
        let attended = self.find(instance);
        Box::pin(async move {
            match attended {
                Some(attended) => attended.stop(grace).await,
                None => Ok(Stopped { forced: false }),
            }
        })
    }

    fn signal(&self, instance: &Instance, signal: Signal) -> Result<(), DriverError> {
        let signal = match signal {
            Signal::Kill => Unix::KILL,
            Signal::Freeze => Unix::STOP,
            Signal::Thaw => Unix::CONT,
        };
        self.find(instance).map_or(Ok(()), |attended| attended.signal(signal))
    }

    fn list(&self) -> BoxFuture<'_, Result<Vec<Running>, DriverError>> {
        Box::pin(async { self.take_over() })
    }

    fn watch(&self, instance: &Instance) -> BoxFuture<'static, ExitStatus> {
        let attended = self.find(instance);
        Box::pin(async move {
            match attended {
                Some(attended) => attended.ended().await,
                None => ExitStatus::Unknown,
            }
        })
    }

    fn log_tail(&self, replica: &ReplicaId, lines_max: usize) -> Vec<String> {
        logs::tail(&self.folders.log(replica), lines_max)
    }
}
