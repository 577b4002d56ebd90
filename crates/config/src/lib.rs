//! mainstay.yaml: what was written, what it means, and what is wrong with it
mod diagnostic;
mod origin;
mod plan;

use std::path::Path;

pub use diagnostic::{Diagnostic, Severity};
pub use plan::*;

/// Reads the file at `path`: the plan and its warnings, or everything that is wrong with it.
pub fn load(path: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let _ = path;
    Err(Vec::new())
}

/// Reads `text` as if it stood in a file `name` in the folder `dir`.
pub fn parse(name: &str, text: &str, dir: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
    let _ = (name, text, dir);
    Err(Vec::new())
}

/// The file again, with every default, its value and its reason.
pub fn explain(plan: &Plan) -> String {
    format!("{plan:?}")
}

/// JSON Schema (2020-12) of the file.
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}

/// The smallest file that works, for `mainstay init`.
pub fn init_file(app: &str) -> String {
    app.to_owned()
}

impl Plan {
    /// Services whose program is not there or cannot be run, as errors that point into the file.
    pub fn missing_programs(&self) -> Vec<Diagnostic> {
        Vec::new()
    }
}
