//! The binary: command line, assembly of the parts, supervision of ourselves.

mod assemble;
mod cli;
mod client;
mod commands;
mod drills;
mod mutation;
mod state;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Verb};
use crate::terminal::Terminal;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What the parts have to say of themselves; `MAINSTAY_LOG=info` says more.
    let filter = EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let terminal = Terminal::new(cli.json);
    match run(cli.verb, &terminal) {
        Ok(code) => code,
        Err(error) => {
            terminal.error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Init(args) => commands::file::init(&args, terminal),
        Verb::Check(args) => commands::file::check(&args.file, terminal),
        Verb::Explain(args) => commands::file::explain(&args.file, terminal),
        Verb::Schema => commands::file::schema(terminal),
        Verb::Up(args) => on_runtime(commands::up::up(&args.file.file, terminal)),
        Verb::Down(args) => on_runtime(commands::down::down(&args.file, terminal)),
        Verb::Ps(args) => on_runtime(commands::look::ps(&args.file, terminal)),
        Verb::Events(args) => on_runtime(commands::look::events(&args, terminal)),
        Verb::Drill(args) => on_runtime(commands::drill::drill(&args, terminal)),
        Verb::Demo(args) => on_runtime(commands::demo::demo(&args, terminal)),
        Verb::Shop { service } => on_runtime(commands::demo::shop(&service)),
    }
}

/// Everything but the data plane's own threads runs on one multi-thread runtime.
fn on_runtime(verb: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(verb);
    // Whoever ends because a part failed must not wait for another part, which nobody told to stop.
    runtime.shutdown_background();
    code
}
