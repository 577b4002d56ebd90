//! The command line: what can be said, with an example for each verb.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Fault tolerance for services: one binary, one file.
#[derive(Parser)]
#[command(
    name = "mainstay",
    version,
    arg_required_else_help = true,
    after_help = "\
Start here:
  mainstay demo            a shop is started, hurt in five ways, and checked: under a minute, no file, no network
  mainstay init            write a file of five lines
  mainstay up              run what it says
  mainstay drill NAME      prove that it holds

Exit codes: 0 done, 1 failed, 2 bad input (for `drill` and `demo`: 0 PASS, 1 FAIL, 2 INCONCLUSIVE or could not run)"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Print JSON on standard output.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Start a real shop, hurt it in five ways under load, heal it, and compute the verdict.
    #[command(after_help = "\
Examples:
  mainstay demo                 about a minute, ends by itself, leaves only .mainstay/ behind
  mainstay demo --keep          leave the shop and the console running (end it: mainstay down --file .mainstay/demo/mainstay.yaml)
  mainstay demo --seed 7        the same arrivals, keys and targets again")]
    Demo(Demo),
    /// Write a five-line mainstay.yaml to start from.
    #[command(after_help = "Examples:\n  mainstay init\n  mainstay init --app shop")]
    Init(Init),
    /// Say everything that is wrong with the file, each with its place and the fix.
    #[command(after_help = "Examples:\n  mainstay check\n  mainstay check --file shop/mainstay.yaml --json")]
    Check(File),
    /// Print the file again with every default, its value and why.
    #[command(after_help = "Examples:\n  mainstay explain\n  mainstay explain --file shop/mainstay.yaml")]
    Explain(File),
    /// Print the JSON Schema of the file, for editors.
    #[command(after_help = "Examples:\n  mainstay schema > mainstay.schema.json")]
    Schema,
    /// Run what the file says, until Ctrl-C. Replicas that a killed Mainstay left running are adopted.
    #[command(after_help = "\
Examples:
  mainstay up
  mainstay up --file shop/mainstay.yaml

Ctrl-C or TERM: an orderly stop of everything. A kill -9 leaves the replicas running; the next `up` adopts them.")]
    Up(Up),
    /// Stop the running app: out of rotation, drain, TERM, grace, KILL.
    #[command(after_help = "Examples:\n  mainstay down\n  mainstay down --file shop/mainstay.yaml")]
    Down(File),
    /// Show services and replicas.
    #[command(after_help = "Examples:\n  mainstay ps\n  mainstay ps --json")]
    Ps(File),
    /// Show what Mainstay noticed and did.
    #[command(
        after_help = "Examples:\n  mainstay events\n  mainstay events --follow\n  mainstay events --json --limit 20"
    )]
    Events(Events),
    /// Run a drill of the file: load, faults, invariants, verdict, report.
    #[command(after_help = "\
Examples:
  mainstay drill payment-down
  mainstay drill payment-down --seed 42 --report out/
  mainstay drill --list

Runs the app as its child, or uses the one that is up. Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE or could not run.")]
    Drill(Drill),
    /// One service of the demo's shop.
    #[command(hide = true)]
    Shop {
        /// order, inventory or payment.
        service: String,
    },
}

#[derive(Args, Clone)]
pub(crate) struct File {
    /// The file of the app; its state lies beside it in .mainstay/.
    #[arg(long, short, default_value = "mainstay.yaml", env = "MAINSTAY_FILE")]
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) file: File,
}

#[derive(Args)]
pub(crate) struct Init {
    /// Name of the app; the folder's name by default.
    #[arg(long)]
    pub(crate) app: Option<String>,
    /// Where to write.
    #[arg(long, short, default_value = "mainstay.yaml")]
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Events {
    #[command(flatten)]
    pub(crate) file: File,
    /// Go on as new events come, until Ctrl-C.
    #[arg(long)]
    pub(crate) follow: bool,
    /// How many of the last events to show.
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: usize,
}

#[derive(Args)]
pub(crate) struct Drill {
    /// Which drill of the file.
    #[arg(required_unless_present = "list")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) file: File,
    /// Say which drills there are.
    #[arg(long)]
    pub(crate) list: bool,
    /// Fixes arrivals, keys, targets and the times of faults.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Folder for report.html, report.json and history.jsonl.
    #[arg(long)]
    pub(crate) report: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Leave the shop and the console running afterwards.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Fixes arrivals, keys, targets and the times of faults.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}
