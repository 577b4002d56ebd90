//! What the user sees: data on standard output, everything else on standard error, colour only where it is welcome.
#![expect(clippy::print_stderr, reason = "this is where the program speaks to its user")]

use std::io::{IsTerminal, Write};

use serde::Serialize;

/// How to speak.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// JSON on standard output.
    pub(crate) json: bool,
    /// Standard output shows colours.
    pub(crate) colour: bool,
    /// Standard error shows colours and can be redrawn.
    pub(crate) live: bool,
}

impl Terminal {
    pub(crate) fn new(json: bool) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var("TERM").is_ok_and(|t| t == "dumb");
        Self {
            json,
            colour: !plain && !json && std::io::stdout().is_terminal(),
            live: !plain && std::io::stderr().is_terminal(),
        }
    }

    /// Data.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        self.out(text.as_ref());
    }

    /// Data, as JSON.
    pub(crate) fn say_json(&self, value: &impl Serialize) -> anyhow::Result<()> {
        self.out(&serde_json::to_string_pretty(value)?);
        Ok(())
    }

    /// A reader that has gone, such as `head`, has seen what it wanted.
    fn out(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Everything that is not data.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        eprintln!("{}", text.as_ref());
    }

    /// A line that the next one replaces where the terminal can do that; nothing elsewhere.
    pub(crate) fn status(&self, text: &str) {
        if self.live {
            eprint!("\r\x1b[2K{text}");
            let _ = std::io::stderr().flush();
        }
    }

    /// Why it did not work.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let word = if self.live { "\x1b[1;31merror\x1b[0m" } else { "error" };
        eprintln!("{word}: {error:#}");
    }
}

/// Columns of a terminal that does not say how many it has.
const COLUMNS_DEFAULT: usize = 100;

/// The beginning of `line` that fits into one line of the terminal, so that it can be redrawn.
pub(crate) fn fit(line: &str) -> String {
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok()).unwrap_or(COLUMNS_DEFAULT);
    line.chars().take(columns).collect()
}
