//! `mainstay drill`: prove it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use mainstay_drill::Report;

use crate::cli::Drill;
use crate::commands::file::{self, BAD_INPUT};
use crate::drills::{Mainstay, Run};
use crate::state::StateDir;
use crate::terminal::Terminal;

pub(crate) async fn drill(args: &Drill, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let Some(plan) = file::plan(&args.file.file, terminal) else { return Ok(ExitCode::from(BAD_INPUT)) };
    if args.list {
        for drill in &plan.drills {
            terminal.say(format!("{}  {} faults in {:?}", drill.name, drill.faults.len(), drill.load.duration));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.name.as_deref().unwrap_or_default();
    let Some(planned) = plan.drill(name) else {
        let known: Vec<&str> = plan.drills.iter().map(|d| d.name.as_str()).collect();
        terminal.error(&anyhow::anyhow!(
            "there is no drill '{name}' in {}\n  fix: use one of: {}",
            args.file.file.display(),
            known.join(", ")
        ));
        return Ok(ExitCode::from(BAD_INPUT));
    };
    let seed = match args.seed.or(planned.seed) {
        Some(seed) => seed,
        None => getrandom::u32().map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))?.into(),
    };
    let folder = args.report.clone().unwrap_or_else(|| StateDir::beside(&args.file.file).drills().join(name));
    let outcome = run(args, &plan, name, seed, &folder, terminal).await;
    match outcome {
        Ok(report) => {
            show(&report, &folder, terminal);
            Ok(ExitCode::from(report.exit_code()))
        }
        Err(error) => {
            terminal.error(&error);
            Ok(ExitCode::from(BAD_INPUT))
        }
    }
}

async fn run(
    args: &Drill,
    plan: &mainstay_config::Plan,
    name: &str,
    seed: u64,
    folder: &Path,
    terminal: &Terminal,
) -> anyhow::Result<Report> {
    let mainstay = Arc::new(Mainstay::up(args.file.file.clone()).await?);
    let replay = format!("mainstay drill {name} --seed {seed} --file {}", args.file.file.display());
    let run = Run { plan, name, seed, replay, folder: folder.to_owned(), mainstay: mainstay.clone() };
    let report = run.run(terminal).await;
    mainstay.down().await?;
    report
}

/// The verdict, and where the rest is.
pub(crate) fn show(report: &Report, folder: &Path, terminal: &Terminal) {
    if terminal.json {
        terminal.say(report.json());
        return;
    }
    terminal.say(report.text(terminal.colour));
    terminal.say(format!("report  {}", folder.join("report.html").display()));
}
