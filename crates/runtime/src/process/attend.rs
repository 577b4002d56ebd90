//! One task per process: bounds its log, sees its end, ends its descendants, reaps it, forgets its record.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::pidfd::PidFd;
use super::records::{self, Record};
use super::{Folders, logs, procfs, spawn};
use crate::driver::{DriverError, ExitStatus, Stopped};

/// How often the size of a log is looked at.
const LOG_CHECK_PERIOD: Duration = Duration::from_millis(500);
/// How often it is looked whether the descendants of a stopped process have ended too.
const LEFTOVER_CHECK_PERIOD: Duration = Duration::from_millis(20);
/// How long a killed process may take to go: longer only in the middle of broken I/O.
const KILL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A process that leads its own session, held by a descriptor that can never mean another one.
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) pidfd: PidFd,
}

impl Process {
    /// Takes hold of a running process that is known by its number and start time; none if it is not there any more.
    pub(crate) fn hold(pid: u32, start_ticks: u64) -> io::Result<Option<Self>> {
        let is_it = || procfs::stat(pid).is_some_and(|s| s.runs() && s.start_ticks == start_ticks);
        let Some(number) = raw_pid(pid).filter(|_| is_it()) else { return Ok(None) };
        let pidfd = match PidFd::open(number) {
            Ok(pidfd) => pidfd,
            Err(_) if !is_it() => return Ok(None),
            Err(e) => return Err(e),
        };
        // Asked again: between the first look and the descriptor the number may have changed hands.
        Ok(is_it().then_some(Self { pid, start_ticks, pidfd }))
    }

    /// Whether its number still is its own: it runs, or has ended and is not reaped.
    pub(crate) fn is_there(&self) -> bool {
        procfs::stat(self.pid).is_some_and(|s| s.start_ticks == self.start_ticks)
    }

    /// Signals it and its descendants.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if let Some(pid) = raw_pid(self.pid).filter(|_| self.is_there()) {
            let _ = kill_process_group(pid, signal);
        } else if signal == Signal::KILL {
            kill_descendants(self.pid, self.start_ticks, |_| true);
        }
    }
}

fn raw_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Ends what a vanished session leader has left behind, as far as `ours` says so. While a member lives, the number of the
/// session is not given out again; if it was, somebody with that number and another start time is there.
pub(crate) fn kill_descendants(session: u32, start_ticks: u64, ours: impl Fn(u32) -> bool) {
    if procfs::stat(session).is_some_and(|leader| leader.start_ticks != start_ticks) {
        return;
    }
    for member in descendants(session, start_ticks).into_iter().filter(|m| ours(m.pid)) {
        let Some(pid) = raw_pid(member.pid) else { continue };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if procfs::stat(member.pid).is_some_and(|s| s.start_ticks == member.start_ticks) {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }
}

fn descendants(session: u32, start_ticks: u64) -> Vec<procfs::Stat> {
    let is_member =
        |s: &procfs::Stat| s.session == session && s.pid != session && s.start_ticks >= start_ticks && s.runs();
    procfs::all().into_iter().filter(is_member).collect()
}

/// What the driver keeps of an attended process.
#[derive(Clone)]
pub(super) struct Attended {
    process: Arc<Process>,
    /// Until when descendants may outlive the leader: set by an orderly stop.
    patience: Arc<watch::Sender<Option<Instant>>>,
    ended: watch::Receiver<Option<ExitStatus>>,
}

/// Begins to attend `process`.
pub(super) fn begin(
    process: Process,
    folders: Arc<Folders>,
    record: Record,
    log: PathBuf,
    log_bytes_max: u64,
) -> Attended {
    let process = Arc::new(process);
    let (patience, patience_seen) = watch::channel(None);
    let (end, ended) = watch::channel(None);
    let attended = Attended { process: process.clone(), patience: Arc::new(patience), ended };
    tokio::spawn(async move {
        let bounding = bound_log(log, log_bytes_max);
        tokio::select! {
            // Fails only when the runtime goes; then nothing is attended any more.
            seen = process.pidfd.ended() => if seen.is_err() { return },
            () = bounding => {}
        }
        let until = *patience_seen.borrow();
        let status = clean_up(&process, until).await;
        records::forget(&folders.records, &record);
        end.send_replace(Some(status));
    });
    attended
}

/// Never answers.
async fn bound_log(log: PathBuf, log_bytes_max: u64) {
    let mut check = tokio::time::interval(LOG_CHECK_PERIOD);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        check.tick().await;
        let log = log.clone();
        let bounded = tokio::task::spawn_blocking(move || logs::bound(&log, log_bytes_max)).await;
        if let Ok(Err(error)) = bounded {
            tracing::warn!(%error, "cannot bound a log");
        }
    }
}

/// After the end of the leader: descendants get what is left of an orderly stop's grace, none otherwise.
async fn clean_up(process: &Process, until: Option<Instant>) -> ExitStatus {
    if let Some(until) = until {
        let (session, start_ticks) = (process.pid, process.start_ticks);
        while Instant::now() < until {
            let left = tokio::task::spawn_blocking(move || !descendants(session, start_ticks).is_empty()).await;
            if !left.unwrap_or(false) {
                break;
            }
            tokio::time::sleep(LEFTOVER_CHECK_PERIOD).await;
        }
    }
    process.signal_group(Signal::KILL);
    spawn::reap(&process.pidfd)
}

impl Attended {
    /// Signals it and its descendants, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), DriverError> {
        if self.ended.borrow().is_none() {
            self.process.signal_group(signal);
        }
        Ok(())
    }

    /// Answers when it has ended.
    pub(super) async fn ended(mut self) -> ExitStatus {
        // An error: its task went with the runtime, so nobody can be waiting for the answer.
        self.ended.wait_for(Option::is_some).await.ok().and_then(|s| *s).unwrap_or(ExitStatus::Unknown)
    }

    /// TERM, at most `grace`, KILL.
    pub(super) async fn stop(self, grace: Duration) -> Result<Stopped, DriverError> {
        let until = Instant::now() + grace;
        self.patience.send_replace(Some(until));
        self.signal(Signal::TERM)?;
        if timeout_at(until, self.clone().ended()).await.is_ok() {
            return Ok(Stopped { forced: false });
        }
        self.signal(Signal::KILL)?;
        match tokio::time::timeout(KILL_WAIT_MAX, self.clone().ended()).await {
            Ok(_) => Ok(Stopped { forced: true }),
            Err(_) => Err(DriverError::Transient(format!(
                "process {} does not end although it was killed: it hangs in the kernel",
                self.process.pid
            ))),
        }
    }
}

/// Ends a process that cannot be taken over, with its descendants. True: KILL was needed.
pub(super) async fn end_stray(process: Process, grace: Duration) -> bool {
    let until = Instant::now() + grace;
    // A frozen process could not act on TERM.
    process.signal_group(Signal::TERM);
    process.signal_group(Signal::CONT);
    let forced = timeout_at(until, process.pidfd.ended()).await.is_err();
    if forced {
        process.signal_group(Signal::KILL);
        let _ = tokio::time::timeout(KILL_WAIT_MAX, process.pidfd.ended()).await;
    }
    clean_up(&process, (!forced).then_some(until)).await;
    forced
}
