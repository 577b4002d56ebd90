//! Starts the processes of a bench and ends them: each by its id, whatever way the bench itself ends.
//!
//! Every process is pinned to a CPU, and asks the kernel to be ended when its parent is gone, so that even a `kill -9`
//! of the bench leaves nothing behind.
#![expect(clippy::disallowed_types, reason = "benches start the programs they compare; the ban is for the product")]

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::cpu;

/// What a server gets to end in an orderly way.
const GRACE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

#[derive(Args)]
pub(crate) struct Pinned {
    #[arg(long)]
    cpu: usize,
    /// Our parent; where it is gone already, nothing is started.
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn become_pinned(options: &Pinned) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(options.cpu);
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on CPU {}", options.cpu))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    if rustix::process::getppid().map(Pid::as_raw_pid) != Some(options.parent) {
        bail!("the bench has ended already");
    }
    let (program, args) = options.command.split_first().context("a program is named")?;
    Err(Command::new(program).args(args).exec()).with_context(|| format!("cannot start {program}"))
}

/// Starts the parts of a bench by means of an optimised xtask.
pub(crate) struct Launcher {
    pub(crate) xtask: PathBuf,
    /// Where what they print to standard error goes, one file each.
    pub(crate) logs: PathBuf,
}

impl Launcher {
    fn command(&self, cpu: usize, program: &Path, args: &[String]) -> Vec<String> {
        let own = std::process::id();
        let prefix = ["bench-part", "pinned", "--cpu", &cpu.to_string(), "--parent", &own.to_string(), "--"];
        let mut words: Vec<String> = prefix.iter().map(|word| (*word).to_owned()).collect();
        words.push(program.to_string_lossy().into_owned());
        words.extend_from_slice(args);
        words
    }

    /// A program that runs until it is dropped.
    pub(crate) fn server(&self, cpu: usize, name: &str, program: &Path, args: &[String]) -> anyhow::Result<Server> {
        let path = self.logs.join(format!("{name}.log"));
        let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let child = Command::new(&self.xtask)
            .args(self.command(cpu, program, args))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Server { child, name: name.to_owned(), log: path })
    }
}

/// A process of ours; dropping it ends it, and what it has started.
pub(crate) struct Server {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Server {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Fails with what the process said when it has ended although nobody asked it to.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let said = std::fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{} ended: {status}\n{said}", self.name);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let tree = cpu::tree(self.child.id());
        let pid = Pid::from_child(&self.child);
        let ended = pidfd_open(pid, PidfdFlags::empty()).and_then(|fd| {
            kill_process(pid, Signal::TERM)?;
            poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&GRACE))
        });
        if ended != Ok(1) {
            eprintln!("{} did not end when asked to and is killed", self.name);
            for pid in tree.iter().filter_map(|pid| i32::try_from(*pid).ok().and_then(Pid::from_raw)) {
                // It may have ended just now.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        drop(self.child.wait());
    }
}
