//! The text of a file with its lines, and the collector of everything that is found wrong in it.
//!
//! The collector takes `&self`: the readers of nested sections all report to the same one, and none of them stops at
//! its first finding, because a person would rather fix five mistakes at once than meet them one by one.

use std::cell::{Cell, RefCell};
use std::ops::Range;

use crate::{Diagnostic, Severity};

/// Most findings that are kept of one file; the rest is counted.
pub(crate) const FINDINGS_MAX: usize = 100;
/// Longest part of a source line that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 240;

/// A range of bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Spot {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A file's name and text.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) file: String,
    pub(crate) text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.to_owned(), text: text.to_owned(), lines }
    }

    /// The line that holds byte `at`, counted from 1, and its range without the line feed.
    fn line_of(&self, at: usize) -> (usize, Range<usize>) {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let end = self.lines.get(line).map_or(self.text.len(), |next| next - 1);
        (line, self.lines[line - 1]..end)
    }

    /// A finding at `spot`.
    pub(crate) fn diagnostic(
        &self,
        severity: Severity,
        spot: Spot,
        message: String,
        fix: Option<String>,
    ) -> Diagnostic {
        let mut at = spot.start.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let (line, range) = self.line_of(at);
        let text = self.text[range.clone()].trim_end_matches('\r');
        let before = self.text[range.start..at].chars().count();
        let width =
            self.text.get(at..spot.end.min(range.start + text.len())).map_or(1, |t| t.trim_end().chars().count());
        // Of a very long line the part around the spot is shown.
        let skipped = before.saturating_sub(SHOWN_CHARS_MAX / 2);
        let shown = text.chars().skip(skipped).take(SHOWN_CHARS_MAX);
        let source_column = before - skipped + 1;
        Diagnostic {
            severity,
            file: self.file.clone(),
            line,
            column: before + 1,
            width: width.clamp(1, SHOWN_CHARS_MAX - source_column),
            source: shown.map(|c| if c.is_control() { ' ' } else { c }).collect(),
            source_column,
            message,
            fix,
        }
    }
}

/// Everything that was found so far.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    source: &'a Source,
    found: RefCell<Vec<Diagnostic>>,
    errors: Cell<usize>,
    left_out: Cell<usize>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(source: &'a Source) -> Self {
        Self { source, found: RefCell::default(), errors: Cell::new(0), left_out: Cell::new(0) }
    }

    fn add(&self, severity: Severity, spot: Spot, message: String, fix: String) {
        if severity == Severity::Error {
            self.errors.set(self.errors.get() + 1);
        }
        let mut found = self.found.borrow_mut();
        if found.len() == FINDINGS_MAX {
            self.left_out.set(self.left_out.get() + 1);
            return;
        }
        let fix = Some(fix).filter(|fix| !fix.is_empty());
        found.push(self.source.diagnostic(severity, spot, message, fix));
    }

    /// Something that makes the file unusable. An empty `fix` is none.
    pub(crate) fn error(&self, spot: Spot, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Error, spot, message.into(), fix.into());
    }

    /// Something that will probably disappoint.
    pub(crate) fn warn(&self, spot: Spot, message: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Warning, spot, message.into(), fix.into());
    }

    /// The line of `spot`, from 1.
    pub(crate) fn line(&self, spot: Spot) -> usize {
        self.source.line_of(spot.start).0
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors.get()
    }

    /// The findings in the order of the file.
    pub(crate) fn finish(self) -> Vec<Diagnostic> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|d| (d.line, d.column));
        found.dedup();
        let left_out = self.left_out.get();
        if left_out > 0 {
            found.push(Diagnostic {
                severity: if self.errors.get() > 0 { Severity::Error } else { Severity::Warning },
                file: self.source.file.clone(),
                line: 0,
                column: 0,
                width: 1,
                source: String::new(),
                source_column: 0,
                message: format!("{left_out} more findings are not shown"),
                fix: None,
            });
        }
        found
    }
}
