//! Who calls whom: columns by distance from the users, width by traffic, colour by success.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use crate::format;
use crate::services::dot;
use crate::verdict::{Level, level_of};
use crate::view::{EdgeView, View};

/// Nodes and lines that are drawn; a picture of more would help nobody.
const NODES_MAX: usize = 24;
const EDGES_MAX: usize = 60;

const NODE_WIDTH: f64 = 148.0;
const NODE_HEIGHT: f64 = 48.0;
const COLUMN: f64 = 300.0;
const ROW: f64 = 108.0;

pub(crate) fn calls(view: &View) -> Markup {
    let edges: Vec<&EdgeView> = view.edges.iter().take(EDGES_MAX).collect();
    let places = layout(&edges);
    if places.is_empty() {
        return html! { p class="empty" { "No calls between services are known. Name them with " code { "needs:" } " in mainstay.yaml" } };
    }
    let columns = places.values().map(|place| place.0).max().unwrap_or(0);
    let rows = places.values().map(|place| place.2).max().unwrap_or(1);
    let (width, height) = (columns as f64 * COLUMN + NODE_WIDTH + 4.0, rows as f64 * ROW);
    let at = |name: &str| {
        places
            .get(name)
            .map(|(column, row, of)| (2.0 + *column as f64 * COLUMN, (*row as f64 + 0.5) * height / *of as f64))
    };
    let busiest = edges.iter().map(|edge| edge.rate).fold(1.0, f64::max);
    html! {
        div class="scroll" tabindex="0" role="img" aria-label=(words(&edges)) {
            svg class="calls" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) {
                @for edge in &edges {
                    @if let (Some((x1, y1)), Some((x2, y2))) = (at(&edge.caller), at(&edge.callee)) {
                        @let (x1, bend) = (x1 + NODE_WIDTH, (x2 - x1 - NODE_WIDTH) / 2.0);
                        path class={ "edge " (health(edge).class()) } stroke-width=(format!("{:.1}", 1.5 + 3.5 * edge.rate / busiest))
                            d=(format!("M{x1:.0} {y1:.0}C{:.0} {y1:.0} {:.0} {y2:.0} {x2:.0} {y2:.0}", x1 + bend, x2 - bend)) {}
                        @let (lx, ly) = label_at((x1, y1), (x2, y2));
                        text class="label" x=(format!("{lx:.0}")) y=(format!("{ly:.0}")) { (label(edge)) }
                    }
                }
                @for name in places.keys() {
                    @if let Some((x, y)) = at(name) { (node(view, name, x, y)) }
                }
            }
        }
    }
}

fn node(view: &View, name: &str, x: f64, y: f64) -> Markup {
    let service = view.services.iter().find(|service| service.name == name);
    let level = service.map_or(Level::Good, level_of);
    let note = match service {
        Some(service) => format!("{}/{} ready", service.ready(), service.replicas.len()),
        None if name == "ingress" => "users".to_owned(),
        None => "Mainstay".to_owned(),
    };
    html! {
        g transform=(format!("translate({x:.0} {:.0})", y - NODE_HEIGHT / 2.0)) {
            rect class={ "node " (level.class()) } width=(NODE_WIDTH) height=(NODE_HEIGHT) rx="9" {}
            svg x="12" y="12" width="10" height="10" { (dot(level)) }
            text class="title" x="30" y="21" { (short(name)) }
            text class="sub" x="30" y="37" { (note) }
        }
    }
}

/// Where the line arrives it is level, so there the label is clear of it: above, or below when the line comes from above.
fn label_at((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> (f64, f64) {
    let below = y2 > y1 + 1.0;
    ((x1 + x2) / 2.0 + if (y2 - y1).abs() > 1.0 { 18.0 } else { 0.0 }, if below { y2 + 18.0 } else { y2 - 9.0 })
}

fn short(name: &str) -> String {
    const LETTERS_MAX: usize = 14;
    if name.chars().count() <= LETTERS_MAX {
        name.to_owned()
    } else {
        name.chars().take(LETTERS_MAX - 1).chain(['…']).collect()
    }
}

fn health(edge: &EdgeView) -> Level {
    match edge.success {
        None => Level::Idle,
        Some(share) if share < 0.99 => Level::Bad,
        Some(share) if share < 0.999 => Level::Warn,
        Some(_) => Level::Good,
    }
}

fn label(edge: &EdgeView) -> String {
    let mut label = format!("{}/s", format::rate(edge.rate));
    if let Some(success) = edge.success.filter(|success| *success < 0.999) {
        label.push_str(&format!(" · {} fail", format::failing(success)));
    }
    label
}

/// The picture for those who do not see it.
fn words(edges: &[&EdgeView]) -> String {
    edges
        .iter()
        .map(|edge| format!("{} calls {}, {}", edge.caller, edge.callee, label(edge)))
        .collect::<Vec<_>>()
        .join("; ")
}

/// Where each node stands: (column, row, rows of its column).
fn layout<'a>(edges: &[&'a EdgeView]) -> BTreeMap<&'a str, (usize, usize, usize)> {
    let names: BTreeSet<&str> =
        edges.iter().flat_map(|edge| [edge.caller.as_str(), edge.callee.as_str()]).take(NODES_MAX * 2).collect();
    let mut column: BTreeMap<&str, usize> = names.into_iter().take(NODES_MAX).map(|name| (name, 0)).collect();
    // The longest way from a caller that nobody calls. As many rounds as there are nodes, so that a cycle ends too.
    for _ in 0..column.len() {
        for edge in edges {
            let (Some(from), Some(to)) = (column.get(edge.caller.as_str()), column.get(edge.callee.as_str())) else {
                continue;
            };
            let next = (from + 1).min(column.len() - 1);
            if *to < next {
                column.insert(edge.callee.as_str(), next);
            }
        }
    }
    let mut in_column: BTreeMap<usize, usize> = BTreeMap::new();
    let rows: Vec<(&str, usize, usize)> = column
        .iter()
        .map(|(name, at)| {
            let row = in_column.entry(*at).or_default();
            *row += 1;
            (*name, *at, *row - 1)
        })
        .collect();
    rows.into_iter().map(|(name, at, row)| (name, (at, row, in_column[&at]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(caller: &str, callee: &str) -> EdgeView {
        EdgeView { caller: caller.to_owned(), callee: callee.to_owned(), ..EdgeView::default() }
    }

    #[test]
    fn callers_stand_left_of_whom_they_call() {
        let edges = [
            edge("ingress", "order"),
            edge("order", "payment"),
            edge("order", "inventory"),
            edge("ingress", "payment"),
        ];
        let places = layout(&edges.iter().collect::<Vec<_>>());
        assert_eq!(places["ingress"], (0, 0, 1));
        assert_eq!(places["order"], (1, 0, 1));
        assert_eq!((places["inventory"], places["payment"]), ((2, 0, 2), (2, 1, 2)));
    }

    #[test]
    fn a_cycle_is_drawn_and_ends() {
        let edges = [edge("a", "b"), edge("b", "a"), edge("b", "b")];
        let places = layout(&edges.iter().collect::<Vec<_>>());
        assert_eq!(places.len(), 2);
        let view = View { edges: edges.to_vec(), ..View::default() };
        assert!(calls(&view).into_string().contains("<svg"));
    }
}
