//! What the kernel says of processes. A number alone names nobody: numbers are given out again, so a process is known by
//! its number and its start time, and beyond a reboot by the machine's boot id as well.

use std::fs;

/// Longest environment that is looked at.
const ENVIRON_BYTES_MAX: usize = 256 * 1024;

/// The part of `/proc/<pid>/stat` that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    /// `Z` and `X` have ended.
    pub(crate) state: char,
    pub(crate) session: u32,
    /// Clock ticks from boot to its start.
    pub(crate) start_ticks: u64,
}

impl Stat {
    /// Whether it has not ended yet.
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// What is known of `pid`, if there is such a process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of the program stands in parentheses and may contain anything, parentheses and spaces included.
fn parse(pid: u32, text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // state is field 3 of the manual page; session is 6, starttime 22.
    let session = fields.nth(2)?.parse().ok()?;
    let start_ticks = fields.nth(15)?.parse().ok()?;
    Some(Stat { pid, state, session, start_ticks })
}

/// Every process there is.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| stat(e.file_name().to_str()?.parse().ok()?)).collect()
}

/// The value with which the variable `name` was given to `pid`. None where we may not look.
pub(crate) fn variable(pid: u32, name: &str) -> Option<String> {
    let mut environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environ.truncate(ENVIRON_BYTES_MAX);
    let value = environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    String::from_utf8(value.to_owned()).ok()
}

/// Changes with every boot of the machine. Empty where the kernel does not say.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_have_any_name() {
        let tail = "S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 987654 1000 10 1844";
        for name in ["sh", "a b", "x) S 9 9 9", "))(("] {
            let parsed = parse(42, &format!("42 ({name}) {tail}"));
            assert_eq!(parsed, Some(Stat { pid: 42, state: 'S', session: 42, start_ticks: 987_654 }), "{name}");
        }
        for bad in ["", "42 (sh)", "42 (sh) S 1", "42 sh S 1 2 3"] {
            assert_eq!(parse(42, bad), None, "{bad}");
        }
    }

    #[test]
    fn this_process_is_there_and_pid_max_is_not() {
        let me = stat(std::process::id()).unwrap();
        assert!(me.runs() && me.start_ticks > 0);
        assert!(all().iter().any(|s| s.pid == me.pid));
        assert_eq!(stat(4_194_305), None);
        assert!(!boot_id().is_empty());
    }
}
