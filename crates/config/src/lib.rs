//! mainstay.yaml: what was written, what it means, and what is wrong with it.
//!
//! Two steps, so that nothing after them has to doubt: a [`File`] is what was written, where every key may be missing;
//! a [`Plan`] is what it means, with every default filled in and every name resolved. Between them stands one table of
//! keys, from which the reader, the defaults, [`explain()`] and [`schema()`] are all made.
//!
//! A person who made five mistakes is told of five: see [`Diagnostic`]. Only this crate knows YAML.

mod diagnostic;
mod explain;
mod file;
mod init;
mod plan;
mod programs;
mod reader;
mod resolve;
mod schema;
mod shape;
mod source;
mod table;
mod tree;
mod value;

use std::path::Path;
use std::sync::Arc;

pub use diagnostic::{Diagnostic, Severity};
pub use explain::explain;
pub use file::{FILE_BYTES_MAX, File};
pub use init::init_file;
pub use plan::{
    Call, Check, Drill, Eject, Expect, FaultPlan, Invariant, JsonPath, Listen, Load, Operation, Place, Plan, Policy,
    Probe, Probes, Restart, Retry, Route, RouteTarget, Rule, Service, Step, Stop, Store, Sum, TimedFault, Transaction,
    TransactionKind, Whom,
};
pub use schema::schema;

/// Reads the file at `path`: the plan and its warnings, or everything that is wrong with it.
///
/// Paths in the file are seen from its folder, made absolute. A program that is not there is a warning here, and an
/// error by [`Plan::missing_programs`].
pub fn load(path: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (file, found) = File::load(path)?;
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let (plan, mut found) = plan(file, found, &folder)?;
    found.extend(plan.missing_programs().into_iter().map(|d| Diagnostic { severity: Severity::Warning, ..d }));
    found.sort_by_key(|d| (d.line, d.column));
    Ok((plan, found))
}

/// Reads `text` as if it stood in a file `name` in the folder `dir`. Touches no file.
pub fn parse(name: &str, text: &str, dir: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let (file, found) = File::read(name, text)?;
    plan(file, found, dir)
}

fn plan(file: File, mut found: Vec<Diagnostic>, dir: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let planned = Arc::new(file).plan(dir);
    let broken = planned.is_err() || found.iter().any(|d| d.severity == Severity::Error);
    let (plan, more) = match planned {
        Ok((plan, more)) => (Some(plan), more),
        Err(more) => (None, more),
    };
    found.extend(more);
    found.sort_by_key(|d| (d.line, d.column));
    match plan {
        Some(plan) if !broken => Ok((plan, found)),
        _ => Err(found),
    }
}
