//! The report for a terminal, at most 100 columns wide where the names allow it.

use std::fmt::Write;

use super::{Detection, FaultReport, Recovery, Report, Verdict, words};
use crate::invariant::{Outcome, Standing};

#[derive(Clone, Copy)]
enum Ink {
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
    /// White on the colour of the verdict.
    Badge(Verdict),
}

/// Puts colours on, or not.
#[derive(Clone, Copy)]
struct Pen {
    color: bool,
}

impl Pen {
    fn paint(self, ink: Ink, text: &str) -> String {
        if !self.color {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
            Ink::Badge(Verdict::Pass) => "1;30;42",
            Ink::Badge(Verdict::Fail) => "1;37;41",
            Ink::Badge(Verdict::Inconclusive) => "1;30;43",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// `text` in a column of `width`, on the right when `right`. Padded before it is painted: colours have no width.
    fn cell(self, ink: Option<Ink>, text: &str, width: usize, right: bool) -> String {
        let pad = " ".repeat(width.saturating_sub(text.chars().count()));
        let text = ink.map_or_else(|| text.to_owned(), |ink| self.paint(ink, text));
        if right { format!("{pad}{text}") } else { format!("{text}{pad}") }
    }
}

/// Text that came from outside must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Columns of a terminal that the report fits.
const COLUMNS_MAX: usize = 100;

/// Breaks `text` between words; later lines begin with `indent` spaces.
fn wrap(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut at = indent;
    for word in text.split(' ') {
        let len = word.chars().count();
        if at > indent && at + 1 + len > COLUMNS_MAX {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            at = indent;
        } else if at > indent {
            out.push(' ');
            at += 1;
        }
        out.push_str(word);
        at += len;
    }
    out
}

pub(super) fn render(report: &Report, color: bool) -> String {
    let pen = Pen { color };
    let mut out = String::from("\n");
    head(&mut out, pen, report);
    if report.load.due > 0 {
        levels(&mut out, pen, report);
        faults(&mut out, pen, report);
    }
    invariants(&mut out, pen, report);
    tail(&mut out, pen, report);
    out
}

/// Writing to a string cannot fail.
macro_rules! line {
    ($out:expr) => { $out.push('\n') };
    ($out:expr, $($arg:tt)*) => { let _ = writeln!($out, $($arg)*); };
}

fn head(out: &mut String, pen: Pen, report: &Report) {
    let verdict = report.verdict;
    let badge = pen.paint(Ink::Badge(verdict), &format!(" {} ", verdict.as_str()));
    let title = pen.paint(Ink::Bold, &plain(&format!("{} · {}", report.spec.app, report.spec.name)));
    let (duration, seed) = (words::ms(report.duration_ms as f64), report.spec.seed);
    line!(out, "  {badge}  {title}  {}", pen.paint(Ink::Dim, &format!("{duration} · seed {seed}")));
    line!(out, "  {}", wrap(&plain(&report.sentence()), 2));
    if report.reasons.len() > 1 {
        for reason in &report.reasons {
            let (ink, mark) = if reason.verdict == Verdict::Fail { (Ink::Red, "✗") } else { (Ink::Yellow, "?") };
            line!(out, "    {} {}", pen.paint(ink, mark), wrap(&plain(&reason.text), 6));
        }
    }
    line!(out);
}

fn levels(out: &mut String, pen: Pen, report: &Report) {
    let (levels, load) = (&report.levels, &report.load);
    let label = |text: &str| pen.paint(Ink::Dim, &format!("  {text:<14}"));
    let expected = match report.spec.expect.availability {
        Some(share) => pen.paint(Ink::Dim, &format!("   expected ≥ {share}")),
        None => String::new(),
    };
    let (under, all) = (words::percent(levels.faults.availability), words::percent(levels.all.availability));
    line!(out, "{}{} under faults   {all} in all{expected}", label("availability"), pen.paint(Ink::Bold, &under));
    let three = |of: fn(&super::Level) -> Option<f64>| {
        let parts = [&levels.baseline, &levels.faults, &levels.after];
        parts.map(|level| words::maybe_ms(of(level))).join(" → ")
    };
    let hint = pen.paint(Ink::Dim, "  before → under → after");
    line!(out, "{}p50 {}   p99 {}{hint}", label("users waited"), three(|l| l.p50_ms), three(|l| l.p99_ms));
    let unanswered = load.rejected + load.not_connected + load.unknown + load.unsent;
    line!(
        out,
        "{}{} · {} done · {} accepted · {} refused · {} not answered right",
        label("load"),
        words::things(load.due, "operation"),
        words::count(load.done),
        words::count(load.accepted),
        words::count(load.refused),
        words::count(unanswered)
    );
    line!(out);
}

/// Widths of the columns after the name of the fault.
const COLUMNS: [(&str, usize); 6] =
    [("at", 10), ("detected", 10), ("isolated", 10), ("users well", 12), ("whole again", 13), ("bad", 7)];

fn faults(out: &mut String, pen: Pen, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    let width = report.faults.iter().map(|f| f.what.chars().count()).max().unwrap_or(0).max(12);
    let mut row = pen.cell(Some(Ink::Dim), "fault", width + 5, false);
    for (name, width) in COLUMNS {
        row.push_str(&pen.cell(Some(Ink::Dim), name, width, true));
    }
    line!(out, "  {row}");
    for (n, fault) in report.faults.iter().enumerate() {
        let mut row = format!("{}  ", pen.cell(Some(Ink::Dim), &(n + 1).to_string(), 3, true));
        row.push_str(&pen.cell(None, &plain(&fault.what), width, false));
        for ((_, width), (ink, text)) in COLUMNS.iter().zip(fault_cells(fault)) {
            row.push_str(&pen.cell(ink, &text, *width, true));
        }
        line!(out, "  {row}");
    }
    let false_ones = report.false_detections;
    if false_ones > 0 {
        line!(
            out,
            "  {}",
            pen.paint(Ink::Yellow, &format!("{} that no fault explains", words::things(false_ones, "detection")))
        );
    }
    line!(out);
}

fn fault_cells(fault: &FaultReport) -> [(Option<Ink>, String); 6] {
    let detected = match fault.detected {
        Detection::Missed => Some(Ink::Red),
        Detection::Masked => Some(Ink::Green),
        _ => None,
    };
    let recovered = match fault.recovered {
        Recovery::NotRecovered => Some(Ink::Red),
        Recovery::NoHarm => Some(Ink::Green),
        _ => None,
    };
    [
        (None, fault.at_ms.map_or_else(|| "—".into(), words::at)),
        (detected, fault.detected.words()),
        (None, words::maybe_gap(fault.isolated_ms)),
        (recovered, fault.recovered.words()),
        (None, words::maybe_gap(fault.redundancy_ms)),
        ((fault.bad > 0).then_some(Ink::Yellow), words::count(fault.bad)),
    ]
}

fn invariants(out: &mut String, pen: Pen, report: &Report) {
    let width = report.invariants.iter().map(|i| i.name.chars().count()).max().unwrap_or(0);
    for outcome in &report.invariants {
        let mark = match outcome.standing {
            Standing::Held => pen.paint(Ink::Green, "✓"),
            Standing::Broken => pen.paint(Ink::Red, "✗"),
            Standing::Vacuous | Standing::Unreadable => pen.paint(Ink::Yellow, "?"),
        };
        let name = pen.cell(None, &plain(&outcome.name), width, false);
        line!(out, "  {mark} {name}  {}", plain(&outcome.words()));
        counterexample(out, pen, outcome);
    }
    if !report.invariants.is_empty() {
        let residue = plain(&words::residue(report));
        line!(out, "  {} {}  {residue}", pen.paint(Ink::Dim, "·"), pen.cell(None, "residue", width, false));
        line!(out);
    }
}

fn counterexample(out: &mut String, pen: Pen, outcome: &Outcome) {
    let Some(example) = &outcome.counterexample else { return };
    line!(out, "      {}", pen.paint(Ink::Red, &wrap(&plain(&example.what), 6)));
    if let Some(transaction) = &example.transaction {
        line!(out, "      {}", pen.paint(Ink::Dim, &plain(&format!("transaction {transaction}"))));
    }
    for operation in &example.operations {
        line!(out, "      {}", pen.paint(Ink::Dim, &plain(operation)));
    }
}

fn tail(out: &mut String, pen: Pen, report: &Report) {
    line!(out, "  {}", pen.paint(Ink::Dim, &format!("again: {}", plain(&report.spec.replay))));
}
