//! What a transaction consists of, checked once where it enters.
//!
//! A definition is stored with the transactions that were started under it, because a transaction that was begun by
//! yesterday's file must be finished, or undone, by yesterday's steps.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mainstay_core::ServiceName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most steps of one transaction.
pub const STEPS_MAX: usize = 256;
/// Longest deadline.
pub const DEADLINE_MAX: Duration = Duration::from_secs(365 * 86_400);
/// How long a compensation is tried before a person is asked, where the file does not say.
pub const STUCK_AFTER: Duration = Duration::from_secs(300);

/// Longest name of a transaction or a step: both travel in headers and idempotency keys.
const NAME_LEN_MAX: usize = 64;
/// Longest path of a call.
const PATH_LEN_MAX: usize = 2048;
/// What stands for the key in a path.
const KEY: &str = "{key}";

/// Why a definition was refused, and how it is written right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct DefinitionError {
    /// Where: `checkout`, `checkout.steps.charge`, or the text of a call.
    pub place: String,
    /// What is wrong, and the fix.
    pub why: String,
}

fn refuse<T>(place: impl Into<String>, why: impl Into<String>) -> Result<T, DefinitionError> {
    Err(DefinitionError { place: place.into(), why: why.into() })
}

/// How a transaction keeps its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Steps in order, each with a call that undoes it.
    Saga,
}

/// One transaction as it is defined: its name, its limits and its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Definition {
    name: String,
    kind: Kind,
    deadline_ms: u64,
    stuck_after_ms: u64,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Written {
    name: String,
    kind: Kind,
    deadline_ms: u64,
    stuck_after_ms: u64,
    steps: Vec<Step>,
}

impl TryFrom<Written> for Definition {
    type Error = DefinitionError;
    fn try_from(w: Written) -> Result<Self, DefinitionError> {
        let Kind::Saga = w.kind;
        Self::saga(w.name, Duration::from_millis(w.deadline_ms), Duration::from_millis(w.stuck_after_ms), w.steps)
    }
}

/// One step: what it does, what undoes it, and whether it is the point of no return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Unique within the transaction.
    pub name: String,
    /// The call that does it.
    pub call: CallTemplate,
    /// The call that undoes it; none where there is nothing to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<CallTemplate>,
    /// After this step there is only forward.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pivot: bool,
}

impl Definition {
    /// Checks and keeps a saga: 1 to [`STEPS_MAX`] steps with unique names, at most one pivot.
    pub fn saga(
        name: impl Into<String>,
        deadline: Duration,
        stuck_after: Duration,
        steps: Vec<Step>,
    ) -> Result<Self, DefinitionError> {
        let name = name.into();
        check_name(&name, "a transaction")?;
        if steps.is_empty() || steps.len() > STEPS_MAX {
            return refuse(&name, format!("a transaction has 1 to {STEPS_MAX} steps, this has {}", steps.len()));
        }
        for (what, span) in [("deadline", deadline), ("stuck_after", stuck_after)] {
            if span.is_zero() || span > DEADLINE_MAX {
                return refuse(&name, format!("{what} must be above zero and at most 365d"));
            }
        }
        for (i, step) in steps.iter().enumerate() {
            check_name(&step.name, "a step")?;
            if steps[..i].iter().any(|s| s.name == step.name) {
                return refuse(format!("{name}.steps.{}", step.name), "another step has this name");
            }
            if step.pivot && steps[..i].iter().any(|s| s.pivot) {
                return refuse(format!("{name}.steps.{}", step.name), "only one step can be the pivot");
            }
        }
        Ok(Self {
            name,
            kind: Kind::Saga,
            deadline_ms: deadline.as_millis() as u64,
            stuck_after_ms: stuck_after.as_millis() as u64,
            steps,
        })
    }

    /// What it is started by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it keeps its promise.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How long it may go forward: after that it is undone, or, past its pivot, an alarm is raised.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// How long one compensation is tried before a person is asked.
    pub fn stuck_after(&self) -> Duration {
        Duration::from_millis(self.stuck_after_ms)
    }

    /// The steps, in order; never empty.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }
}

fn check_name(name: &str, what: &str) -> Result<(), DefinitionError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > NAME_LEN_MAX || !name.chars().all(fine) {
        return refuse(
            name.chars().take(NAME_LEN_MAX).collect::<String>(),
            format!("{what} is named with 1 to {NAME_LEN_MAX} letters, digits, dashes and underscores"),
        );
    }
    Ok(())
}

/// A call with a place for the key: `POST order/orders/{key}/cancel`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTemplate {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: http::Method,
    /// Whom to call.
    pub service: ServiceName,
    /// From the slash on, `{key}` not yet filled in.
    pub path: String,
}

impl CallTemplate {
    /// The path with `{key}` filled in, percent-encoded: whatever the key is, it stays within its segment or value.
    pub fn path_for(&self, key: &str) -> String {
        if self.path.contains(KEY) { self.path.replace(KEY, &percent_encoded(key)) } else { self.path.clone() }
    }
}

/// Everything but the unreserved characters of RFC 3986, section 2.3.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

impl FromStr for CallTemplate {
    type Err = DefinitionError;
    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        let place = || text.chars().take(NAME_LEN_MAX).collect::<String>();
        let Some((method, target)) = text.split_once(' ') else {
            return refuse(place(), "write a method and a target, such as POST inventory/reservations");
        };
        let method = match method {
            "GET" => http::Method::GET,
            "POST" => http::Method::POST,
            "PUT" => http::Method::PUT,
            "PATCH" => http::Method::PATCH,
            "DELETE" => http::Method::DELETE,
            _ => return refuse(place(), "the method is GET, POST, PUT, PATCH or DELETE, in capitals"),
        };
        let target = target.trim();
        let at = target.find('/').unwrap_or(target.len());
        let (service, path) = target.split_at(at);
        let service = ServiceName::new(service)
            .or_else(|e| refuse(place(), format!("{e}; write service/path, such as inventory/reservations")))?;
        let path = if path.is_empty() { "/" } else { path };
        let plain = path.replace(KEY, "");
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%".contains(c);
        if path.len() > PATH_LEN_MAX || !plain.chars().all(allowed) {
            return refuse(place(), "a path has only characters of a URL, and {key} where the key belongs");
        }
        let route = plain.split('?').next().unwrap_or_default();
        if route.split('/').any(|s| s == "." || s == "..") {
            return refuse(place(), "a path has no . and .. segments");
        }
        Ok(Self { method, service, path: path.to_string() })
    }
}

impl fmt::Display for CallTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.service, self.path)
    }
}

impl Serialize for CallTemplate {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CallTemplate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, pivot: bool) -> Step {
        Step { name: name.into(), call: "POST order/orders".parse().unwrap(), undo: None, pivot }
    }

    fn saga(steps: Vec<Step>) -> Result<Definition, DefinitionError> {
        Definition::saga("checkout", Duration::from_secs(30), STUCK_AFTER, steps)
    }

    #[test]
    fn a_call_reads_back_as_it_is_written() {
        for text in ["POST order/orders", "DELETE inventory/reservations/{key}", "GET pay/x?id={key}&all=1", "PUT a/"] {
            assert_eq!(text.parse::<CallTemplate>().map(|c| c.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("GET order".parse::<CallTemplate>().unwrap().path, "/");
        for bad in
            ["", "POST", "post a/b", "TRACE a/b", "POST A/b", "POST a/b c", "POST a/{id}", "POST a/../b", "POST /x"]
        {
            assert!(bad.parse::<CallTemplate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_never_leaves_its_segment() {
        let call: CallTemplate = "POST order/orders/{key}/cancel".parse().unwrap();
        let check = |key: &str, path: &str| assert_eq!(call.path_for(key), path);
        check("o-1_a.b~c", "/orders/o-1_a.b~c/cancel");
        check("../../charges", "/orders/..%2F..%2Fcharges/cancel");
        check("a?b#c&d=e", "/orders/a%3Fb%23c%26d%3De/cancel");
        check("ä %\r\n", "/orders/%C3%A4%20%25%0D%0A/cancel");
        check("{key}", "/orders/%7Bkey%7D/cancel");
    }

    #[test]
    fn a_definition_is_checked_and_reads_back() {
        let good = saga(vec![step("a", false), step("b", true)]).unwrap();
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), good);

        assert!(saga(vec![]).is_err());
        assert!(saga(vec![step("a", false), step("a", false)]).is_err());
        assert!(saga(vec![step("a", true), step("b", true)]).is_err());
        assert!(saga(vec![step("a b", true)]).is_err());
        assert!(saga((0..STEPS_MAX).map(|i| step(&i.to_string(), false)).collect()).is_ok());
        assert!(saga((0..=STEPS_MAX).map(|i| step(&i.to_string(), false)).collect()).is_err());
        assert!(Definition::saga("x", Duration::ZERO, STUCK_AFTER, vec![step("a", false)]).is_err());
        assert!(serde_json::from_str::<Definition>(&text.replace("\"b\"", "\"a\"")).is_err());
    }
}
