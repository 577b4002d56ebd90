//! The programs that tests and benches start, and the Debian packages that hold them.

use crate::run;

/// What a test wants: the program, and the package that brings it.
pub(crate) struct Wanted {
    program: &'static str,
    package: &'static str,
}

/// For `cargo xtask test`.
pub(crate) const FOR_TESTS: &[Wanted] = &[
    Wanted { program: "chromium", package: "chromium" },
    Wanted { program: "chromedriver", package: "chromium-driver" },
    Wanted { program: "promtool", package: "prometheus" },
    Wanted { program: "curl", package: "curl" },
    Wanted { program: "mkfs.ext4", package: "e2fsprogs" },
];

/// Installs what is missing where that is possible: as root, on Debian. Says what could not be had.
/// Tests look for themselves and name what they skip, so this never fails.
pub(crate) fn install(wanted: &[Wanted]) {
    let missing: Vec<&Wanted> = wanted.iter().filter(|w| run::which(w.program).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|w| w.package).collect();
    let root = run::output_of("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    if !root || run::which("apt-get").is_none() {
        eprintln!("not installed, so their tests are skipped: {}", packages.join(" "));
        eprintln!("to run them: sudo apt-get install {}", packages.join(" "));
        return;
    }
    // RUNLEVEL=1 keeps Debian's scripts from starting the servers: tests start their own.
    let env = [("DEBIAN_FRONTEND", "noninteractive"), ("RUNLEVEL", "1")];
    let done = run::program("apt-get", &["update", "-qq"], &env).and_then(|()| {
        let mut args = vec!["install", "-qq", "-y", "--no-install-recommends"];
        args.extend(&packages);
        run::program("apt-get", &args, &env)
    });
    if let Err(error) = done {
        eprintln!("could not install {}: {error}", packages.join(" "));
    }
}
