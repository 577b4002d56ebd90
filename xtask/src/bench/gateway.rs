//! `cargo xtask bench gateway`: builds what is timed, starts everything, goes through the rounds, and reports.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::case::Case;
use super::load::Order;
use super::machine::Machine;
use super::peers::{self, Found, Proxy};
use super::process::{Launcher, Server};
use super::report::{self, Series};
use super::sample::Sample;
use super::{load, runtime};
use crate::run;

const CONNECTIONS: usize = 64;
/// The load generator and the upstream share a CPU; the proxy has the other one to itself.
const LOAD_CPU: usize = 0;
const PROXY_CPU: usize = 1;
/// What a server gets until it answers.
const READY_MAX: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(crate) struct Options {
    /// How often each proxy is timed in each case (12, or 4 with --quick).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Shorter windows and fewer rounds: to see that it works, not to quote.
    #[arg(long)]
    quick: bool,
    /// Print JSON, with every round, instead of a table.
    #[arg(long)]
    json: bool,
}

/// How long one measurement takes, and how many there are.
struct Plan {
    rounds: u32,
    warm_up: Duration,
    window: Duration,
}

impl Options {
    fn plan(&self) -> Plan {
        let (rounds, warm_up, window) = if self.quick { (4, 200, 1000) } else { (12, 400, 2000) };
        Plan {
            rounds: self.rounds.unwrap_or(rounds),
            warm_up: Duration::from_millis(warm_up),
            window: Duration::from_millis(window),
        }
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let machine = Machine::look();
    if machine.cpus <= PROXY_CPU {
        bail!("this bench needs two CPUs: one for the proxy, one for the load");
    }
    let built = build()?;
    let folder = Folder::create(&built)?;
    let launcher = Launcher { xtask: built.join("xtask"), logs: folder.0.clone() };
    let found = peers::find(built.join("examples/proxy"), &launcher);
    let plan = options.plan();
    let all = runtime()?.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            all = rounds(&plan, &found, &launcher, &folder.0) => all,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })?;
    let versions: Vec<String> = found
        .iter()
        .filter(|found| !found.version.is_empty())
        .map(|found| format!("{} {}", found.proxy.name(), found.version))
        .collect();
    if options.json {
        println!("{:#}", as_json(&plan, &machine, &versions, &all));
    } else {
        println!("{}\n{}", machine.line(), versions.join(", "));
        let (rounds, window) = (plan.rounds, plan.window.as_secs_f64());
        println!("{rounds} rounds of {window} s, {CONNECTIONS} connections, one worker on one CPU");
        println!("{}", report::table(&all));
        report::errors(&all).iter().chain(&report::goals(&all)).for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn as_json(plan: &Plan, machine: &Machine, versions: &[String], all: &[Series]) -> Value {
    json!({
        "machine": machine.to_json(),
        "peers": versions,
        "rounds": plan.rounds,
        "window_seconds": plan.window.as_secs_f64(),
        "connections": CONNECTIONS,
        "series": report::json(all),
        "errors": report::errors(all),
        "goals": report::goals(all),
    })
}

/// Builds with the profile that ships; says where the programs are.
fn build() -> anyhow::Result<PathBuf> {
    run::cargo(&["build", "--profile", "dist", "-p", "mainstay-gateway", "--example", "proxy"])?;
    run::cargo(&["build", "--profile", "dist", "-p", "xtask"])?;
    let metadata: Value =
        serde_json::from_slice(&run::cargo_output(&["metadata", "--format-version", "1", "--no-deps"])?)?;
    let target = metadata["target_directory"].as_str().context("cargo says where it builds")?;
    Ok(Path::new(target).join("dist"))
}

/// Where configurations and logs of one run lie; gone with it.
struct Folder(PathBuf);

impl Folder {
    fn create(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("bench-gateway-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A proxy that runs.
struct Running {
    proxy: Proxy,
    address: SocketAddr,
    server: Server,
}

async fn rounds(plan: &Plan, found: &[Found], launcher: &Launcher, folder: &Path) -> anyhow::Result<Vec<Series>> {
    let upstream = free_address()?;
    let args = ["bench-part", "upstream", "--listen", &upstream.to_string()].map(str::to_owned);
    let mut behind = launcher.server(LOAD_CPU, "upstream", &launcher.xtask, &args)?;
    ready(&mut behind, upstream).await?;
    let mut running = Vec::new();
    for Found { proxy, program, .. } in found {
        let address = free_address()?;
        let args = peers::arguments(*proxy, address, upstream, folder)?;
        let mut server = launcher.server(PROXY_CPU, proxy.name(), program, &args)?;
        ready(&mut server, address).await?;
        running.push(Running { proxy: *proxy, address, server });
    }
    let series = |case| found.iter().map(move |f| Series { proxy: f.proxy, case, samples: Vec::new() });
    let mut all: Vec<Series> = Case::ALL.into_iter().flat_map(series).collect();
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        for case in Case::ALL {
            for one in &mut running {
                let sample = measure(plan, one, upstream, case).await?;
                let series = all.iter_mut().find(|s| s.proxy == one.proxy && s.case == case);
                series.context("each proxy has a series for each case")?.samples.push(sample);
            }
        }
        // Nobody is always measured after the same neighbour's leftovers in the caches, or always first.
        running.rotate_left(1);
    }
    Ok(all)
}

async fn measure(plan: &Plan, one: &mut Running, upstream: SocketAddr, case: Case) -> anyhow::Result<Sample> {
    one.server.check()?;
    let order = Order {
        target: one.address,
        pid: one.server.pid(),
        cpu: PROXY_CPU,
        case,
        connections: CONNECTIONS,
        warm_up: plan.warm_up,
        window: plan.window,
    };
    let answer = load::order(upstream, &order).await.with_context(|| one.proxy.name())?;
    Sample::from_json(&serde_json::from_str(&answer)?).context("the load generator answers with a sample")
}

/// A port that is free now. Somebody might take it before we do; then the program that wants it says so and ends.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn ready(server: &mut Server, address: SocketAddr) -> anyhow::Result<()> {
    let until = Instant::now() + READY_MAX;
    loop {
        server.check()?;
        match load::answers(address).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => return Err(anyhow!("{address} does not answer: {error}")),
            Err(_) => sleep(READY_POLL).await,
        }
    }
}
