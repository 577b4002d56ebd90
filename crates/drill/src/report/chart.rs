//! The service level, the faults and Mainstay's decisions on one time axis, as SVG.

use maud::{Markup, html};

use super::{Report, Sample, words};
use mainstay_core::Phase;

const WIDTH: f64 = 1180.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
/// Where each band begins, and how high it is.
const NAMES_Y: f64 = 16.0;
const OK_Y: f64 = 34.0;
const OK_H: f64 = 130.0;
const WAIT_Y: f64 = 190.0;
const WAIT_H: f64 = 90.0;
const MARKS_Y: f64 = 304.0;
const LANE_H: f64 = 18.0;
const LANES: [(Phase, &str); 4] =
    [(Phase::Detect, "detect"), (Phase::Isolate, "isolate"), (Phase::Recover, "recover"), (Phase::Verify, "verify")];
const AXIS_Y: f64 = MARKS_Y + LANE_H * 4.0 + 6.0;
const HEIGHT: f64 = AXIS_Y + 20.0;

/// Points of a curve: more than this do not fit the width.
const POINTS_MAX: usize = 480;

/// Marks of one chart.
const MARKS_MAX: usize = 1500;

/// Waiting times are drawn on a logarithmic axis from 1 ms to 10 s.
const WAIT_DECADES: f64 = 4.0;

/// The word for a phase in class names.
pub(super) fn phase_class(phase: Phase) -> &'static str {
    match phase {
        Phase::Detect => "detect",
        Phase::Isolate => "isolate",
        Phase::Recover => "recover",
        Phase::Verify => "verify",
        Phase::Info => "info",
    }
}

struct Axis {
    end_ms: f64,
}

impl Axis {
    fn x(&self, at_ms: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_ms / self.end_ms).clamp(0.0, 1.0)
    }

    /// Seconds between two ticks: at most fifteen ticks.
    fn tick_s(&self) -> u64 {
        let least = self.end_ms / 1000.0 / 15.0;
        [1, 2, 5, 10, 15, 30, 60, 120, 300, 600].into_iter().find(|s| *s as f64 >= least).unwrap_or(1200)
    }
}

fn px(value: f64) -> String {
    format!("{value:.1}")
}

fn ok_y(ratio: f64) -> f64 {
    OK_Y + OK_H * (1.0 - ratio.clamp(0.0, 1.0))
}

fn wait_y(ms: f64) -> f64 {
    WAIT_Y + WAIT_H * (1.0 - (ms.max(1.0).log10() / WAIT_DECADES).clamp(0.0, 1.0))
}

/// The whole chart.
pub(super) fn chart(report: &Report) -> Markup {
    let series = thin(&report.series);
    let axis = Axis { end_ms: (report.duration_ms as f64).max(1000.0) };
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    html! {
        svg viewBox=(view) role="img" aria-label="Service level, faults and decisions over time" {
            (grid(&axis))
            (fault_spans(report, &axis))
            (curves(&series, &axis))
            (marks(report, &axis))
        }
    }
}

/// Neighbours put together until the curve has at most [`POINTS_MAX`] points.
fn thin(series: &[Sample]) -> Vec<Sample> {
    let group = series.len().div_ceil(POINTS_MAX).max(1);
    let merge = |samples: &[Sample]| Sample {
        at_ms: samples[0].at_ms,
        due: samples.iter().map(|s| s.due).sum(),
        good: samples.iter().map(|s| s.good).sum(),
        p99_ms: samples.iter().filter_map(|s| s.p99_ms).reduce(f64::max),
    };
    series.chunks(group).map(merge).collect()
}

fn grid(axis: &Axis) -> Markup {
    let (left, right) = (px(LEFT), px(WIDTH - RIGHT));
    let rule = |y: f64, label: &str| {
        html! {
            line class="grid" x1=(left) x2=(right) y1=(px(y)) y2=(px(y)) {}
            text x=(px(LEFT - 8.0)) y=(px(y + 4.0)) text-anchor="end" { (label) }
        }
    };
    let ticks = (0..).map(|n| n * axis.tick_s()).take_while(|s| *s as f64 * 1000.0 <= axis.end_ms);
    html! {
        (rule(ok_y(1.0), "100 %"))
        (rule(ok_y(0.5), "50 %"))
        (rule(ok_y(0.0), "0 %"))
        @for (ms, label) in [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s")] {
            (rule(wait_y(ms), label))
        }
        @for (n, (_, label)) in LANES.iter().enumerate() {
            (rule(MARKS_Y + LANE_H * (n as f64 + 0.5), label))
        }
        @for second in ticks {
            text x=(px(axis.x(second as f64 * 1000.0))) y=(px(AXIS_Y + 12.0)) text-anchor="middle" { (second) " s" }
        }
    }
}

fn fault_spans(report: &Report, axis: &Axis) -> Markup {
    let bottom = MARKS_Y + LANE_H * 4.0;
    let box_of = |class: &str, from: f64, to: f64| {
        html! {
            rect class=(class) x=(px(axis.x(from))) y=(px(OK_Y)) height=(px(bottom - OK_Y))
                width=(px((axis.x(to) - axis.x(from)).max(0.0))) {}
        }
    };
    let starts: Vec<f64> = report.faults.iter().filter_map(|f| f.at_ms).map(|at| at as f64).collect();
    let room = |at: f64| {
        let next = starts.iter().copied().filter(|other| *other > at).fold(axis.end_ms, f64::min);
        axis.x(next) - axis.x(at)
    };
    html! {
        @for (n, fault) in report.faults.iter().enumerate() {
            @if let Some(at) = fault.at_ms.map(|at| at as f64) {
                @let until = fault.until_ms.map_or(axis.end_ms, |until| until as f64);
                @let whole = fault.redundancy_ms.map_or(until, |ms| at + ms as f64).max(until);
                (box_of("heal", until, whole))
                (box_of("shade", at, until))
                line class="edge" x1=(px(axis.x(at))) x2=(px(axis.x(at))) y1=(px(OK_Y - 8.0)) y2=(px(bottom)) {}
                @let label = if room(at) > 6.2 * (fault.what.chars().count() as f64 + 3.0) {
                    format!("{} {}", n + 1, fault.what)
                } else {
                    (n + 1).to_string()
                };
                text class="name" x=(px(axis.x(at))) y=(px(NAMES_Y)) { (label) title { (fault.what) } }
            }
        }
        @if let Some(clear) = cleared_at(report) {
            line class="clear" x1=(px(axis.x(clear))) x2=(px(axis.x(clear))) y1=(px(OK_Y - 8.0)) y2=(px(bottom)) {
                title { "all faults removed" }
            }
        }
    }
}

fn cleared_at(report: &Report) -> Option<f64> {
    report.phases.iter().find(|(phase, _)| *phase == crate::DrillPhase::Settle).map(|(_, at)| *at as f64)
}

fn curves(series: &[Sample], axis: &Axis) -> Markup {
    let width = series.get(1).map_or(250, |s| s.at_ms) as f64;
    let middle = |s: &Sample| axis.x(s.at_ms as f64 + width / 2.0);
    let served = |s: &&Sample| s.due > 0;
    let ok: Vec<(f64, f64)> =
        series.iter().filter(served).map(|s| (middle(s), ok_y(f64::from(s.good) / f64::from(s.due)))).collect();
    let wait: Vec<(f64, f64)> = series.iter().filter_map(|s| s.p99_ms.map(|p99| (middle(s), wait_y(p99)))).collect();
    let fill = match (ok.first(), ok.last()) {
        (Some(first), Some(last)) => {
            let floor = px(ok_y(0.0));
            format!("{}L{} {floor}L{} {floor}Z", path(&ok), px(last.0), px(first.0))
        }
        _ => String::new(),
    };
    let missing = match (ok.first(), ok.last()) {
        (Some(first), Some(last)) => {
            let top = px(ok_y(1.0));
            format!("{}L{} {top}L{} {top}Z", path(&ok), px(last.0), px(first.0))
        }
        _ => String::new(),
    };
    html! {
        path class="badfill" d=(missing) {}
        path class="okfill" d=(fill) {}
        path class="ok" d=(path(&ok)) {}
        path class="wait" d=(path(&wait)) {}
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let step = |(n, (x, y)): (usize, &(f64, f64))| format!("{}{x:.1} {y:.1}", if n == 0 { 'M' } else { 'L' });
    points.iter().enumerate().map(step).collect()
}

fn marks(report: &Report, axis: &Axis) -> Markup {
    let lane = |phase: Phase| LANES.iter().position(|(of, _)| *of == phase);
    let marks = report.events.iter().filter_map(|e| lane(e.phase).map(|lane| (lane, e))).take(MARKS_MAX);
    html! {
        @for (lane, event) in marks {
            circle class={ "dot-" (phase_class(event.phase)) } r="4.2" cx=(px(axis.x(event.at_ms as f64)))
                cy=(px(MARKS_Y + LANE_H * (lane as f64 + 0.5))) {
                title { (words::at(event.at_ms)) " " (event.text) }
            }
        }
    }
}
