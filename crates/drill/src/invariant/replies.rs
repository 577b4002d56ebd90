//! The same question gets the same answer.

use super::orders::named;
use super::{FinalState, Finding, Unreadable};
use crate::history::{Ending, History, Op};

/// All definite answers to one key are the same. Keys that were answered once say nothing and are not counted.
pub(super) fn equal_replies(
    history: &History,
    state: &FinalState,
    operations: &[String],
) -> Result<Finding, Unreadable> {
    let mut finding = Finding::default();
    for (key, ops) in history.by_key() {
        let definite = |op: &&Op| named(op, operations) && matches!(op.ending, Ending::Done | Ending::Refused);
        let ops: Vec<&Op> = ops.into_iter().filter(definite).collect();
        let [first, others @ ..] = ops.as_slice() else { continue };
        if others.is_empty() {
            continue;
        }
        finding.checked += 1;
        if others.iter().any(|op| (op.status, op.reply) != (first.status, first.reply)) {
            finding.breaks(state, Some(key), &ops, format!("{key} was answered in different ways"));
        }
    }
    Ok(finding)
}
