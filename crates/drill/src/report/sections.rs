//! The parts of the page below the verdict.

use maud::{Markup, html};

use super::{Detection, EventReport, FaultReport, Recovery, Report, chart, words};
use crate::invariant::{Outcome, Standing};

/// Events that are listed; the chart and `report.json` have more.
const EVENTS_SHOWN_MAX: usize = 500;

fn tile(title: &str, big: &Markup, below: &str) -> Markup {
    html! {
        section {
            h2 { (title) }
            div.big { (big) }
            p { (below) }
        }
    }
}

/// The six numbers that matter.
pub(super) fn tiles(report: &Report) -> Markup {
    let (levels, load) = (&report.levels, &report.load);
    let expected = report.spec.expect.availability.map_or_else(
        || format!("under faults · {} in all", words::percent(levels.all.availability)),
        |share| format!("under faults, expected ≥ {share} · {} in all", words::percent(levels.all.availability)),
    );
    let missed = |wanted: Option<f64>, got: Option<f64>| matches!((wanted, got), (Some(w), Some(g)) if g < w);
    let below = missed(report.spec.expect.availability.map(|s| s.ratio()), levels.faults.availability);
    let availability = if below { "red" } else { "" };
    let held = report.invariants.iter().filter(|i| i.standing == Standing::Held).count();
    let class = if held == report.invariants.len() { "green" } else { "red" };
    let invariants = html! { span class=(class) { (held) } small { " of " (report.invariants.len()) } };
    let goodput = levels.goodput_ratio.map_or_else(|| "—".into(), |r| format!("{:.0} %", r * 100.0));
    html! {
        div.tiles {
            (tile("Availability",
                &html! { span class=(availability) { (words::percent(levels.faults.availability)) } }, &expected))
            (tile("Invariants held", &invariants, &residue(report)))
            (slowest("Slowest detection", words::slowest_detection(&report.faults), "nothing had to be detected"))
            (slowest("Users well again", words::slowest_recovery(&report.faults), "no fault did users harm"))
            (tile("p99 under faults", &html! { (words::maybe_ms(levels.faults.p99_ms)) },
                &format!("{} before · {} after", words::maybe_ms(levels.baseline.p99_ms),
                    words::maybe_ms(levels.after.p99_ms))))
            (tile("Operations", &html! { (words::count(load.due)) },
                &format!("{} · goodput {goodput} of normal", report.spec.load.rate)))
        }
    }
}

fn residue(report: &Report) -> String {
    match report.residue.as_ref().map(Vec::len) {
        Some(left) if left > 0 => format!("residue: {}", words::things(left as u64, "fault")),
        _ => format!("residue: {}", words::residue(report)),
    }
}

fn slowest(title: &str, found: Option<(u64, &FaultReport)>, otherwise: &str) -> Markup {
    match found {
        None => tile(title, &html! { "—" }, otherwise),
        Some((ms, fault)) => tile(title, &html! { (words::gap(ms)) }, &fault.what),
    }
}

/// The table of faults.
pub(super) fn faults(report: &Report) -> Markup {
    let heads = ["At", "Lasted", "Detected", "Isolated", "Users well again", "Whole again", "Not good"];
    html! {
        section {
            h2 { "Faults" }
            table.faults {
                thead { tr {
                    th { "What" }
                    @for head in heads { th.n { (head) } }
                } }
                tbody {
                    @for (n, fault) in report.faults.iter().enumerate() { (fault_row(n + 1, fault, &heads)) }
                }
            }
            p.muted style="margin:10px 0 0;font-size:12px" {
                "Detected: first event that names the target. Masked: retries did what was needed, users were served "
                "within the objective and no event had to name the target. Users well again: first good window of "
                (report.spec.windows.window) " that then held " (report.spec.windows.hold) " or to the next fault. "
                (words::things(report.false_detections, "detection")) " that no fault explains."
            }
        }
    }
}

fn fault_row(n: usize, fault: &FaultReport, heads: &[&str; 7]) -> Markup {
    let lasted = match (fault.at_ms, fault.until_ms) {
        (Some(at), Some(until)) if until > at => words::gap((until - at) as u64),
        (Some(_), Some(_)) => "at once".into(),
        _ => "—".into(),
    };
    let detected = match fault.detected {
        Detection::Missed => "red",
        Detection::Masked => "green",
        _ => "",
    };
    let recovered = match fault.recovered {
        Recovery::NotRecovered => "red",
        Recovery::NoHarm => "green",
        _ => "",
    };
    let bad = format!("{} of {}", words::count(fault.bad), words::count(fault.arrivals));
    let cells = [
        ("", fault.at_ms.map_or_else(|| "—".into(), words::at)),
        ("", lasted),
        (detected, fault.detected.words()),
        ("", words::maybe_gap(fault.isolated_ms)),
        (recovered, fault.recovered.words()),
        ("", words::maybe_gap(fault.redundancy_ms)),
        (if fault.bad > 0 { "amber" } else { "" }, bad),
    ];
    html! {
        tr {
            td {
                span.num { (n) } span.what { (fault.what) }
                @if let Some(error) = &fault.error { div.amber { (error) } }
            }
            @for ((class, text), head) in cells.iter().zip(heads) {
                td.n data-label=(head) { span class=(class) { (text) } }
            }
        }
    }
}

/// What had to be true.
pub(super) fn invariants(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Invariants" }
            @for outcome in &report.invariants { (invariant(outcome)) }
            @if report.invariants.is_empty() { p.muted { "None was asked for." } }
            div.inv {
                @match report.residue.as_ref().map(|left| left.is_empty()) {
                    Some(true) => span.green { "✓" },
                    Some(false) => span.red { "✗" },
                    None => span.amber { "?" },
                }
                div { b { "residue" } div.muted { (words::residue(report)) } }
            }
        }
    }
}

fn invariant(outcome: &Outcome) -> Markup {
    let (class, mark) = match outcome.standing {
        Standing::Held => ("green", "✓"),
        Standing::Broken => ("red", "✗"),
        Standing::Vacuous | Standing::Unreadable => ("amber", "?"),
    };
    html! {
        div.inv {
            span class=(class) { (mark) }
            div {
                b { (outcome.name) }
                @if outcome.name != outcome.rule { " " span.chip { (outcome.rule) } }
                div.muted { (outcome.words()) }
                @if let Some(example) = &outcome.counterexample {
                    div.example {
                        div { (example.what) }
                        @if let Some(transaction) = &example.transaction { div.mono { "transaction " (transaction) } }
                        @for operation in &example.operations { div.mono { (operation) } }
                    }
                }
            }
        }
    }
}

/// What Mainstay did, in order.
pub(super) fn events(report: &Report) -> Markup {
    let groups = group(&report.events);
    let hidden = groups.len().saturating_sub(EVENTS_SHOWN_MAX);
    html! {
        section {
            h2 { "What Mainstay did" }
            div.events {
                @for (event, others) in groups.iter().take(EVENTS_SHOWN_MAX) { (event_line(event, *others)) }
                @if hidden > 0 { p.muted { "and " (words::things(hidden as u64, "more line")) " in report.json" } }
                @if groups.is_empty() { p.muted { "No event came." } }
            }
        }
    }
}

/// Runs of events about transactions are told once, with how many followed: an outage undoes hundreds.
fn group(events: &[EventReport]) -> Vec<(&EventReport, usize)> {
    let mut groups: Vec<(&EventReport, usize)> = Vec::new();
    for event in events {
        match groups.last_mut() {
            Some((first, others)) if first.kind == event.kind && event.kind == "transaction_compensating" => {
                *others += 1;
            }
            _ => groups.push((event, 0)),
        }
    }
    groups
}

fn event_line(event: &EventReport, others: usize) -> Markup {
    let target = event.target.as_deref().unwrap_or_default();
    let (name, rest) = match event.text.strip_prefix(target) {
        Some(rest) => (target, rest),
        None => ("", event.text.as_str()),
    };
    html! {
        div.event {
            span.mono.muted { (words::at(event.at_ms)) }
            span class={ "dot bg-" (chart::phase_class(event.phase)) } title=(chart::phase_class(event.phase)) {}
            span {
                b { (name) } span.muted { (rest) }
                @if others > 0 { " " span.muted { "(and " (others) " more)" } }
            }
            @if let Some(fault) = event.fault { span.chip { "fault " (fault) } }
        }
    }
}

/// The load and the seed.
pub(super) fn load(report: &Report) -> Markup {
    let (load, spec) = (&report.load, &report.spec);
    let rows = [
        ("Arrivals", format!("{} at {} (Poisson), open loop", words::count(load.due), spec.load.rate)),
        ("Done", words::count(load.done)),
        ("Accepted", words::count(load.accepted)),
        ("Refused, rightly", words::count(load.refused)),
        ("Wrong answers", words::count(load.rejected)),
        ("Not connected", words::count(load.not_connected)),
        ("Unknown", words::count(load.unknown)),
        ("Not sent", format!("{} · {} sent late", words::count(load.unsent), words::count(load.late))),
        ("Sent twice", words::count(load.resent)),
        ("Met a fault", words::count(load.met_faults)),
        ("Seed", spec.seed.to_string()),
    ];
    html! {
        section {
            h2 { "Load" }
            dl { @for (term, text) in rows { dt { (term) } dd { (text) } } }
        }
    }
}

/// The command that repeats it, and what the users did.
pub(super) fn again(report: &Report) -> Markup {
    html! {
        section {
            h2 { "Run it again" }
            pre { code { (report.spec.replay) } }
            p.muted {
                "The seed fixes arrivals, keys, targets and fault times. "
                code { "history.jsonl" } " has what every client did and saw, " code { "report.json" } " all of this."
            }
            h2 style="margin-top:14px" { "Mix" }
            @for operation in &report.spec.load.mix {
                div {
                    span.what { (operation.name) } " " code.muted { (operation.method) " " (operation.path) }
                    div.muted { "share " (operation.share) " · good within " (operation.objective)
                        " · given up after " (operation.timeout) }
                }
            }
        }
    }
}
