//! The verbs that only read and write the file: init, check, explain, schema.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use mainstay_config::{Diagnostic, Plan, Severity};
use serde_json::json;

use crate::cli::Init;
use crate::terminal::Terminal;

/// Bad input.
pub(crate) const BAD_INPUT: u8 = 2;

/// Reads the file, prints what is wrong with it, and gives the plan if there is one.
pub(crate) fn plan(file: &Path, terminal: &Terminal) -> Option<Plan> {
    let (plan, diagnostics) = match mainstay_config::load(file) {
        Ok((plan, warnings)) => (Some(plan), warnings),
        Err(errors) => (None, errors),
    };
    for diagnostic in &diagnostics {
        terminal.note(diagnostic.render(terminal.live));
    }
    if plan.is_none() {
        terminal.note(format!("{}: {}; nothing was changed", file.display(), counted(&diagnostics)));
    }
    plan
}

fn counted(diagnostics: &[Diagnostic]) -> String {
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match diagnostics.len() - errors {
        0 => plural(errors, "error"),
        warnings => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

pub(crate) fn check(file: &Path, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let (ok, diagnostics) = match mainstay_config::load(file) {
        Ok((plan, mut warnings)) => {
            // A missing program is only a warning to whoever writes the file, and an error to whoever runs it.
            let missing = plan.missing_programs();
            warnings.retain(|w| !missing.iter().any(|m| (m.line, m.column) == (w.line, w.column)));
            warnings.extend(missing);
            (!warnings.iter().any(|d| d.severity == Severity::Error), warnings)
        }
        Err(errors) => (false, errors),
    };
    if terminal.json {
        terminal.say_json(&json!({ "ok": ok, "diagnostics": diagnostics }))?;
    } else {
        for diagnostic in &diagnostics {
            terminal.say(diagnostic.render(terminal.colour));
        }
        let verdict = if diagnostics.is_empty() { "ok".to_owned() } else { counted(&diagnostics) };
        terminal.say(format!("{}: {verdict}", file.display()));
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::from(BAD_INPUT) })
}

pub(crate) fn explain(file: &Path, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let Some(plan) = plan(file, terminal) else { return Ok(ExitCode::from(BAD_INPUT)) };
    terminal.say(mainstay_config::explain(&plan).trim_end());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn schema(terminal: &Terminal) -> anyhow::Result<ExitCode> {
    terminal.say_json(&mainstay_config::schema())?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn init(args: &Init, terminal: &Terminal) -> anyhow::Result<ExitCode> {
    let app = args.app.clone().unwrap_or_else(app_from_folder);
    mainstay_core::ServiceName::new(&app).map_err(|e| anyhow::anyhow!("{e}\n  fix: name the app with --app"))?;
    let file = args.file.display();
    let mut written = match OpenOptions::new().write(true).create_new(true).open(&args.file) {
        Ok(written) => written,
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            bail!("{file} is there already, and was left as it is\n  fix: name another place with --file")
        }
        Err(e) => return Err(e).with_context(|| format!("cannot write {file}")),
    };
    written.write_all(mainstay_config::init_file(&app).as_bytes()).with_context(|| format!("cannot write {file}"))?;
    terminal.say(format!("{file} is written. Next:"));
    terminal.say("  1. put your own commands into it: each service listens on $PORT");
    terminal.say("  2. mainstay check     is everything right with it?");
    terminal.say("  3. mainstay up        run it; the console is at http://127.0.0.1:9900/");
    terminal.say("  mainstay explain      every default, its value and why");
    Ok(ExitCode::SUCCESS)
}

/// The folder's name, made into a name.
fn app_from_folder() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let name = here.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches(|c: char| c == '-' || c.is_ascii_digit());
    if mainstay_core::ServiceName::new(name).is_ok() { name.to_owned() } else { "app".to_owned() }
}
