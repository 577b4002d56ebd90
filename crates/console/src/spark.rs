//! A line of the last minutes, without axes: shape, not figures.

use maud::{Markup, html};

const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;
/// More points than pixels say nothing.
const POINTS_MAX: usize = 120;

/// Draws the last [`POINTS_MAX`] of `points` in the colour of `class`; nothing without at least two.
pub(crate) fn spark(points: &[f64], class: &str) -> Markup {
    let points = &points[points.len().saturating_sub(POINTS_MAX)..];
    if points.len() < 2 {
        return html! {};
    }
    let top = points.iter().copied().filter(|p| p.is_finite()).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let step = WIDTH / (points.len() - 1) as f64;
    let mut line = String::with_capacity(points.len() * 12);
    for (i, point) in points.iter().enumerate() {
        let share = if point.is_finite() { (point / top).clamp(0.0, 1.0) } else { 0.0 };
        let y = HEIGHT - 1.5 - share * (HEIGHT - 4.0);
        line.push_str(&format!("{}{:.1} {y:.1}", if i == 0 { "M" } else { "L" }, i as f64 * step));
    }
    html! {
        svg class={ "spark " (class) } viewBox="0 0 120 24" preserveAspectRatio="none" aria-hidden="true" {
            path class="area" d={ (line) "L120 24L0 24Z" } {}
            path class="line" d=(line) {}
        }
    }
}
