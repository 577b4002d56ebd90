//! Transactions end.

use std::time::Duration;

use super::{FinalState, Finding, Unreadable};
use crate::history::History;

/// Every transaction of the run ended within `limit` of its start.
pub(super) fn terminal_within(history: &History, state: &FinalState, limit: Duration) -> Result<Finding, Unreadable> {
    let keys = history.by_key();
    let mut finding = Finding::default();
    for transaction in &state.transactions {
        let Some(ops) = keys.get(transaction.key.as_str()) else { continue };
        finding.checked += 1;
        let (id, status) = (&transaction.id, &transaction.status);
        let what = match transaction.finished_ms {
            None => format!("{id} never ended: it is '{status}'"),
            Some(end) => {
                let took = end.saturating_sub(transaction.started_ms).max(0);
                if took as u128 <= limit.as_millis() {
                    continue;
                }
                format!("{id} took {:.1} s to end as '{status}'", took as f64 / 1000.0)
            }
        };
        finding.breaks(state, Some(&transaction.key), ops, what);
    }
    Ok(finding)
}
