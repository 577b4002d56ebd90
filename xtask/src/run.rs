//! Starts other programs and turns a failure into an error that shows the command.
#![expect(clippy::disallowed_types, reason = "chores start cargo and apt; the ban is for the product")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder of the repository").to_owned()
}

fn cargo_command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).envs(env.iter().copied()).current_dir(root());
    command
}

fn finish(mut command: Command) -> anyhow::Result<()> {
    eprintln!("$ {}", shown(&command));
    let status = command.status().with_context(|| format!("cannot start {}", shown(&command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(&command));
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(name, |line, arg| line + " " + &arg.to_string_lossy())
}

/// Runs cargo at the root of the repository.
pub(crate) fn cargo(args: &[&str]) -> anyhow::Result<()> {
    finish(cargo_command(args, &[]))
}

/// The same, with variables set.
pub(crate) fn cargo_with(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    finish(cargo_command(args, env))
}

/// Starts cargo with its standard output piped to us.
pub(crate) fn cargo_piped(args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<Child> {
    let mut command = cargo_command(args, env);
    eprintln!("$ {}", shown(&command));
    command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {}", shown(&command)))
}

/// What cargo prints on its standard output.
pub(crate) fn cargo_output(args: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut command = cargo_command(args, &[]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("{} failed: {}", shown(&command), output.status);
    }
    Ok(output.stdout)
}

/// Runs any program, given with its arguments and variables.
pub(crate) fn program(name: &str, args: &[&str], env: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut command = Command::new(name);
    command.args(args).envs(env.iter().copied()).stdin(Stdio::null());
    finish(command)
}

/// What a program prints, or nothing where it cannot be run or fails.
pub(crate) fn output_of(name: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(name).args(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a program is found on the PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// What a program says on either output, or nothing where it cannot be run.
pub(crate) fn said_by(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
