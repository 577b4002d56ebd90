//! Runs every test, passes the output through, and closes with the sum: a run that executed no test is a failure.

use std::io::{BufRead, BufReader, Write};

use anyhow::{Context, bail};

use crate::{run, servers};

/// What all test binaries together said.
#[derive(Default)]
struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
    skipped: Vec<String>,
}

impl Sum {
    /// Takes one line of `cargo test`'s output.
    fn take(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            let number_before = |word: &str| {
                let before = rest.split_once(word).map_or("", |(before, _)| before);
                before.trim_end().rsplit([' ', ';']).next().and_then(|n| n.parse().ok()).unwrap_or(0)
            };
            self.passed += number_before(" passed");
            self.failed += number_before(" failed");
            self.ignored += number_before(" ignored");
        }
        if let Some(at) = line.find("SKIPPED: ") {
            self.skipped.push(line[at..].to_owned());
        }
    }
}

pub(crate) fn all(require_all: bool, rest: &[String]) -> anyhow::Result<()> {
    servers::install(servers::FOR_TESTS);
    let mut args = vec!["test", "--no-fail-fast", "--all-features"];
    if rest.is_empty() {
        args.push("--workspace");
    }
    args.extend(rest.iter().map(String::as_str));
    if !args.contains(&"--") {
        args.push("--");
    }
    // Without this the harness swallows the lines by which a test says that it was skipped.
    args.push("--show-output");
    let env: &[(&str, &str)] = if require_all { &[("MAINSTAY_REQUIRE_ALL", "1")] } else { &[] };
    let mut sum = Sum::default();
    let mut fine = counted(&args, env, &mut sum)?;
    if rest.is_empty() {
        // Loom replaces the atomics that it explores, so its models are a build of their own.
        let env = [("RUSTFLAGS", "--cfg mainstay_loom"), ("CARGO_TARGET_DIR", "target/loom")];
        fine &= counted(&["test", "-p", "mainstay-policy", "--lib", "models"], &env, &mut sum)?;
    }
    for line in &sum.skipped {
        println!("{line}");
    }
    println!("{} passed, {} failed", sum.passed, sum.failed);
    if !fine || sum.failed > 0 {
        bail!("tests failed");
    }
    if sum.passed == 0 {
        bail!("no test was run");
    }
    if require_all && !sum.skipped.is_empty() {
        bail!("{} tests were skipped, and --require-all allows none", sum.skipped.len());
    }
    Ok(())
}

/// Runs cargo, passes on what it prints, and counts. Whether cargo was content.
fn counted(args: &[&str], env: &[(&str, &str)], sum: &mut Sum) -> anyhow::Result<bool> {
    let mut child = run::cargo_piped(args, env)?;
    let stdout = child.stdout.take().context("the output of cargo is piped")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        sum.take(&line);
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(child.wait()?.success())
}

#[cfg(test)]
mod check {
    use super::Sum;

    #[test]
    fn sums_what_the_harness_prints() {
        let mut sum = Sum::default();
        sum.take("test result: ok. 8 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        sum.take("test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s");
        sum.take("SKIPPED: power loss (needs root)");
        assert_eq!((sum.passed, sum.failed, sum.ignored, sum.skipped.len()), (20, 3, 1, 1));
    }
}
