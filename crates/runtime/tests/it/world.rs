//! A folder, services in it, and a Mainstay that can be killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::{
    Event, EventBus, EventKind, Fault, FaultKind, LeaseId, ReplicaId, ServiceName, Shutdown, Span, SystemClock,
};
use mainstay_runtime::{
    Handle, InFlight, Options, Probe, ProbeSettings, Probes, ProcessDriver, ProcessOptions, ReplicaState,
    ReplicaStatus, ServiceSpec, ServiceStatus, Stop, Supervisor, SupervisorError, stop_orphans,
};
use rustix::process::{Pid, Signal};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// A condition that does not come true within this time never will.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn id(text: &str) -> ReplicaId {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

/// Requests in flight, as the test says.
#[derive(Default)]
pub(crate) struct Claimed(pub(crate) AtomicU64);

impl InFlight for Claimed {
    fn in_flight(&self, _: &ReplicaId) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Ends everything in it when dropped.
pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) in_flight: Arc<Claimed>,
    pub(crate) log_bytes_max: u64,
}

impl World {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("flags")).unwrap();
        Self { dir, in_flight: Arc::default(), log_bytes_max: 1 << 20 }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self, name: &str) -> PathBuf {
        self.path("state").join(name)
    }

    /// Makes the services behave: `unready-order-1`.
    pub(crate) fn flag(&self, name: &str, on: bool) {
        let path = self.path("flags").join(name);
        if on { std::fs::write(path, "").unwrap() } else { std::fs::remove_file(path).unwrap() }
    }

    /// A test service with quick probes.
    pub(crate) fn spec(&self, service: &str) -> ServiceSpec {
        let program = env!("CARGO_BIN_EXE_mainstay-runtime-test-service").to_owned();
        let ms = Duration::from_millis;
        let settings = ProbeSettings { period: ms(100), timeout: ms(500), ..ProbeSettings::default() };
        let probe = |path| Some(Probe { settings, ..Probe::http(path) });
        ServiceSpec {
            env: [("FLAGS".to_owned(), self.path("flags").to_string_lossy().into_owned())].into(),
            probes: Probes { startup: None, ready: probe("/health"), live: probe("/live") },
            stop: Stop { drain_max: Duration::from_secs(5), grace: Duration::from_secs(10) },
            ..ServiceSpec::new(name(service), vec![program], self.dir.path())
        }
    }

    /// The same, run by a shell: `before` and then the service in place of the shell.
    pub(crate) fn shell_spec(&self, service: &str, before: &str) -> ServiceSpec {
        let spec = self.spec(service);
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), format!("{before} exec {}", spec.command[0])];
        ServiceSpec { command: command.into(), ..spec }
    }

    /// Starts a Mainstay.
    pub(crate) fn up(&self, specs: Vec<ServiceSpec>) -> Up {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock = Arc::new(SystemClock);
        let options = ProcessOptions {
            log_bytes_max: self.log_bytes_max,
            ..ProcessOptions::new(self.path("state"), fastrand_seed())
        };
        let driver = Arc::new(ProcessDriver::new(options, clock.clone()).unwrap());
        let bus = EventBus::new(clock.clone());
        let options = Options { state_dir: self.path("state"), seed: 1 };
        let (supervisor, handle) =
            Supervisor::new(options, specs, driver, self.in_flight.clone(), bus.clone(), clock).unwrap();
        let shutdown = Shutdown::new();
        let run = runtime.spawn(supervisor.run(shutdown.clone()));
        Up { runtime, handle, bus, shutdown, run }
    }

    pub(crate) fn stop_orphans(&self, grace: Duration) -> Vec<mainstay_runtime::Orphan> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(stop_orphans(&self.path("state"), grace)).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_orphans(Duration::ZERO);
    }
}

/// Tests run side by side: each Mainstay draws other ports.
fn fastrand_seed() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::SeqCst)
}

/// A Mainstay at work.
pub(crate) struct Up {
    pub(crate) runtime: Runtime,
    pub(crate) handle: Handle,
    pub(crate) bus: EventBus,
    shutdown: Shutdown,
    run: JoinHandle<Result<(), SupervisorError>>,
}

impl Up {
    /// Dies as by SIGKILL: nothing of it acts any more, and its processes run on.
    pub(crate) fn crash(self) {
        self.runtime.shutdown_background();
    }

    /// Stops in an orderly way; all that it said.
    pub(crate) fn down(self) -> Vec<Arc<Event>> {
        self.shutdown.cancel();
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, self.run).await.unwrap().unwrap().unwrap() });
        self.bus.recent()
    }

    /// Tells it to stop and does not wait.
    pub(crate) fn begin_down(&self) {
        self.shutdown.cancel();
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, true_of: impl Fn(&[ServiceStatus]) -> bool) {
        let mut statuses = self.handle.statuses();
        let came = self.runtime.block_on(async {
            tokio::time::timeout(DEADLINE, statuses.wait_for(|s| true_of(s))).await.is_ok_and(|r| r.is_ok())
        });
        assert!(came, "{what} did not come true\n{:#?}\n{}", self.handle.status(), self.said());
    }

    /// Waits until all these replicas take traffic.
    #[track_caller]
    pub(crate) fn wait_ready(&self, replicas: &[&str]) {
        self.wait(&format!("{replicas:?} ready"), |all| {
            replicas.iter().all(|r| find(all, r).state == ReplicaState::Ready)
        });
    }

    #[track_caller]
    pub(crate) fn wait_state(&self, replica: &str, state: ReplicaState) {
        self.wait(&format!("{replica} {state:?}"), |all| find(all, replica).state == state);
    }

    /// Waits until another process of the replica takes traffic.
    #[track_caller]
    pub(crate) fn wait_replaced(&self, replica: &str, old: u32) {
        self.wait(&format!("{replica} replaced"), |all| {
            let now = find(all, replica);
            now.state == ReplicaState::Ready && now.pid != Some(old)
        });
    }

    #[track_caller]
    pub(crate) fn replica(&self, replica: &str) -> ReplicaStatus {
        find(&self.handle.status(), replica).clone()
    }

    #[track_caller]
    pub(crate) fn pid(&self, replica: &str) -> u32 {
        self.replica(replica).pid.expect("it runs")
    }

    pub(crate) fn inject(&self, lease: &str, kind: FaultKind, ttl_ms: u64) -> Result<(), mainstay_runtime::FaultError> {
        let fault = Fault { kind, ttl: Span(Duration::from_millis(ttl_ms)) };
        self.runtime.block_on(self.handle.inject(&fault, LeaseId(lease.to_owned())))
    }

    pub(crate) fn clear(&self, lease: &str) -> bool {
        self.runtime.block_on(self.handle.clear(&LeaseId(lease.to_owned())))
    }

    pub(crate) fn restart(&self, replica: &str) {
        self.runtime.block_on(self.handle.restart(&id(replica))).unwrap();
    }

    /// What happened to a replica, in order, a word each.
    pub(crate) fn story(&self, replica: &str) -> Vec<String> {
        story(&self.bus.recent(), replica)
    }

    pub(crate) fn said(&self) -> String {
        self.bus.recent().iter().map(|e| format!("{} {}\n", e.at, e.kind)).collect()
    }
}

pub(crate) fn story(events: &[Arc<Event>], replica: &str) -> Vec<String> {
    use EventKind as K;
    let word = |kind: &EventKind| match kind {
        K::ReplicaStarting { .. } => "starting".to_owned(),
        K::ReplicaAdopted { .. } => "adopted".to_owned(),
        K::ReplicaReady { .. } => "ready".to_owned(),
        K::ReplicaNotReady { cause, .. } => format!("not ready: {cause}"),
        K::ProbeFailing { probe, .. } => format!("failing: {probe}"),
        K::ReplicaExited { status, .. } => format!("exited: {status}"),
        K::ReplicaRestarting { cause, backoff_ms, .. } => format!("restarting in {backoff_ms}: {cause}"),
        K::ReplicaFailed { restarts, .. } => format!("failed after {restarts}"),
        K::ReplicaStopping { cause, .. } => format!("stopping: {cause}"),
        K::ReplicaStopped { forced, .. } => format!("stopped{}", if *forced { " by force" } else { "" }),
        other => other.to_string(),
    };
    events.iter().filter(|e| e.kind.replica() == Some(&id(replica))).map(|e| word(&e.kind)).collect()
}

#[track_caller]
pub(crate) fn find<'a>(all: &'a [ServiceStatus], replica: &str) -> &'a ReplicaStatus {
    all.iter().flat_map(|s| &s.replicas).find(|r| r.id == id(replica)).expect("there is such a replica")
}

/// The state letter of a process; none when it has ended.
pub(crate) fn state_of(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    (state != 'Z').then_some(state)
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut true_now: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !true_now() {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not come true");
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
    }
}

/// Signals a process that the test has seen started.
pub(crate) fn signal(pid: u32, signal: Signal) {
    rustix::process::kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}
