//! Times what we ship against what others ship, in one run on one machine, in interleaved rounds.
//!
//! On a shared machine an absolute figure says little: the same program is a third slower an hour later. What holds is
//! the CPU time per request of two programs in the same round, one divided by the other, and its median over many
//! rounds. CPU time rather than throughput, because the load generator has to share the machine.

mod case;
mod cpu;
mod gateway;
mod http;
mod load;
mod machine;
mod peers;
mod process;
mod relay;
mod report;
mod sample;
mod stats;
mod upstream;

use clap::Subcommand;

/// What can be timed.
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// Our proxy against nginx, HAProxy and a bare TCP relay: CPU time per request.
    Gateway(gateway::Options),
}

/// The processes of a bench. They are built with optimisation, unlike the xtask that starts them.
#[derive(Subcommand)]
pub(crate) enum Part {
    /// Becomes another program, pinned to one CPU and ended with its parent.
    Pinned(process::Pinned),
    /// The server behind the proxies, which sends the load before them as well.
    Upstream(upstream::Options),
    /// Copies bytes between two TCP connections: what any proxy has to pay.
    Relay(relay::Options),
}

pub(crate) fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Gateway(options) => gateway::run(options),
    }
}

pub(crate) fn part(part: &Part) -> anyhow::Result<()> {
    match part {
        Part::Pinned(options) => process::become_pinned(options),
        Part::Upstream(options) => upstream::run(options),
        Part::Relay(options) => relay::run(options),
    }
}

/// One thread for everything: each part of a bench has one CPU.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
