//! Turns the samples of all rounds into a table, or JSON, and says which goals hold.

use std::fmt::Write;

use serde_json::{Value, json};

use super::case::Case;
use super::peers::Proxy;
use super::sample::Sample;
use super::stats::{Summary, paired};

/// What is to hold at GET 1 KiB: the other's CPU time divided by ours, at least.
const GOALS: &[(Proxy, f64)] = &[(Proxy::Nginx, 1.15), (Proxy::Haproxy, 1.3), (Proxy::Relay, 1.0 / 1.2)];

/// All rounds of one proxy in one case.
pub(crate) struct Series {
    pub(crate) proxy: Proxy,
    pub(crate) case: Case,
    pub(crate) samples: Vec<Sample>,
}

impl Series {
    fn all(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    fn summary(&self, of: impl Fn(&Sample) -> f64) -> Summary {
        Summary::of(self.all(of)).unwrap_or(Summary { median: f64::NAN, min: f64::NAN, max: f64::NAN })
    }

    fn sum(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        self.all(of).iter().sum()
    }
}

fn find(all: &[Series], proxy: Proxy, case: Case) -> Option<&Series> {
    all.iter().find(|series| series.proxy == proxy && series.case == case)
}

/// The CPU time per request divided by ours in the same round.
fn ratio(all: &[Series], series: &Series) -> Option<Summary> {
    let ours = find(all, Proxy::Ours, series.case)?;
    Summary::of(paired(&series.all(|s| s.cpu_us), &ours.all(|s| s.cpu_us)))
}

pub(crate) fn table(all: &[Series]) -> String {
    let mut text = String::new();
    for case in Case::ALL {
        let _ = writeln!(
            text,
            "\n{:<11}{:>24}{:>7}{:>21}{:>10}{:>9}{:>9}{:>7}{:>7}{:>8}{:>8}",
            case.title(),
            "CPU µs/request (min–max)",
            "user",
            "÷ ours (min–max)",
            "req/s",
            "p50 µs",
            "p99 µs",
            "busy",
            "others",
            "errors",
            "opened"
        );
        for series in all.iter().filter(|series| series.case == case) {
            let cpu = series.summary(|s| s.cpu_us);
            let ratio = ratio(all, series).filter(|_| series.proxy != Proxy::Ours);
            let ratio =
                ratio.map_or_else(|| "1".to_owned(), |r| format!("{:.2} ({:.2}–{:.2})", r.median, r.min, r.max));
            let _ = writeln!(
                text,
                "{:<11}{:>24}{:>7.1}{:>21}{:>10.0}{:>9.0}{:>9.0}{:>6.0}%{:>6.0}%{:>8}{:>8}",
                series.proxy.name(),
                format!("{:.1} ({:.1}–{:.1})", cpu.median, cpu.min, cpu.max),
                series.summary(|s| s.user_us).median,
                ratio,
                series.summary(|s| s.requests / s.seconds).median,
                series.summary(|s| s.p50_us).median,
                series.summary(|s| s.p99_us).median,
                series.summary(|s| s.busy).median * 100.0,
                series.summary(|s| s.foreign).median * 100.0,
                series.sum(|s| s.errors),
                format!("{}+{}", series.summary(|s| s.opened_before).max, series.sum(|s| s.opened)),
            );
        }
    }
    text.push_str(
        "\nCPU: time of the proxy's processes per request, medians over the rounds; ÷ ours: in the same round.\n\
         busy, others: shares of the proxy's CPU that it and everything else used.\n\
         opened: upstream connections opened in the worst warm-up + in all windows (0: the pools were in use).\n",
    );
    text
}

/// One line per goal.
pub(crate) fn goals(all: &[Series]) -> Vec<String> {
    let lines = GOALS.iter().filter_map(|&(proxy, goal)| {
        let median = ratio(all, find(all, proxy, Case::Get1k)?)?.median;
        let verdict = if median >= goal { "holds" } else { "does not hold" };
        Some(format!("{} ÷ ours at {} ≥ {goal:.2}: {median:.2}, {verdict}", proxy.name(), Case::Get1k.title()))
    });
    lines.collect()
}

/// What clients were told that they should not have been told.
pub(crate) fn errors(all: &[Series]) -> Vec<String> {
    let failed = all.iter().filter(|series| series.sum(|s| s.errors) > 0.0);
    let lines = failed.map(|series| {
        let first = series.samples.iter().find(|s| !s.first_error.is_empty()).map_or("", |s| &s.first_error);
        let count = series.sum(|s| s.errors);
        format!("{}, {}: {count} errors, the first: {first}", series.proxy.name(), series.case.title())
    });
    lines.collect()
}

pub(crate) fn json(all: &[Series]) -> Value {
    let figures = |s: Summary| json!({ "median": s.median, "min": s.min, "max": s.max });
    let series: Vec<Value> = all
        .iter()
        .map(|series| {
            json!({
                "proxy": series.proxy.name(),
                "case": series.case.name(),
                "cpu_us": figures(series.summary(|s| s.cpu_us)),
                "user_us": figures(series.summary(|s| s.user_us)),
                "p50_us": figures(series.summary(|s| s.p50_us)),
                "p99_us": figures(series.summary(|s| s.p99_us)),
                "divided_by_ours": ratio(all, series).map(figures),
                "rounds": series.samples.iter().map(Sample::to_json).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!(series)
}

#[cfg(test)]
mod tests;
