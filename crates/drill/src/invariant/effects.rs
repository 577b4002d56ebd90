//! How often a key had its effect.

use mainstay_core::ServiceName;
use serde_json::Value;

use super::{FinalState, Finding, Unreadable};
use crate::history::History;

/// No key of the run had its effect more than once.
pub(super) fn at_most_once(
    history: &History,
    state: &FinalState,
    service: &ServiceName,
    path: &str,
) -> Result<Finding, Unreadable> {
    let map = state.object(service, path)?;
    let mut finding = Finding::default();
    let keys = history.by_key();
    for (key, ops) in &keys {
        let Some(value) = map.get(*key) else { continue };
        let times = match value {
            Value::Number(n) => n.as_f64().unwrap_or(f64::INFINITY),
            Value::Array(list) => list.len() as f64,
            _ => {
                return Err(Unreadable(format!("{path}: '{key}' in the audit of {service} is neither count nor list")));
            }
        };
        finding.checked += 1;
        if times > 1.0 {
            finding.breaks(state, Some(key), ops, format!("{service} applied {key} {times} times"));
        }
    }
    Ok(finding)
}
