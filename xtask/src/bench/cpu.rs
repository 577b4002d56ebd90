//! CPU time as the kernel counts it, read from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context;

/// CPU time in seconds.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Spent {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Spent {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}

fn tick() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "there are a hundred ticks in a second, or a thousand")]
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    per_second.recip()
}

/// A process and everything it has started: nginx works in a child.
pub(crate) fn tree(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::from([pid]);
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            open.extend(children.split_whitespace().filter_map(|c| c.parse().ok()).filter(|c| found.insert(*c)));
        }
    }
    found
}

/// What these processes have spent so far, all threads together.
pub(crate) fn of(pids: &BTreeSet<u32>) -> anyhow::Result<Spent> {
    let mut sum = Spent::default();
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("{path}: the process is gone"))?;
        let (user, system) = process_ticks(&text).with_context(|| format!("{path} reads as no other"))?;
        sum.user += user * tick();
        sum.system += system * tick();
    }
    Ok(sum)
}

/// Seconds in which one CPU was busy, for whomever.
pub(crate) fn busy(cpu: usize) -> anyhow::Result<f64> {
    let text = fs::read_to_string(Path::new("/proc/stat"))?;
    Ok(cpu_ticks(&text, cpu).with_context(|| format!("/proc/stat knows no CPU {cpu}"))? * tick())
}

/// `utime` and `stime` of proc_pid_stat(5). The name before them may hold anything, so fields count from its end.
fn process_ticks(stat: &str) -> Option<(f64, f64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// All of a CPU's line in proc_stat(5) but `idle` and `iowait`; `guest` is already in `user`.
fn cpu_ticks(stat: &str, cpu: usize) -> Option<f64> {
    let name = format!("cpu{cpu}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(user + nice + system + irq + softirq + steal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 2 3 4 250 1000 5 6 20 0 1 0 9 8 7";
        assert_eq!(process_ticks(stat), Some((250.0, 1000.0)));
        assert_eq!(process_ticks("12 (a) S 1"), None);
    }

    #[test]
    fn a_cpu_is_busy_with_all_but_idling() {
        let stat = "cpu  1 1 1 1 1 1 1 1 0 0\ncpu1 10 2 30 999 999 4 5 6 0 0\ncpu10 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(cpu_ticks(stat, 1), Some(57.0));
        assert_eq!(cpu_ticks(stat, 10), Some(0.0));
        assert_eq!(cpu_ticks(stat, 2), None);
    }

    #[test]
    fn we_are_in_our_own_tree_and_spend_time() {
        let own = std::process::id();
        assert!(tree(own).contains(&own));
        assert!(of(&BTreeSet::from([own])).is_ok());
        assert!(of(&BTreeSet::from([u32::MAX])).is_err());
    }
}
