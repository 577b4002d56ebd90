//! Sums over audits: `inventory:$.totals.available + inventory:$.totals.sold`, `order:$.completed - 3`.

use std::fmt;
use std::str::FromStr;

use mainstay_core::ServiceName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{FinalState, Finding, JsonPath, PathError, Unreadable};

/// Numbers of audits added up. A path with `*` stands for the sum of all that it leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Sum {
    text: String,
    terms: Vec<(f64, Term)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    Number(f64),
    Path(ServiceName, JsonPath),
}

impl FromStr for Sum {
    type Err = PathError;

    /// Terms are split at ` + ` and ` - `, with the spaces: a dash may be a part of a name.
    fn from_str(text: &str) -> Result<Self, PathError> {
        let mut terms = Vec::new();
        let mut sign = 1.0;
        for word in text.split_whitespace() {
            match word {
                "+" => sign = 1.0,
                "-" => sign = -1.0,
                _ => terms.push((sign, read_term(word)?)),
            }
        }
        let words = text.split_whitespace().count();
        // Terms and signs take turns, or something was left out.
        if terms.is_empty() || words != terms.len() * 2 - 1 {
            return Err(PathError(text.to_owned()));
        }
        Ok(Self { text: text.to_owned(), terms })
    }
}

fn read_term(word: &str) -> Result<Term, PathError> {
    let bad = || PathError(word.to_owned());
    if let Ok(number) = word.parse() {
        return Ok(Term::Number(number));
    }
    let (service, path) = word.split_once(':').ok_or_else(bad)?;
    Ok(Term::Path(service.parse().map_err(|_| bad())?, JsonPath::parse(path)?))
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Sum {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Sum {
    fn value(&self, state: &FinalState) -> Result<f64, Unreadable> {
        let mut sum = 0.0;
        for (sign, term) in &self.terms {
            sum += sign
                * match term {
                    Term::Number(number) => *number,
                    Term::Path(service, path) => numbers(state, service, path, &self.text)?.iter().sum::<f64>(),
                };
        }
        Ok(sum)
    }
}

fn numbers(state: &FinalState, service: &ServiceName, path: &JsonPath, text: &str) -> Result<Vec<f64>, Unreadable> {
    let found = path.find(state.audit(service)?);
    if found.is_empty() {
        return Err(Unreadable(format!("'{text}' leads to nothing in the audit of {service}")));
    }
    let number = |value: &serde_json::Value| value.as_f64();
    let numbers: Option<Vec<f64>> = found.into_iter().map(number).collect();
    numbers
        .ok_or_else(|| Unreadable(format!("'{text}' leads to something that is no number in the audit of {service}")))
}

/// Two sums are equal.
pub(super) fn conserved(state: &FinalState, left: &Sum, right: &Sum) -> Result<Finding, Unreadable> {
    let (l, r) = (left.value(state)?, right.value(state)?);
    let mut finding = Finding { checked: 1, note: Some(format!("{l} = {r}")), ..Finding::default() };
    if l != r {
        finding.note = Some(format!("{l} ≠ {r}"));
        finding.breaks(state, None, &[], format!("{left} is {l}, and {right} is {r}: off by {}", l - r));
    }
    Ok(finding)
}

/// No number is below `min`.
pub(super) fn at_least(state: &FinalState, service: &ServiceName, path: &str, min: i64) -> Result<Finding, Unreadable> {
    let parsed = JsonPath::parse(path).map_err(|e| Unreadable(e.to_string()))?;
    let mut finding = Finding::default();
    let mut lowest = f64::INFINITY;
    for number in numbers(state, service, &parsed, path)? {
        finding.checked += 1;
        lowest = lowest.min(number);
        if number < min as f64 {
            finding.breaks(state, None, &[], format!("{path} in the audit of {service} is {number}, below {min}"));
        }
    }
    finding.note = Some(format!("lowest {lowest}"));
    Ok(finding)
}
