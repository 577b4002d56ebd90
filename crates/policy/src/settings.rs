//! Settings that cannot work are refused before anything is built on them: all of them at once, each with its field
//! and the reason.

use std::fmt;

/// One setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which: `breaker.open_for`.
    pub field: String,
    /// Why it cannot work, and what would.
    pub reason: String,
}

/// Every setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(Vec<Problem>);

impl SettingsError {
    /// In the order of the settings; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let gap = if n == 0 { "" } else { "; " };
            write!(f, "{gap}{}: {}", problem.field, problem.reason)?;
        }
        Ok(())
    }
}

impl std::error::Error for SettingsError {}

/// Collects problems.
#[derive(Debug)]
pub(crate) struct Check {
    section: &'static str,
    problems: Vec<Problem>,
}

impl Check {
    /// Of the settings of `section`, which is what the policy is called in a file.
    pub(crate) fn new(section: &'static str) -> Self {
        Self { section, problems: Vec::new() }
    }

    /// Notes a problem with `field` unless `fine`.
    pub(crate) fn that(&mut self, fine: bool, field: &str, reason: impl Into<String>) -> &mut Self {
        if !fine {
            self.problems.push(Problem { field: format!("{}.{field}", self.section), reason: reason.into() });
        }
        self
    }

    /// Takes over what another check has found.
    pub(crate) fn and(&mut self, other: Result<(), SettingsError>) -> &mut Self {
        if let Err(error) = other {
            self.problems.extend(error.0);
        }
        self
    }

    pub(crate) fn done(&mut self) -> Result<(), SettingsError> {
        match std::mem::take(&mut self.problems) {
            none if none.is_empty() => Ok(()),
            some => Err(SettingsError(some)),
        }
    }
}

/// The longest duration that a setting may have. What is longer is a mistake, and would overflow somewhere.
pub(crate) const DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(1000 * 86_400);
