//! The chores of this repository: judge it, tidy it, test it, time it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool speaks to its user")]

mod bench;
mod deps;
mod run;
mod servers;
mod tests;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository")]
struct Args {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Judge: formatting, lints, documentation, dependencies. Edits nothing.
    Verify,
    /// Edit: formatting and what the linter can mend by itself.
    Fix,
    /// Run every test; installs the servers that tests need where it may.
    Test {
        /// Fail when a test had to be skipped (what CI uses).
        #[arg(long)]
        require_all: bool,
        /// Passed on to `cargo test`, for example a package: `-- -p mainstay-txn`.
        #[arg(last = true)]
        rest: Vec<String>,
    },
    /// Time: against others, in one run on one machine.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// The processes that benches start; of no use by hand.
    #[command(subcommand, hide = true)]
    BenchPart(bench::Part),
}

fn main() -> anyhow::Result<()> {
    match Args::parse().chore {
        Chore::Verify => verify(),
        Chore::Fix => fix(),
        Chore::Test { require_all, rest } => tests::all(require_all, &rest),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::BenchPart(part) => bench::part(&part),
    }
}

fn verify() -> anyhow::Result<()> {
    run::cargo(&["fmt", "--all", "--check"])?;
    run::cargo(&["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"])?;
    run::cargo_with(
        &["doc", "--workspace", "--all-features", "--no-deps", "--document-private-items"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    deps::check()?;
    eprintln!("verified: formatting, lints, documentation, dependencies");
    Ok(())
}

fn fix() -> anyhow::Result<()> {
    run::cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ])?;
    run::cargo(&["fmt", "--all"])
}
