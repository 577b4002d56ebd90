//! Drills against a real Mainstay: what the file says → what the drill crate runs, and the ports through which it
//! reaches the process that is drilled. That is a child of ours, or one that was up already.

mod child;
mod ports;
mod spec;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use mainstay_config::Plan;
use mainstay_core::{Shutdown, SystemClock};
use mainstay_drill::{Drill, Progress, Report};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

pub(crate) use child::Mainstay;

use crate::terminal::Terminal;

/// Events that may wait for the drill.
const EVENTS_QUEUED_MAX: usize = 4096;

/// One run of a drill.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    /// The command that repeats it.
    pub(crate) replay: String,
    /// Where the report goes.
    pub(crate) folder: PathBuf,
    /// Whom it hurts.
    pub(crate) mainstay: Arc<Mainstay>,
}

impl Run<'_> {
    /// Runs it to its verdict and writes the report; Ctrl-C takes the faults out and reports what there is.
    pub(crate) async fn run(self, terminal: &Terminal) -> anyhow::Result<Report> {
        let spec = spec::spec(self.plan, self.name, self.seed, &self.replay)?;
        let settings = self.plan.drill(self.name).context("the drill is in the plan")?;
        if settings.faults.iter().any(|f| matches!(f.what, mainstay_config::FaultPlan::KillMainstay)) {
            self.mainstay.may_be_killed()?;
        }
        tokio::fs::create_dir_all(&self.folder)
            .await
            .with_context(|| format!("cannot make {}", self.folder.display()))?;
        let audits = spec::audits(self.plan)?;
        let (events, received) = mpsc::channel(EVENTS_QUEUED_MAX);
        let (progress, shown) = watch::channel(Progress::default());
        let stop = Shutdown::new();
        let over = Shutdown::new();
        tokio::spawn(ports::follow(self.mainstay.clone(), events, over.clone()));
        tokio::spawn(interrupted(stop.clone(), over.clone()));
        let display = tokio::spawn(display_progress(shown, *terminal, over.clone()));
        let drill = Drill {
            spec,
            target: format!("http://{}", self.mainstay.ingress()),
            injector: self.mainstay.clone(),
            events: received,
            state: Arc::new(ports::Reader { mainstay: self.mainstay.clone(), audits }),
            clock: Arc::new(SystemClock),
            progress: Some(progress),
            history: Some(self.folder.join("history.jsonl")),
        };
        let report = mainstay_drill::run(drill, stop).await;
        over.cancel();
        display.await?;
        let report = report?;
        report.write(&self.folder).await.with_context(|| format!("cannot write into {}", self.folder.display()))?;
        Ok(report)
    }
}

/// Resolves when somebody wants an end: Ctrl-C, TERM, or a terminal that was closed.
pub(crate) async fn told_to_end() {
    let hear = |kind| signal(kind).ok();
    let [mut int, mut term, mut hup] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(hear);
    // A signal that cannot be heard does what it always does: it ends the process.
    let wait = async |signal: &mut Option<Signal>| match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    };
    tokio::select! {
        () = wait(&mut int) => {}
        () = wait(&mut term) => {}
        () = wait(&mut hup) => {}
    }
}

async fn interrupted(stop: Shutdown, over: Shutdown) {
    tokio::select! {
        () = told_to_end() => stop.cancel(),
        () = over.cancelled() => {}
    }
}

/// Shows how it goes: one line that is redrawn on a terminal, a line for every change of phase or faults elsewhere.
async fn display_progress(mut shown: watch::Receiver<Progress>, terminal: Terminal, over: Shutdown) {
    let mut last = String::new();
    loop {
        tokio::select! {
            changed = shown.changed() => if changed.is_err() { break },
            () = over.cancelled() => break,
        }
        let now = shown.borrow_and_update().clone();
        let faults = if now.active_faults.is_empty() {
            String::new()
        } else {
            format!("  ✗ {}", now.active_faults.join(", "))
        };
        let headline = format!("{:<9}{faults}", now.phase.as_str());
        if terminal.live {
            let event = now.last_event.as_deref().unwrap_or_default();
            let line = format!(
                "{:>3} / {} s  {headline}  sent {}  ok {}  failed {}  unknown {}  {event}",
                now.elapsed.as_secs(),
                now.total.as_secs(),
                now.sent,
                now.ok,
                now.failed,
                now.unknown
            );
            terminal.status(&crate::terminal::fit(&line));
        } else if headline != last {
            terminal.note(format!("{:>3} / {} s  {headline}", now.elapsed.as_secs(), now.total.as_secs()));
        }
        last = headline;
    }
    terminal.status("");
}
