//! What each policy costs a call that passes: one task without competition, an inner service that does nothing, polled
//! by hand. Ours and the best-known libraries take turns in the same run, so that ratios hold where the machine
//! changes its speed; what a policy costs is its row less that of the bare service.
//!
//! `cargo bench -p mainstay-policy` (a minute), `-- --quick` (to see that it works, not to quote), `-- --json`,
//! `-- breaker` (only the comparisons with that in their title).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench is a program for developers")]

mod anchors;
mod harness;
mod ours;

use harness::{Effort, Figures, Subject};

/// What a subject of ours must hold.
#[derive(Clone, Copy, Default)]
struct Hold {
    nanos_max: Option<f64>,
    allocations_max: Option<f64>,
    /// Throughput of two tasks on two cores, in throughputs of one.
    two_tasks_min: Option<f64>,
}

impl Hold {
    const NOTHING: Self = Self { nanos_max: None, allocations_max: None, two_tasks_min: None };

    const fn nanos(max: f64) -> Self {
        Self { nanos_max: Some(max), ..Self::NOTHING }
    }

    fn verdict(self, figures: &Figures) -> &'static str {
        let fine = [
            self.nanos_max.map(|max| figures.nanos <= max),
            self.allocations_max.map(|max| figures.allocations <= max),
            self.two_tasks_min.map(|min| figures.two_tasks.is_none_or(|ratio| ratio >= min)),
        ];
        if fine.iter().all(Option::is_none) {
            ""
        } else if fine.into_iter().flatten().all(|fine| fine) {
            "held"
        } else {
            "MISSED"
        }
    }
}

impl std::fmt::Display for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let parts = [
            self.nanos_max.map(|max| format!("≤ {max} ns")),
            self.allocations_max.map(|_| "no allocation".to_owned()),
            self.two_tasks_min.map(|min| format!("≥ {min} ×")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Subjects that do the same job. The first is ours.
struct Comparison {
    title: &'static str,
    hold: Hold,
    subjects: Vec<Subject>,
}

fn comparisons() -> Vec<Comparison> {
    let no_allocation = Hold { allocations_max: Some(0.0), ..Hold::NOTHING };
    vec![
        Comparison { title: "nothing", hold: Hold::NOTHING, subjects: vec![ours::nothing()] },
        Comparison {
            title: "breaker, closed",
            hold: Hold { nanos_max: Some(25.0), two_tasks_min: Some(1.6), ..no_allocation },
            subjects: vec![ours::breaker_closed(), anchors::resilience_breaker(false), anchors::failsafe(false)],
        },
        Comparison {
            title: "breaker, open",
            hold: Hold::nanos(20.0),
            subjects: vec![ours::breaker_open(), anchors::resilience_breaker(true), anchors::failsafe(true)],
        },
        Comparison {
            title: "retry + budget, success",
            hold: Hold::nanos(12.0),
            subjects: vec![ours::retry(), anchors::tower_retry(), anchors::resilience_retry()],
        },
        Comparison {
            title: "timeout",
            hold: Hold::nanos(15.0),
            subjects: vec![ours::timeout(), anchors::tower_timeout(), anchors::resilience_timeout()],
        },
        Comparison {
            title: "bulkhead",
            hold: Hold::nanos(15.0),
            subjects: vec![ours::bulkhead(), anchors::tower_limit(), anchors::resilience_bulkhead()],
        },
        Comparison { title: "adaptive limit", hold: Hold::NOTHING, subjects: vec![ours::limit()] },
        Comparison {
            title: "rate limit, direct",
            hold: Hold::nanos(12.0),
            subjects: vec![
                ours::rate_limit(),
                ours::rate_limit_layer(),
                anchors::governor_direct(),
                anchors::resilience_rate_limit(),
            ],
        },
        Comparison {
            title: "rate limit, 1000 keys",
            hold: Hold::nanos(35.0),
            subjects: vec![ours::rate_limit_keyed(), anchors::governor_keyed()],
        },
        Comparison {
            title: "a stack",
            hold: Hold { nanos_max: Some(150.0), ..no_allocation },
            subjects: vec![ours::stack(), anchors::resilience_stack(), anchors::tower_stack()],
        },
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let has = |flag: &str| arguments.iter().any(|a| a == flag);
    let words: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let effort = if has("--quick") { Effort::QUICK } else { Effort::FULL };
    // Timers want a runtime to be made in, though none of them is ever waited for.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();

    let all: Vec<Comparison> = comparisons()
        .into_iter()
        .filter(|c| words.is_empty() || words.iter().any(|word| c.title.contains(word.as_str())))
        .collect();
    let subjects: Vec<&Subject> = all.iter().flat_map(|c| &c.subjects).collect();
    let mut figures = harness::measure(&subjects, effort, runtime.handle()).into_iter();
    let results: Vec<(&Comparison, Vec<Figures>)> =
        all.iter().map(|c| (c, figures.by_ref().take(c.subjects.len()).collect())).collect();
    if has("--json") { print_json(&results) } else { print_table(&results) }
}

fn print_table(results: &[(&Comparison, Vec<Figures>)]) {
    println!("{:<30} {:<58} {:>8} {:>8} {:>8} {:>9}  to hold", "", "", "ns/call", "least", "allocs", "two tasks");
    for (comparison, figures) in results {
        for (n, (subject, figures)) in comparison.subjects.iter().zip(figures).enumerate() {
            let (title, target, verdict) = match n {
                0 => (comparison.title, comparison.hold.to_string(), comparison.hold.verdict(figures)),
                _ => ("", String::new(), ""),
            };
            println!(
                "{title:<30} {:<58} {:>8.1} {:>8.1} {:>8.2} {:>9}  {target} {verdict}",
                subject.name,
                figures.nanos,
                figures.least,
                figures.allocations,
                figures.two_tasks.map_or_else(String::new, |ratio| format!("{ratio:.2} ×")),
            );
        }
    }
}

fn print_json(results: &[(&Comparison, Vec<Figures>)]) {
    let rows = results.iter().flat_map(|(comparison, figures)| {
        comparison.subjects.iter().zip(figures).enumerate().map(|(n, (subject, figures))| {
            serde_json::json!({
                "what": comparison.title,
                "who": subject.name,
                "nanos": figures.nanos,
                "nanos_least": figures.least,
                "allocations": figures.allocations,
                "two_tasks": figures.two_tasks,
                "hold": (n == 0).then(|| comparison.hold.to_string()),
                "verdict": (n == 0).then(|| comparison.hold.verdict(figures)),
            })
        })
    });
    println!("{}", serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap());
}
