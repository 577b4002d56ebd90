//! The report as one page: no script, no font, no picture from elsewhere; light and dark; readable on a phone.
//!
//! Everything that is put in goes through maud, which escapes it; only the style sheet is ours as it stands.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Report, Verdict, chart, sections, words};

const STYLE: &str = include_str!("style.css");

pub(super) fn render(report: &Report) -> String {
    let title = format!("{}: {} · {}", report.verdict.as_str(), report.spec.app, report.spec.name);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    b { "⚓ Mainstay" }
                    span { "Drill " b { (report.spec.name) } " of " (report.spec.app) }
                    span.end { (utc(report.started)) " · seed " code { (report.spec.seed) } }
                }
                main {
                    (verdict(report))
                    @if report.load.due > 0 {
                        (sections::tiles(report))
                        (curve(report))
                        (sections::faults(report))
                    }
                    div.two {
                        div.stack { (sections::invariants(report)) (sections::load(report)) }
                        div.stack { (sections::events(report)) (sections::again(report)) }
                    }
                    footer { "Computed from what the clients saw, what the services hold, and Mainstay's events." }
                }
            }
        }
    };
    page.into_string()
}

fn verdict(report: &Report) -> Markup {
    let class = match report.verdict {
        Verdict::Pass => "verdict pass",
        Verdict::Fail => "verdict fail",
        Verdict::Inconclusive => "verdict inconclusive",
    };
    html! {
        section class=(class) {
            span.badge { (report.verdict.as_str()) }
            div {
                h1 { (report.sentence()) }
                @if report.reasons.len() > 1 {
                    ul {
                        @for reason in &report.reasons {
                            li { b { (reason.verdict.as_str()) } " " (reason.text) }
                        }
                    }
                }
            }
        }
    }
}

fn curve(report: &Report) -> Markup {
    let boxes = [("s1", "fault in force"), ("s2", "until every replica was back")];
    let dots = [("detect", "detected"), ("isolate", "isolated"), ("recover", "recovering"), ("verify", "verified")];
    html! {
        section {
            h2 { "Good answers, and the time users waited (p99), per 250 ms · Mainstay's decisions" }
            div.wide { (chart::chart(report)) }
            div.legend {
                @for (class, label) in boxes {
                    span { i class={ "box " (class) } {} (label) }
                }
                @for (class, label) in dots {
                    span { i class={ "bg-" (class) } {} (label) }
                }
                span { "dashed: all faults removed at " (cleared(report)) }
            }
        }
    }
}

fn cleared(report: &Report) -> String {
    let settle = report.phases.iter().find(|(phase, _)| *phase == crate::DrillPhase::Settle);
    settle.map_or_else(|| "—".into(), |(_, at)| words::at(*at))
}

/// `2026-11-23 20:06:27 UTC`, by Howard Hinnant's `civil_from_days`.
fn utc(wall_ms: i64) -> String {
    let seconds = wall_ms.div_euclid(1000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_right() {
        for (ms, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_795_464_387_999, "2026-11-23 20:06:27 UTC"),
        ] {
            assert_eq!(super::utc(ms), expected);
        }
    }
}
