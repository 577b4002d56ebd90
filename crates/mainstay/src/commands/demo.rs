//! `mainstay demo`: the whole story in under a minute, with nothing but this program. A real shop of three services is
//! started under a real Mainstay, loaded, hurt in five ways, healed and checked. It is an ordinary drill of an ordinary
//! file, which lies in `.mainstay/demo/` afterwards for whoever wants to read it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use mainstay_drill::Report;
use mainstay_shop::{Config, Service};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Demo;
use crate::commands::drill::show;
use crate::commands::file::BAD_INPUT;
use crate::drills::{Mainstay, Run};
use crate::state::StateDir;
use crate::terminal::Terminal;

/// The file of the demo.
const FILE: &str = include_str!("demo.yaml");
/// Its drill.
const DRILL: &str = "five-hurts";
/// Ports that a first-time user expects; others are taken when these are in use.
const PORTS: [(&str, u16); 2] = [("@INGRESS@", 8080), ("@CONSOLE@", 9900)];

pub(crate) async fn demo(args: &Demo, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    // What could not run has proved nothing, which is no FAIL.
    run(args, terminal).await.or_else(|error| {
        terminal.error(&error);
        Ok(ExitCode::from(BAD_INPUT))
    })
}

async fn run(args: &Demo, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let folder = prepare()?;
    let file = folder.join("mainstay.yaml");
    let plan = match mainstay_config::load(&file) {
        Ok((plan, _)) => plan,
        Err(errors) => bail!("the demo's own file is wrong: {}", errors[0]),
    };
    terminal.note("starting the shop: order, inventory and payment, two replicas each, under Mainstay …");
    let mainstay = Arc::new(Mainstay::up(file.clone()).await?);
    terminal.note(format!(
        "console   http://{}/   (open it: it shows what Mainstay notices and does)",
        plan.listen.console
    ));
    terminal.note(format!("shop      http://{}/checkout", mainstay.ingress()));
    for fault in &plan.drill(DRILL).context("the demo's file has its drill")?.faults {
        terminal.note(format!("  at {:>2} s   {}", fault.at.as_secs(), fault_in_words(&fault.what)));
    }
    let report_folder = folder.join("report");
    let run = Run {
        plan: &plan,
        name: DRILL,
        seed: args.seed,
        replay: format!("mainstay demo --seed {}", args.seed),
        folder: report_folder.clone(),
        mainstay: mainstay.clone(),
    };
    let report: anyhow::Result<Report> = run.run(terminal).await;
    if args.keep && report.is_ok() {
        terminal.note(format!("the shop is left running; end it with: mainstay down --file {}", file.display()));
    } else {
        mainstay.down().await?;
    }
    let report = report?;
    show(&report, &report_folder, terminal);
    Ok(ExitCode::from(report.exit_code()))
}

/// Clears what an earlier demo left and writes the file anew.
fn prepare() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_dir()?.join(".mainstay/demo");
    let file = folder.join("mainstay.yaml");
    if StateDir::beside(&file).is_held() {
        bail!("a demo is up here already\n  fix: mainstay down --file {}", file.display());
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    StateDir::at(folder.parent().context("the folder has a parent")?.to_owned()).ignore_in_git()?;
    let program = std::env::current_exe().context("cannot find our own program")?;
    let text = PORTS.iter().try_fold(FILE.to_owned(), |text, (place, port)| {
        anyhow::Ok(text.replace(place, &format!("127.0.0.1:{}", free(*port)?)))
    })?;
    let text = text.replace("@PROGRAM@", &serde_json::to_string(&program)?).replace("@DATA@", &data(&folder)?);
    std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file.parent().map(Path::to_owned).unwrap_or(folder))
}

fn data(folder: &Path) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&folder.join("data"))?)
}

/// The port that is expected, or a free one where it is in use.
fn free(port: u16) -> anyhow::Result<u16> {
    let bind = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = bind(port).or_else(|_| bind(0)).context("no free port on 127.0.0.1")?;
    Ok(listener.local_addr()?.port())
}

fn fault_in_words(fault: &mainstay_config::FaultPlan) -> String {
    use mainstay_config::{FaultPlan as F, Whom};
    let whom = |whom: &Whom| match whom {
        Whom::Any { service, count: 1 } => format!("a replica of {service}"),
        Whom::Any { service, count } => format!("{count} replicas of {service}"),
        Whom::Replica(replica) => replica.to_string(),
    };
    match fault {
        F::Kill { whom: target } => format!("{} is killed", whom(target)),
        F::Freeze { whom: target, duration } => format!("{} freezes for {} s", whom(target), duration.as_secs()),
        F::Down { service, duration } => format!("the whole of {service} is down for {} s", duration.as_secs()),
        F::Edge { service, share, effect, duration, .. } => {
            let what = match effect {
                mainstay_core::EdgeEffect::Error { status } => format!("answers {status} to {share}"),
                mainstay_core::EdgeEffect::Delay { by } => format!("is {by} late on {share}"),
                mainstay_core::EdgeEffect::LoseResponse => format!("acts, but {share} of its answers are lost"),
            };
            format!("{service} {what} for {} s", duration.as_secs())
        }
        F::KillMainstay => "Mainstay itself is killed with -9".to_owned(),
    }
}

/// One service of the shop, in this process, until TERM or Ctrl-C.
pub(crate) async fn shop(service: &str) -> anyhow::Result<ExitCode> {
    let service =
        Service::from_name(service).with_context(|| format!("there is no service '{service}' in the shop"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = tokio::signal::ctrl_c() => {} }
    };
    mainstay_shop::run(Config::from_env(service)?, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
