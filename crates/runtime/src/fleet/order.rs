//! The order of starting and stopping, from `needs`.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::ServiceName;

use crate::error::SpecError;
use crate::spec::ServiceSpec;

/// Refuses a set of specs that could not run: two of a name, needs that are not there, circles.
pub(crate) fn check(specs: &[ServiceSpec]) -> Result<(), SpecError> {
    let mut needs: BTreeMap<&ServiceName, &[ServiceName]> = BTreeMap::new();
    for spec in specs {
        if needs.insert(&spec.name, &spec.needs).is_some() {
            return Err(SpecError::Duplicate { service: spec.name.clone() });
        }
    }
    for spec in specs {
        if let Some(unknown) = spec.needs.iter().find(|n| !needs.contains_key(n)) {
            return Err(SpecError::UnknownNeed { service: spec.name.clone(), needs: unknown.clone() });
        }
    }
    let mut done = BTreeSet::new();
    for name in needs.keys() {
        visit(name, &needs, &mut Vec::new(), &mut done)?;
    }
    Ok(())
}

fn visit<'a>(
    name: &'a ServiceName,
    needs: &BTreeMap<&'a ServiceName, &'a [ServiceName]>,
    path: &mut Vec<&'a ServiceName>,
    done: &mut BTreeSet<&'a ServiceName>,
) -> Result<(), SpecError> {
    if let Some(at) = path.iter().position(|p| *p == name) {
        let circle: Vec<&str> = path[at..].iter().chain([&name]).map(|n| n.as_str()).collect();
        return Err(SpecError::Cycle { circle: circle.join(" → ") });
    }
    if done.contains(name) {
        return Ok(());
    }
    path.push(name);
    for next in needs.get(name).copied().unwrap_or_default() {
        visit(next, needs, path, done)?;
    }
    path.pop();
    done.insert(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `order: inventory payment, inventory:` and the error, or nothing.
    #[track_caller]
    fn case(text: &str, error: &str) {
        let name = |n: &str| ServiceName::new(n.trim()).unwrap();
        let specs: Vec<ServiceSpec> = text
            .split(',')
            .map(|line| {
                let (service, needs) = line.split_once(':').unwrap();
                let needs = needs.split_whitespace().map(name).collect();
                ServiceSpec { needs, ..ServiceSpec::new(name(service), vec!["x".to_owned()], "/") }
            })
            .collect();
        assert_eq!(check(&specs).err().map(|e| e.to_string()).unwrap_or_default(), error, "{text}");
    }

    #[test]
    fn what_could_never_start_is_refused() {
        case("order: inventory payment, inventory:, payment:", "");
        case("a: b c, b: d, c: d, d:", "");
        case("a:, a:", "service 'a' is there twice");
        case("a: b", "service 'a' needs 'b', and there is no such service");
        case("a: a", "services need each other in a circle: a → a");
        case("a: b, b: c, c: b", "services need each other in a circle: b → c → b");
    }
}
