//! Seeds for randomised tests: the fixed ones that once found something, and one that changes with every commit, so that
//! the space is searched over time and a run can still be repeated.

use std::fs;
use std::path::{Path, PathBuf};

/// Sets the commit (any text) that the changing seed is made of.
pub const SEED_VARIABLE: &str = "MAINSTAY_SEED_COMMIT";

/// Always run.
const FIXED: [u64; 5] = [1, 2, 3, 42, 20_260_101];

/// The fixed seeds and the one of the commit; prints how to repeat the run.
pub fn seeds() -> Vec<u64> {
    let commit = std::env::var(SEED_VARIABLE).ok().or_else(commit);
    let mut seeds = FIXED.to_vec();
    if let Some(commit) = commit {
        let seed = seed_of(&commit);
        #[expect(clippy::print_stderr, reason = "whoever reads a failed run needs it")]
        {
            eprintln!("seeds: {FIXED:?} and {seed}; repeat with {SEED_VARIABLE}={commit}");
        }
        seeds.push(seed);
    }
    seeds
}

/// FNV-1a, 64 bit: spreads, and is the same on every machine and in every version.
fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The checked-out commit, read from the files of git, which need no git.
fn commit() -> Option<String> {
    let git =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|folder| folder.join(".git")).find(|git| git.exists())?;
    let git = if git.is_dir() { git } else { worktree(&git)? };
    let head = fs::read_to_string(git.join("HEAD")).ok()?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else { return Some(head.trim().to_owned()) };
    // In a further worktree the branches are where the first one is.
    let common = fs::read_to_string(git.join("commondir")).map_or(git.clone(), |common| git.join(common.trim()));
    let loose = fs::read_to_string(common.join(branch)).map(|text| text.trim().to_owned()).ok();
    loose.or_else(|| {
        let packed = fs::read_to_string(common.join("packed-refs")).ok()?;
        packed.lines().find_map(|line| Some(line.strip_suffix(branch)?.trim().to_owned()))
    })
}

fn worktree(file: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(file).ok()?;
    Some(file.parent()?.join(text.trim().strip_prefix("gitdir: ")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_of_a_commit_is_always_the_same() {
        // Published test vector of FNV-1a.
        assert_eq!(seed_of("foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(seeds(), seeds());
        assert!(seeds().starts_with(&FIXED));
    }
}
