//! Numbers and times as a person reads them.

use std::time::Duration;

use mainstay_core::WallMs;

/// A share as percent, never rounded up: 99.996 % is not 100 %.
pub(crate) fn percent(share: f64) -> String {
    let hundredths = (share.clamp(0.0, 1.0) * 10_000.0 + 1e-6).floor();
    if hundredths >= 10_000.0 { "100%".to_owned() } else { format!("{:.2}%", hundredths / 100.0) }
}

/// What fails, as percent: the counterpart of [`percent`], never rounded down to nothing.
pub(crate) fn failing(success: f64) -> String {
    let lost = (1.0 - success.clamp(0.0, 1.0)) * 100.0;
    if lost >= 10.0 { format!("{lost:.0}%") } else { format!("{:.1}%", lost.max(0.1)) }
}

/// A number of things a second.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second >= 9.95 || per_second == 0.0 { format!("{per_second:.0}") } else { format!("{per_second:.1}") }
}

/// A latency as number and unit.
pub(crate) fn millis(ms: f64) -> (String, &'static str) {
    if ms >= 999.5 {
        (format!("{:.1}", ms / 1000.0), "s")
    } else if ms >= 9.95 {
        (format!("{ms:.0}"), "ms")
    } else {
        (format!("{ms:.1}"), "ms")
    }
}

/// A span of time: `0.8 s`, `31 s`, `4 min`, `2 h 5 min`.
pub(crate) fn span(ms: WallMs) -> String {
    match ms.max(0) {
        ms if ms < 9_950 => format!("{:.1} s", ms as f64 / 1000.0),
        ms if ms < 120_000 => format!("{} s", ms / 1000),
        ms if ms < 7_200_000 => format!("{} min", ms / 60_000),
        ms => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// As [`span`], for how long something runs.
pub(crate) fn uptime(duration: Duration) -> String {
    span(WallMs::try_from(duration.as_millis()).unwrap_or(WallMs::MAX))
}

/// Time of day in UTC; the script turns it into local time.
pub(crate) fn clock(at: WallMs) -> String {
    let second = at.div_euclid(1000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// A count with its thousands apart: `1,048,121`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = digits[..first].to_owned();
    for at in (first..digits.len()).step_by(3) {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(&digits[at..at + 3]);
    }
    out
}

/// `1 replica`, `2 replicas`.
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_never_look_better_than_they_are() {
        assert_eq!((percent(1.0), percent(0.99996), percent(0.974)), ("100%".into(), "99.99%".into(), "97.40%".into()));
        assert_eq!((failing(0.9999), failing(0.974), failing(0.4)), ("0.1%".into(), "2.6%".into(), "60%".into()));
        assert_eq!((rate(0.0), rate(0.26), rate(421.4)), ("0".into(), "0.3".into(), "421".into()));
        assert_eq!(
            (millis(4.12), millis(812.0), millis(1234.0)),
            (("4.1".into(), "ms"), ("812".into(), "ms"), ("1.2".into(), "s"))
        );
        assert_eq!((span(4000), span(31_900), span(7_500_000)), ("4.0 s".into(), "31 s".into(), "2 h 5 min".into()));
        assert_eq!((grouped(0), grouped(999), grouped(1_048_121)), ("0".into(), "999".into(), "1,048,121".into()));
        assert_eq!(clock(1_700_000_000_000), "22:13:20");
    }
}
