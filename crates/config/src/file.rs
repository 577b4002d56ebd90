//! The file as it was written.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::source::{Report, Source, Spot};
use crate::tree::{Node, compose};
use crate::{Diagnostic, Plan, Severity, resolve};

/// Largest file that is read.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A file as it was written: every key may be missing, and nothing is known yet of what it means.
///
/// It is a tree rather than a struct of options, because everything in it must know its line and column, wrong things
/// too.
#[derive(Debug)]
pub struct File {
    pub(crate) source: Source,
    pub(crate) root: Node,
}

/// Where a plan comes from. Two files that mean the same make equal plans, so all origins are equal.
#[derive(Clone)]
pub(crate) struct Origin(pub(crate) Arc<File>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source.file)
    }
}

/// An error that concerns the file `name` as a whole.
fn whole(name: &str, message: String, fix: &str) -> Vec<Diagnostic> {
    vec![Diagnostic {
        severity: Severity::Error,
        file: name.to_owned(),
        line: 0,
        column: 0,
        width: 1,
        source: String::new(),
        source_column: 0,
        message,
        fix: Some(fix.to_owned()).filter(|fix| !fix.is_empty()),
    }]
}

impl File {
    /// Reads YAML, or JSON, which is YAML too. `name` is for messages.
    ///
    /// Mistakes that leave the tree readable, such as a key that is there twice, come beside the file.
    pub fn read(name: &str, text: &str) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        if text.len() > FILE_BYTES_MAX {
            let message = format!("{} bytes; at most {FILE_BYTES_MAX} are read", text.len());
            return Err(whole(name, message, "is this the right file?"));
        }
        let source = Source::new(name, text.strip_prefix('\u{feff}').unwrap_or(text));
        let report = Report::new(&source);
        let root = match source.text.find('\0') {
            Some(start) => {
                report.error(Spot { start, end: start + 1 }, "a NUL byte: this is no text", "");
                None
            }
            None => compose(&source.text, &report),
        };
        let found = report.finish();
        match root {
            Some(root) => Ok((Self { source, root }, found)),
            None => Err(found),
        }
    }

    /// Reads the file at `path`. Bytes that are not UTF-8 are refused with their place.
    pub fn load(path: &Path) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        use std::io::Read;
        let name = path.display().to_string();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("toml")) {
            return Err(whole(&name, "TOML is not read yet".to_owned(), "write it as .yaml or .json"));
        }
        let mut bytes = Vec::new();
        let limit = FILE_BYTES_MAX as u64 + 1;
        match std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let fix = "`mainstay init` writes one; `--file` names another";
                return Err(whole(&name, "there is no such file".to_owned(), fix));
            }
            Err(e) => return Err(whole(&name, format!("cannot be read: {e}"), "")),
        }
        match String::from_utf8(bytes) {
            Ok(text) => Self::read(&name, &text),
            Err(e) => {
                let at = e.utf8_error().valid_up_to();
                let bytes = e.as_bytes();
                let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
                let message = format!("line {line} is not UTF-8 (byte {:#04x})", bytes.get(at).unwrap_or(&0));
                Err(whole(&name, message, "save the file as UTF-8"))
            }
        }
    }

    /// What the file means, with its warnings, or everything that is wrong. Paths are seen from `dir`; nothing is
    /// looked up there.
    pub fn plan(self: &Arc<Self>, dir: &Path) -> Result<(Plan, Vec<Diagnostic>), Vec<Diagnostic>> {
        let report = Report::new(&self.source);
        let plan = resolve::resolve(self, &self.root, dir, &report);
        let errors = report.errors();
        let found = report.finish();
        match plan {
            Some(plan) if errors == 0 => Ok((plan, found)),
            _ => Err(found),
        }
    }
}
