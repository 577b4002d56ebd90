//! Asking a replica whether it works. The judgement is `mainstay_detect`'s; here is the asking.
//!
//! A probe must not judge when we ourselves are late: on a machine without a free core our timers fire late, and every
//! replica would look dead at once. So a timeout that we noticed more than [`LATE_MAX`] late is an error of the prober,
//! which counts neither way (the idea is Lifeguard's: Dadgar, Phillips, Currey, 2018).

mod http;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mainstay_detect::{Kind, Sample, Settings};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::driver::{ExitStatus, Instance};
use crate::fleet::Input;
use crate::process::{Output, Program, environment, run_to_end};
use crate::spec::{Handler, Probe, ServiceSpec, resolve};

/// How late our own timers may be before we stop trusting our timeouts.
const LATE_MAX: Duration = Duration::from_millis(100);
/// After a restart of the supervisor traffic waits for the first ready probes: they are spread over this time only.
const ADOPTED_READY_SPREAD_MAX: Duration = Duration::from_millis(100);

/// One probe of one process, to be run until it is aborted.
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) probe: Probe,
    pub(crate) spec: Arc<ServiceSpec>,
    pub(crate) instance: Instance,
    /// How long the process runs already; none: it was adopted.
    pub(crate) age: Option<Duration>,
    /// Uniform in 0..1.
    pub(crate) draw: f64,
    /// The mark of our processes.
    pub(crate) owner: Arc<str>,
}

impl Job {
    fn first_after(&self) -> Duration {
        let settings: &Settings = &self.probe.settings;
        let spread = match (self.age, self.kind) {
            (Some(_), _) => Duration::ZERO,
            (None, Kind::Live) => settings.period,
            (None, Kind::Ready | Kind::Startup) => ADOPTED_READY_SPREAD_MAX,
        };
        settings.first_after(self.age.unwrap_or(Duration::MAX), spread, self.draw)
    }

    /// Probes and tells, until nobody listens.
    pub(crate) async fn run(self, inputs: mpsc::Sender<Input>) {
        let mut due = Instant::now() + self.first_after();
        loop {
            sleep_until(due).await;
            let woken = Instant::now();
            let late = woken.duration_since(due) > LATE_MAX;
            let (sample, error) = self.ask(late).await;
            let (id, incarnation) = (self.instance.replica.clone(), self.instance.incarnation);
            let told = inputs.send(Input::Probed { id, incarnation, kind: self.kind, sample, error }).await;
            if told.is_err() {
                return;
            }
            // A probe that took longer than a period is followed by the next one at once, never by two.
            due = (woken + self.probe.settings.period).max(Instant::now());
        }
    }

    /// One probe, timeout over everything.
    async fn ask(&self, late: bool) -> (Sample, Option<String>) {
        let allowed = self.probe.settings.timeout;
        let asked = Instant::now();
        let answer = match &self.probe.handler {
            Handler::Exec { command } => self.exec(command, allowed).await,
            Handler::Tcp => timeout(allowed, tcp(self.instance.addr)).await.unwrap_or(Err(Trouble::Slow)),
            Handler::Http { path } => {
                timeout(allowed, http::get(self.instance.addr, path)).await.unwrap_or(Err(Trouble::Slow))
            }
        };
        match answer {
            Ok(()) => (Sample::Success, None),
            Err(Trouble::Failed(why)) => (Sample::Failure, Some(why)),
            Err(Trouble::Prober(why)) => (Sample::ProberError, Some(why)),
            Err(Trouble::Slow) if late || asked.elapsed() > allowed + LATE_MAX => (
                Sample::ProberError,
                Some("no answer, but this machine is so busy that we are late ourselves".to_owned()),
            ),
            Err(Trouble::Slow) => (Sample::Failure, Some(format!("no answer within {} ms", allowed.as_millis()))),
        }
    }

    async fn exec(&self, command: &[String], allowed: Duration) -> Result<(), Trouble> {
        let env = environment(&self.spec, &self.instance.replica, self.instance.addr.port(), &self.owner);
        let path_var = env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.into());
        let path_var = path_var.or_else(|| std::env::var_os("PATH")).unwrap_or_default();
        let arg0 = command.first().cloned().unwrap_or_default();
        let path = resolve(&arg0, &self.spec.dir, &path_var).map_err(Trouble::Prober)?;
        let args = command.get(1..).unwrap_or_default().to_vec();
        let program = Program { path, arg0, args, dir: self.spec.dir.clone(), env, output: Output::Nowhere };
        match run_to_end(program, allowed).await {
            Ok(Some(ExitStatus::Code(0))) => Ok(()),
            Ok(Some(status)) => Err(Trouble::Failed(status.to_string())),
            Ok(None) => Err(Trouble::Slow),
            Err(e) => Err(Trouble::Prober(format!("cannot run '{}': {e}", command.join(" ")))),
        }
    }
}

/// Why a probe did not succeed.
#[derive(Debug)]
enum Trouble {
    Failed(String),
    Slow,
    /// We could not ask.
    Prober(String),
}

/// Whether it is we who lack something: descriptors, memory, a local port.
fn trouble(what: &str, error: &io::Error) -> Trouble {
    use rustix::io::Errno;
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::ADDRNOTAVAIL];
    let text = format!("{what}: {error}");
    match error.raw_os_error() {
        Some(code) if ours.iter().any(|errno| errno.raw_os_error() == code) => Trouble::Prober(text),
        _ => Trouble::Failed(text),
    }
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, Trouble> {
    let stream = TcpStream::connect(addr).await.map_err(|e| trouble(&format!("connect to {addr}"), &e))?;
    // A port below nobody can be connected to itself: on loopback that looks like somebody who listens.
    match stream.local_addr() {
        Ok(local) if local == addr => Err(Trouble::Failed(format!("connect to {addr}: nobody listens"))),
        _ => Ok(stream),
    }
}

async fn tcp(addr: SocketAddr) -> Result<(), Trouble> {
    connect(addr).await.map(drop)
}

#[cfg(test)]
mod tests;
