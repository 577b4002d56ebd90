//! A spec is checked as a whole and every problem is told at once: nobody fixes one line per run.

use std::time::Duration;

use mainstay_core::FAULT_TTL_MAX;

use super::{DRILL_MAX, FAULTS_MAX, Harm, OPERATIONS_MAX, Operation, Spec};
use crate::template::Template;

/// Why a spec cannot be run: all of its problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the drill cannot be run: {}", problems.join("; "))]
pub struct SpecError {
    /// One sentence each.
    pub problems: Vec<String>,
}

impl Spec {
    /// Finds everything that is wrong with the spec, without touching anything.
    pub fn check(&self) -> Result<(), SpecError> {
        let mut problems = Vec::new();
        self.check_load(&mut problems);
        self.check_faults(&mut problems);
        for operation in &self.load.mix {
            check_operation(operation, &mut problems);
        }
        for invariant in &self.invariants {
            let known = |name: &String| self.load.mix.iter().any(|o| o.name == *name);
            for name in invariant.rule.operations().iter().filter(|name| !known(name)) {
                problems.push(format!("invariant {}: no operation is called '{name}'", invariant.name));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(SpecError { problems }) }
    }

    fn check_load(&self, problems: &mut Vec<String>) {
        let load = &self.load;
        if load.mix.is_empty() || load.mix.iter().all(|o| o.share == 0) {
            problems.push("load: the mix has no operation with a share".into());
        }
        if load.in_flight_max == 0 {
            problems.push("load: in_flight_max is at least 1".into());
        }
        let longest = load.duration.0 + self.settle_max.0;
        if longest > DRILL_MAX {
            problems.push(format!("load: duration and settle_max together are at most {} s", DRILL_MAX.as_secs()));
        }
        // A tenth on top: arrivals are random.
        if load.rate.per_second() * longest.as_secs_f64() * 1.1 > OPERATIONS_MAX as f64 {
            problems.push(format!("load: {} for that long is over {OPERATIONS_MAX} operations", load.rate));
        }
        if load.duration.0 <= load.warm_up.0 {
            problems.push("load: the duration is over before the warm-up is".into());
        }
        if self.windows.window.0 < Duration::from_millis(250) {
            problems.push("windows: a window is at least 250ms wide".into());
        }
        if self.lease_ttl.0 < Duration::from_millis(300) || self.lease_ttl.0 > FAULT_TTL_MAX {
            problems.push(format!("lease_ttl: 300ms to {} s", FAULT_TTL_MAX.as_secs()));
        }
    }

    fn check_faults(&self, problems: &mut Vec<String>) {
        if self.faults.len() > FAULTS_MAX {
            problems.push(format!("faults: at most {FAULTS_MAX}"));
        }
        for (n, fault) in self.faults.iter().enumerate().map(|(n, f)| (n + 1, f)) {
            if fault.at.0 <= self.load.warm_up.0 {
                problems.push(format!("fault {n}: at {} is within the warm-up: no baseline before it", fault.at));
            }
            let end = fault.at.0 + fault.jitter.0 + fault.lasts.map_or(Duration::ZERO, |l| l.0);
            if end > self.load.duration.0 {
                problems.push(format!("fault {n}: it ends after the load, which lasts {}", self.load.duration));
            }
            match (&fault.harm, fault.lasts) {
                (Harm::Kill { .. } | Harm::KillMainstay, Some(_)) => {
                    problems.push(format!("fault {n}: a kill happens at once and does not last"));
                }
                (Harm::Freeze { .. } | Harm::Down { .. } | Harm::Edge { .. }, None) => {
                    problems.push(format!("fault {n}: how long does it last?"));
                }
                _ => {}
            }
        }
    }
}

fn check_operation(operation: &Operation, problems: &mut Vec<String>) {
    let mut refuse = |what: String| problems.push(format!("operation {}: {what}", operation.name));
    if operation.method.parse::<http::Method>().is_err() {
        refuse(format!("'{}' is not a method", operation.method));
    }
    if !operation.path.starts_with('/') {
        refuse(format!("the path '{}' does not start with /", operation.path));
    }
    if operation.answers.is_empty() {
        refuse("which answers are right?".into());
    }
    if operation.timeout.0.is_zero() || operation.timeout.0 > Duration::from_secs(120) {
        refuse("the timeout is above 0s and at most 2m".into());
    }
    let values = operation.headers.iter().map(|(_, value)| value);
    for text in values.chain([&operation.path]).chain(&operation.body) {
        if let Err(e) = Template::parse(text) {
            refuse(e.to_string());
        }
    }
    for (name, _) in &operation.headers {
        if name.parse::<http::HeaderName>().is_err() {
            refuse(format!("'{name}' is not a header name"));
        }
    }
}
