//! `mainstay up`: run what the file says until somebody ends it.

use std::path::Path;
use std::process::ExitCode;

use mainstay_config::Severity;
use tokio::signal::unix::{SignalKind, signal};

use crate::assemble::App;
use crate::commands::file::{self, BAD_INPUT};
use crate::mutation::Mutations;
use crate::state::StateDir;
use crate::terminal::Terminal;

pub(crate) async fn up(path: &Path, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let Some(plan) = file::plan(path, terminal) else { return Ok(ExitCode::from(BAD_INPUT)) };
    let missing = plan.missing_programs();
    for diagnostic in &missing {
        terminal.note(diagnostic.render(terminal.live));
    }
    if missing.iter().any(|d| d.severity == Severity::Error) {
        return Ok(ExitCode::from(BAD_INPUT));
    }
    let mutations = Mutations::from_env()?;
    if mutations.any() {
        terminal.note(format!("TEST MUTATION: protections are taken away: {mutations:?}"));
    }
    let app = App::assemble(plan, StateDir::beside(path), mutations).await?;
    let stop = app.stop();
    // The first signal asks for an orderly stop, the second one takes it literally. A third party that wants the
    // replicas to survive uses KILL.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        stop.cancel();
    });
    let mut again = signal(SignalKind::interrupt())?;
    let twice = async {
        again.recv().await;
        again.recv().await;
    };
    tokio::select! {
        done = app.run(terminal) => done,
        () = twice => anyhow::bail!("ended at once; replicas may still run: `mainstay down` stops them"),
    }
}
