//! Where a run took place: a figure without its machine is worth nothing.

use std::fs;

use serde_json::{Value, json};

use crate::run;

/// What the report says about the machine.
pub(crate) struct Machine {
    pub(crate) cpus: usize,
    model: String,
    kernel: String,
    /// How TCP paces itself, which is part of what every proxy pays.
    congestion: String,
    rustc: String,
    commit: String,
    load_before: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let git = |args: &[&str]| run::output_of("git", args).unwrap_or_default();
        // Only what goes into the program that is timed counts as a change.
        let changed =
            !git(&["-C", &run::root().to_string_lossy(), "status", "--porcelain", "--", "crates", "Cargo.lock"])
                .trim()
                .is_empty();
        let commit = git(&["-C", &run::root().to_string_lossy(), "rev-parse", "--short", "HEAD"]);
        Self {
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            model: model(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            congestion: read("/proc/sys/net/ipv4/tcp_congestion_control").trim().to_owned(),
            rustc: run::output_of("rustc", &["--version"]).unwrap_or_default().trim().to_owned(),
            commit: format!("{}{}", commit.trim(), if changed { " with changes" } else { "" }),
            load_before: load(),
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "{} × {}, Linux {} ({}), {}, commit {}; load average {} before, {} after",
            self.cpus,
            self.model,
            self.kernel,
            self.congestion,
            self.rustc,
            self.commit,
            self.load_before,
            load()
        )
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "cpus": self.cpus, "model": self.model, "kernel": self.kernel, "congestion": self.congestion, "rustc": self.rustc,
            "commit": self.commit, "load_before": self.load_before, "load_after": load(),
        })
    }
}

/// The load average of the last minute.
fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn model(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    line.map_or("unknown CPU", |(_, name)| name.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_read() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC\n"), "AMD EPYC");
        assert_eq!(model(""), "unknown CPU");
    }
}
