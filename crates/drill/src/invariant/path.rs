//! The part of JSON paths that audits need: `$.a.b`, `$['a-b']`, `$.list[0]`, `$.stock.*.available`, `$.list[*].n`.

use serde_json::Value;

/// A path into a JSON document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
    All,
}

/// A path that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a path: write $.name.name, $['name'], $.list[0] or * for all entries")]
pub struct PathError(pub(super) String);

impl JsonPath {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        let bad = || PathError(text.to_owned());
        let mut rest = text.trim().strip_prefix('$').ok_or_else(bad)?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix("['") {
                let (name, after) = inner.split_once("']").ok_or_else(bad)?;
                (Step::Name(name.to_owned()), after)
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']').ok_or_else(bad)?;
                let step = if index == "*" { Step::All } else { Step::Index(index.parse().map_err(|_| bad())?) };
                (step, after)
            } else {
                let inner = rest.strip_prefix('.').ok_or_else(bad)?;
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                let (name, after) = inner.split_at(end);
                if name.is_empty() || name.contains(char::is_whitespace) {
                    return Err(bad());
                }
                (if name == "*" { Step::All } else { Step::Name(name.to_owned()) }, after)
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self(steps))
    }

    /// Everything in `root` that the path leads to.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![root];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.find(value)).collect();
        }
        found
    }
}

impl Step {
    fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match (self, value) {
            (Step::Name(name), Value::Object(map)) => map.get(name).into_iter().collect(),
            (Step::Index(index), Value::Array(list)) => list.get(*index).into_iter().collect(),
            (Step::All, Value::Object(map)) => map.values().collect(),
            (Step::All, Value::Array(list)) => list.iter().collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(path: &str, expected: impl Into<Option<Value>>) {
        let doc = json!({"a": {"b-c": [1, 2, {"d": 3}], "e": 4}, "s": {"x": {"n": 5}, "y": {"n": 6}}});
        let found = JsonPath::parse(path).ok().map(|p| Value::from_iter(p.find(&doc).into_iter().cloned()));
        assert_eq!(found, expected.into(), "{path}");
    }

    #[test]
    fn paths_lead_where_they_say() {
        check("$.a.e", Some(json!([4])));
        check("$.a['b-c'][1]", Some(json!([2])));
        check("$.a.b-c[*].d", Some(json!([3])));
        check("$.s.*.n", Some(json!([5, 6])));
        check("$.nothing.there", Some(json!([])));
        for bad in ["a.b", "$a", "$.", "$[x]", "$['a", "$.a b", "$.a[1"] {
            check(bad, None);
        }
    }
}
