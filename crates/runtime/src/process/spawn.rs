//! The one place where processes are made.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::attend::Process;
use super::pidfd::PidFd;
use super::procfs;
use crate::driver::ExitStatus;

/// What is to be executed.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// The name under which it is called.
    pub(crate) arg0: String,
    pub(crate) args: Vec<String>,
    pub(crate) dir: PathBuf,
    /// Set besides our own environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) output: Output,
}

/// Where its standard output and error go.
pub(crate) enum Output {
    Append(File),
    Nowhere,
}

/// Starts it as the leader of a new session; answers once the program itself runs.
pub(super) async fn start(program: Program) -> io::Result<Process> {
    // Blocks until the new process has executed the program: on a slow disk not for a worker of ours.
    let pid = tokio::task::spawn_blocking(move || spawn(program)).await.map_err(io::Error::other)??;
    adopt_child(pid).inspect_err(|_| {
        // Without a pidfd (out of descriptors) we could not see it end.
        let _ = kill_process_group(pid, Signal::KILL);
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED);
    })
}

fn adopt_child(pid: Pid) -> io::Result<Process> {
    let raw = pid.as_raw_pid().unsigned_abs();
    // It is our child and not reaped, so the number means it and nobody else.
    let pidfd = PidFd::open(pid)?;
    let start_ticks = procfs::stat(raw).map_or(0, |s| s.start_ticks);
    Ok(Process { pid: raw, start_ticks, pidfd })
}

/// Held while a process is made. Between fork and exec the new process has a copy of every descriptor of ours: of a socket,
/// for one, with which a port is tried at that moment, and which would keep a replica from binding that port.
pub(super) static FORKING: Mutex<()> = Mutex::new(());

#[expect(clippy::disallowed_types, reason = "this is the process driver")]
fn spawn(program: Program) -> io::Result<Pid> {
    let mut command = std::process::Command::new(&program.path);
    command.arg0(&program.arg0).args(&program.args).current_dir(&program.dir).envs(program.env).stdin(Stdio::null());
    match program.output {
        Output::Append(file) => command.stdout(file.try_clone()?).stderr(file),
        Output::Nowhere => command.stdout(Stdio::null()).stderr(Stdio::null()),
    };
    // A session, not only a group: a stopped process whose group is orphaned by our death would get SIGHUP.
    #[expect(unsafe_code, reason = "there is no safe way to begin a session between fork and exec")]
    // SAFETY: setsid is async-signal-safe, and the closure neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(drop).map_err(io::Error::from));
    }
    let _forking = FORKING.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(Pid::from_child(&command.spawn()?))
}

/// Takes the exit status of a process that has ended, if it was our child.
pub(super) fn reap(pidfd: &PidFd) -> ExitStatus {
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => ExitStatus::Code(code),
            (None, Some(signal)) => ExitStatus::Signal(signal),
            (None, None) => ExitStatus::Unknown,
        },
        Ok(None) | Err(_) => ExitStatus::Unknown,
    }
}

/// Runs a short program to its end; kills it with its descendants when it takes longer than `timeout`, or when the
/// future is dropped. None: it took too long.
pub(crate) async fn run_to_end(program: Program, timeout: Duration) -> io::Result<Option<ExitStatus>> {
    let guard = KilledOnDrop(Some(start(program).await?));
    let process = guard.0.as_ref().expect("it is taken on drop only");
    match tokio::time::timeout(timeout, process.pidfd.ended()).await {
        Ok(ended) => {
            ended?;
            // Its descendants first: its number is ours until it is reaped.
            process.signal_group(Signal::KILL);
            Ok(Some(reap(&process.pidfd)))
        }
        Err(_) => Ok(None),
    }
}

struct KilledOnDrop(Option<Process>);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let Some(process) = self.0.take() else { return };
        if process.is_there() {
            process.signal_group(Signal::KILL);
            // The zombie is left to a task of its own, so that nobody waits here.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let _ = process.pidfd.ended().await;
                    reap(&process.pidfd);
                });
            }
        }
    }
}
