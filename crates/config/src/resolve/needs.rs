//! Who calls whom, and that nobody waits for himself.

use mainstay_core::ServiceName;

use super::Context;
use crate::reader::{At, Reader};

/// The services that `own` needs.
pub(super) fn of(context: &Context<'_>, reader: &Reader<'_>, own: Option<&ServiceName>) -> Vec<At<ServiceName>> {
    let mut needs: Vec<At<ServiceName>> = Vec::new();
    for At { value, spot } in reader.list("needs") {
        let Some(name) = context.service(&value, spot) else { continue };
        if Some(&name) == own {
            context.report.error(spot, format!("`{name}` needs itself"), "remove it");
        } else if needs.iter().any(|other| other.value == name) {
            context.report.error(spot, format!("`{name}` stands here a second time"), "remove one");
        } else {
            needs.push(At { value: name, spot });
        }
    }
    needs
}

/// Reports every circle once, where the last edge closes it.
pub(super) fn refuse_cycles(context: &Context<'_>, edges: &[(ServiceName, Vec<At<ServiceName>>)]) {
    let mut done = vec![false; edges.len()];
    for start in 0..edges.len() {
        // Depth-first without recursion: the path, and which need of each is looked at next.
        let mut path: Vec<(usize, usize)> = if done[start] { Vec::new() } else { vec![(start, 0)] };
        while let Some((at, next)) = path.last_mut() {
            let Some(need) = edges[*at].1.get(*next) else {
                done[*at] = true;
                path.pop();
                continue;
            };
            *next += 1;
            let Some(to) = edges.iter().position(|(name, _)| *name == need.value) else { continue };
            if let Some(first) = path.iter().position(|(on_path, _)| *on_path == to) {
                let mut names: Vec<_> = path[first..].iter().map(|(i, _)| edges[*i].0.as_str()).collect();
                names.push(need.value.as_str());
                context.report.error(
                    need.spot,
                    format!("`needs` goes in a circle: {}", names.join(" -> ")),
                    "remove one of them: which one can start without the other?",
                );
            } else if !done[to] {
                path.push((to, 0));
            }
        }
    }
}
