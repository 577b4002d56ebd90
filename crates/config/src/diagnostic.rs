//! What is wrong with a file, where, and how it is put right.
//!
//! The shape is the one that rustc has taught everybody to read: one line that says what, the place, the line itself
//! with the spot underlined, and the fix. Everything is plain data, so that `--json` says the same.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// Whether the file can be used in spite of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file means nothing until it is put right.
    Error,
    /// The file works, but probably not as its writer hopes.
    Warning,
}

/// One thing that is wrong, where, and how it is put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether the file can be used in spite of it.
    pub severity: Severity,
    /// The file as it was named.
    pub file: String,
    /// From 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters that are meant, at least 1.
    pub width: usize,
    /// The line itself; of a very long one the part around the place.
    pub source: String,
    /// Where in `source` the place begins, from 1, in characters.
    pub source_column: usize,
    /// What is wrong.
    pub message: String,
    /// How it is put right.
    pub fix: Option<String>,
}

impl Diagnostic {
    /// As text, like a compiler's; `colour` adds ANSI escapes.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &str, text: &str| match colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let (word, hue) = match self.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let mut out = format!("{}{}\n", paint(hue, word), paint("1", &format!(": {}", self.message)));
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        if self.line == 0 {
            let _ = writeln!(out, " {} {}", paint("34", "-->"), self.file);
        } else {
            let _ = writeln!(out, "{margin}{} {}:{}:{}", paint("34", "-->"), self.file, self.line, self.column);
            let bar = paint("34", "|");
            let caret = paint(hue, &"^".repeat(self.width.max(1)));
            let indent = " ".repeat(self.source_column.saturating_sub(1));
            let _ = writeln!(out, "{margin} {bar}");
            let _ = writeln!(out, "{} {bar} {}", paint("34", &number), self.source);
            let _ = writeln!(out, "{margin} {bar} {indent}{caret}");
        }
        if let Some(fix) = &self.fix {
            let _ = writeln!(out, "{margin} {} {fix}", paint("32", "= fix:"));
        }
        out
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}
