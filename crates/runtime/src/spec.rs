//! What a service is: how it is started, watched, restarted and stopped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_core::ServiceName;
use mainstay_detect::{Kind, Settings};
use sha2::{Digest, Sha256};

use crate::error::SpecError;

/// Most replicas of one service on one machine.
pub(crate) const REPLICAS_MAX: u16 = 500;

/// One service, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: ServiceName,
    /// Program and arguments. A program without a slash is looked up in `PATH`; a relative one starts at `dir`.
    pub command: Vec<String>,
    /// Working directory of its processes.
    pub dir: PathBuf,
    /// Set besides Mainstay's own environment. `PORT` and `MAINSTAY_REPLICA` come from the driver.
    pub env: BTreeMap<String, String>,
    /// Services that must have a ready replica before this one is first started.
    pub needs: Vec<ServiceName>,
    /// How many are to run.
    pub replicas: u16,
    /// How it is asked whether it works.
    pub probes: Probes,
    /// When and how often it is restarted.
    pub restart: Restart,
    /// How long it may take to stop.
    pub stop: Stop,
}

impl ServiceSpec {
    /// A service of one replica with every default.
    pub fn new(name: ServiceName, command: Vec<String>, dir: impl Into<PathBuf>) -> Self {
        Self {
            name,
            command,
            dir: dir.into(),
            env: BTreeMap::new(),
            needs: Vec::new(),
            replicas: 1,
            probes: Probes::default(),
            restart: Restart::default(),
            stop: Stop::default(),
        }
    }

    /// Names what a running process was made from. A process with the same hash need not be replaced: what only changes
    /// how it is watched (probes, restart, stop, replicas) is not part of it.
    pub fn hash(&self) -> String {
        let made_of = serde_json::json!({ "command": self.command, "dir": self.dir, "env": self.env });
        let digest = Sha256::digest(made_of.to_string().as_bytes());
        digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
    }

    pub(crate) fn validate(&self) -> Result<(), SpecError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(SpecError::NoCommand { service: self.name.clone() });
        }
        if self.replicas > REPLICAS_MAX {
            return Err(SpecError::TooManyReplicas { service: self.name.clone(), max: REPLICAS_MAX });
        }
        for (kind, probe) in self.probes.all() {
            probe
                .settings
                .validate(kind)
                .map_err(|why| SpecError::Probe { service: self.name.clone(), why: why.to_string() })?;
            let printable = |path: &str| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
            if matches!(&probe.handler, Handler::Http { path } if !printable(path)) {
                let why = format!("{} probe: a path begins with / and has no spaces", kind.name());
                return Err(SpecError::Probe { service: self.name.clone(), why });
            }
            if matches!(&probe.handler, Handler::Exec { command } if command.first().is_none_or(String::is_empty)) {
                let why = format!("{} probe: exec without a command", kind.name());
                return Err(SpecError::Probe { service: self.name.clone(), why });
            }
        }
        Ok(())
    }
}

/// How a service is asked whether it works.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probes {
    /// Has it come up? None: it counts as up when its process runs.
    pub startup: Option<Probe>,
    /// May it take traffic? None: when `$PORT` accepts a connection.
    pub ready: Option<Probe>,
    /// Is it beyond help but by a restart? None: never.
    pub live: Option<Probe>,
}

impl Probes {
    /// The ready probe, or its default.
    pub fn ready_or_default(&self) -> Probe {
        self.ready.clone().unwrap_or_else(|| Probe::new(Handler::Tcp))
    }

    /// Every probe that runs, defaults included.
    pub fn all(&self) -> Vec<(Kind, Probe)> {
        let given = |kind, probe: &Option<Probe>| probe.clone().map(|p| (kind, p));
        [
            given(Kind::Startup, &self.startup),
            Some((Kind::Ready, self.ready_or_default())),
            given(Kind::Live, &self.live),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// One probe: what it does, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What it does.
    pub handler: Handler,
    /// How often, and how many results make a verdict.
    pub settings: Settings,
}

impl Probe {
    /// A probe with the default settings.
    pub fn new(handler: Handler) -> Self {
        Self { handler, settings: Settings::default() }
    }

    /// `GET path` on `$PORT` with the default settings.
    pub fn http(path: &str) -> Self {
        Self::new(Handler::Http { path: path.to_owned() })
    }
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handler {
    /// `GET path` on `$PORT`; 200 to 399 is a success.
    Http {
        /// Path and query.
        path: String,
    },
    /// A connection to `$PORT` is a success.
    Tcp,
    /// Run in the service's directory and environment; exit status 0 is a success.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// When and how often a replica is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// More restarts than this `within` the window, and the replica is given up.
    pub limit: u32,
    /// The window.
    pub within: Duration,
    /// The longest pause between an exit and the next start; pauses go 0, 1, 2, 4 … seconds.
    pub backoff_max: Duration,
    /// After this long in health the pauses start from 0 again.
    pub reset_after: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            limit: 5,
            within: Duration::from_secs(60),
            backoff_max: Duration::from_secs(60),
            reset_after: Duration::from_secs(600),
        }
    }
}

/// How long a stop may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// Longest wait for the requests in flight.
    pub drain_max: Duration,
    /// From the beginning of the stop, drain included, to KILL.
    pub grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { drain_max: Duration::from_secs(10), grace: Duration::from_secs(30) }
    }
}

/// Finds the program of a service: the path that would be executed, or a text that says what is wrong and what to do.
pub fn check_program(spec: &ServiceSpec) -> Result<PathBuf, String> {
    if !spec.dir.is_dir() {
        return Err(format!(
            "service '{}': its directory {} does not exist: create it or correct 'dir'",
            spec.name,
            spec.dir.display()
        ));
    }
    let path_var = spec.env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH")).unwrap_or_default();
    let program = spec.command.first().map_or("", String::as_str);
    resolve(program, &spec.dir, &path_var).map_err(|why| format!("service '{}': {why}", spec.name))
}

/// Finds `program` the way a shell in `dir` would.
pub(crate) fn resolve(program: &str, dir: &Path, path_var: &std::ffi::OsStr) -> Result<PathBuf, String> {
    if program.contains('/') {
        let path = dir.join(program);
        return match std::fs::metadata(&path) {
            Err(_) => Err(format!("program '{program}' not found at {}: build it or correct 'run'", path.display())),
            Ok(meta) if !is_program(&meta) => {
                Err(format!("{} is not executable: chmod +x it or correct 'run'", path.display()))
            }
            Ok(_) => Ok(path),
        };
    }
    std::env::split_paths(path_var)
        .map(|folder| folder.join(program))
        .find(|path| std::fs::metadata(path).is_ok_and(|meta| is_program(&meta)))
        .ok_or_else(|| {
            format!("program '{program}' not found in PATH: install it, or write ./{program} if it lies in the folder")
        })
}

fn is_program(meta: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    meta.is_file() && meta.permissions().mode() & 0o111 != 0
}

#[cfg(test)]
mod tests;
