//! Answers against state, key by key.

use super::{FinalState, Finding, Source, Unreadable};
use crate::history::{Ending, History, Op};

/// Every answer is what the system holds.
pub(super) fn no_lost(
    history: &History,
    state: &FinalState,
    operations: &[String],
    source: &Source,
    done: &[String],
    refused: &[String],
) -> Result<Finding, Unreadable> {
    let states = source.states(state)?;
    let mut finding = Finding { vacuous: true, ..Finding::default() };
    for (key, ops) in history.by_key() {
        let ops: Vec<&Op> = ops.into_iter().filter(|op| named(op, operations)).collect();
        if !ops.iter().any(|op| op.ending.is_right()) {
            continue;
        }
        finding.checked += 1;
        finding.vacuous &= !ops.iter().any(|op| op.ending.is_acked());
        let held = states.get(key).copied();
        let is_in = |set: &[String]| held.is_some_and(|held| set.iter().any(|s| s == held));
        let wrong = ops.iter().find(|op| match op.ending {
            Ending::Done => !is_in(done),
            Ending::Accepted => !is_in(done) && !is_in(refused),
            Ending::Refused => held.is_some() && !is_in(refused),
            _ => false,
        });
        if let Some(op) = wrong {
            let promise = op.ending.as_str();
            let what = match held {
                None => format!("{key} was answered '{promise}', and the system does not know it"),
                Some(held) => format!("{key} was answered '{promise}', and the system holds it as '{held}'"),
            };
            finding.breaks(state, Some(key), &ops, what);
        }
    }
    if finding.vacuous {
        finding.note = Some("no operation was acknowledged".into());
    }
    Ok(finding)
}

/// Nothing is there that was not asked for. Only keys of this run are looked at: others are somebody else's.
pub(super) fn no_phantom(history: &History, state: &FinalState, source: &Source) -> Result<Finding, Unreadable> {
    let mut finding = Finding::default();
    let states = source.states(state)?;
    let Some(prefix) = history.key_prefix() else { return Ok(finding) };
    let keys = history.by_key();
    for (key, held) in states.range(prefix..).take_while(|(key, _)| key.starts_with(prefix)) {
        finding.checked += 1;
        let ops = keys.get(key).map_or(&[][..], Vec::as_slice);
        if ops.iter().all(|op| matches!(op.ending, Ending::NotConnected | Ending::Unsent)) {
            finding.breaks(state, Some(key), ops, format!("the system holds {key} as '{held}', and nobody sent it"));
        }
    }
    Ok(finding)
}

/// What certainly failed is not there.
pub(super) fn fail_means_no_effect(
    history: &History,
    state: &FinalState,
    operations: &[String],
    source: &Source,
    done: &[String],
) -> Result<Finding, Unreadable> {
    let states = source.states(state)?;
    let mut finding = Finding::default();
    for (key, ops) in history.by_key() {
        let ops: Vec<&Op> = ops.into_iter().filter(|op| named(op, operations)).collect();
        if ops.is_empty() || !ops.iter().all(|op| op.ending.had_no_effect()) {
            continue;
        }
        finding.checked += 1;
        if let Some(held) = states.get(key).filter(|held| done.iter().any(|s| s == *held)) {
            finding.breaks(state, Some(key), &ops, format!("{key} failed, and the system holds it as '{held}'"));
        }
    }
    Ok(finding)
}

/// Whether `op` is one of `operations`.
pub(super) fn named(op: &Op, operations: &[String]) -> bool {
    operations.iter().any(|name| **name == *op.name)
}
