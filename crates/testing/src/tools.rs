//! Tools that a test needs and a machine may lack.

use std::path::PathBuf;

/// When it is `1`, a missing tool fails the test instead of skipping it.
pub const REQUIRE_VARIABLE: &str = "MAINSTAY_REQUIRE_ALL";

/// Whether `tool` is on the path. Where it is not, says so in a line `SKIPPED: …` for the test to return early.
///
/// # Panics
/// When the tool is missing and [`REQUIRE_VARIABLE`] is `1`.
#[track_caller]
pub fn require(tool: &str) -> bool {
    if find(tool).is_some() {
        return true;
    }
    assert!(
        std::env::var(REQUIRE_VARIABLE).as_deref() != Ok("1"),
        "{tool} is not on the path, and {REQUIRE_VARIABLE}=1"
    );
    #[expect(clippy::print_stderr, reason = "a skip must be seen")]
    {
        eprintln!("SKIPPED: {tool} is not on the path ({})", std::panic::Location::caller());
    }
    false
}

/// Where `tool` is.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(tool)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_is_told() {
        assert!(require("sh"));
        assert!(find("no-such-tool-anywhere").is_none());
        let missing = std::panic::catch_unwind(|| require("no-such-tool-anywhere"));
        let strict = std::env::var(REQUIRE_VARIABLE).as_deref() == Ok("1");
        assert_eq!(missing.is_err(), strict);
        assert!(strict || !missing.unwrap());
    }
}
