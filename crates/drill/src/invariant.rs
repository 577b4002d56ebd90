//! What must be true at the end: pure functions over what the clients saw and what the system holds.
//!
//! An invariant that found nothing to check has not held: it is *vacuous*, and the drill is inconclusive. A broken
//! one shows the smallest counterexample: the key with the fewest operations, and of those the first.

mod effects;
mod orders;
mod path;
mod replies;
mod sums;
mod terminal;

use std::collections::BTreeMap;

use mainstay_core::{ServiceName, Span, WallMs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use path::JsonPath;
pub use path::PathError;
pub use sums::Sum;

use crate::history::{History, Op};

/// A rule under the name that its user gave it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Invariant {
    /// What the report calls it.
    pub name: String,
    /// What must be true.
    #[serde(flatten)]
    pub rule: Rule,
}

/// What must be true at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum Rule {
    /// Every answer that a client got is what the system holds: what was done is done, what was refused is not, and
    /// what was accepted ended one way or the other.
    NoLost {
        /// The operations whose answers count.
        operations: Vec<String>,
        /// Where the state of a key is found.
        source: Source,
        /// The states that `done` may end in.
        done: Vec<String>,
        /// The states that `refused` may end in, beside not being there at all.
        refused: Vec<String>,
    },
    /// The system holds nothing that no client of this run asked for.
    NoPhantom {
        /// Where keys are found.
        source: Source,
    },
    /// No key had its effect more than once.
    AtMostOnce {
        /// Whose audit.
        service: ServiceName,
        /// Path to an object of key → how often.
        path: String,
    },
    /// Two sums are equal: what went in is what is there.
    Conserved {
        /// One side.
        left: Sum,
        /// The other side.
        right: Sum,
    },
    /// No number falls below a minimum: stock is never sold twice.
    AtLeast {
        /// Whose audit.
        service: ServiceName,
        /// Path to the numbers; `*` for all entries.
        path: String,
        /// The minimum.
        min: i64,
    },
    /// Every transaction of the run ended, and in time.
    TerminalWithin {
        /// Longest time from start to end.
        limit: Span,
    },
    /// All definite answers to one key are the same, byte by byte. Needs operations with `resend`.
    EqualReplies {
        /// The operations whose answers count.
        operations: Vec<String>,
    },
    /// What certainly failed is not there.
    FailMeansNoEffect {
        /// The operations whose failures count.
        operations: Vec<String>,
        /// Where the state of a key is found.
        source: Source,
        /// The states that are an effect.
        done: Vec<String>,
    },
}

/// Where the state of a key is found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
pub enum Source {
    /// The status of the key's transaction.
    Transactions {
        /// Only transactions of this name.
        #[serde(default)]
        name: Option<String>,
    },
    /// An object of key → state (text) in a service's audit.
    Audit {
        /// Whose audit.
        service: ServiceName,
        /// Path to the object.
        path: String,
    },
}

/// What the system holds at the end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FinalState {
    /// The answer of each service to `GET /audit`. Left out where it could not be read.
    pub audits: BTreeMap<ServiceName, Value>,
    /// The transactions of the run.
    pub transactions: Vec<TransactionState>,
}

/// One transaction at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransactionState {
    /// Its id.
    pub id: String,
    /// Its kind, as the file names it.
    pub name: String,
    /// The client's key.
    pub key: String,
    /// Its status.
    pub status: String,
    /// When it started.
    pub started_ms: WallMs,
    /// When it reached a terminal status; none while it is open.
    pub finished_ms: Option<WallMs>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Name of the invariant.
    pub name: String,
    /// The rule's word, such as `no_lost`.
    pub rule: &'static str,
    /// Held, broken, or not checkable.
    pub standing: Standing,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them break the rule.
    pub broken: u64,
    /// What a broken one is: `lost`, `double`.
    pub noun: &'static str,
    /// Why it is vacuous or unreadable, or the values of a sum.
    pub note: Option<String>,
    /// The smallest counterexample of a broken rule.
    pub counterexample: Option<Counterexample>,
}

/// Where an invariant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Looked at something, and all of it was right.
    Held,
    /// Something breaks it.
    Broken,
    /// There was nothing to look at.
    Vacuous,
    /// The state that it needs could not be read.
    Unreadable,
}

/// The smallest thing that breaks a rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Counterexample {
    /// Its key, where it has one.
    pub key: Option<String>,
    /// Its transaction, where there is one.
    pub transaction: Option<String>,
    /// What is wrong, in a sentence.
    pub what: String,
    /// What the clients saw.
    pub operations: Vec<String>,
}

impl Rule {
    /// The word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Rule::NoLost { .. } => "no_lost",
            Rule::NoPhantom { .. } => "no_phantom",
            Rule::AtMostOnce { .. } => "at_most_once",
            Rule::Conserved { .. } => "conserved",
            Rule::AtLeast { .. } => "at_least",
            Rule::TerminalWithin { .. } => "terminal_within",
            Rule::EqualReplies { .. } => "equal_replies",
            Rule::FailMeansNoEffect { .. } => "fail_means_no_effect",
        }
    }

    /// What breaks it, in a word.
    const fn noun(&self) -> &'static str {
        match self {
            Rule::NoLost { .. } => "lost",
            Rule::NoPhantom { .. } => "phantom",
            Rule::AtMostOnce { .. } => "double",
            Rule::Conserved { .. } => "off",
            Rule::AtLeast { .. } => "below",
            Rule::TerminalWithin { .. } => "stuck or late",
            Rule::EqualReplies { .. } => "unequal",
            Rule::FailMeansNoEffect { .. } => "with effect",
        }
    }

    /// The operations that it names.
    pub(crate) fn operations(&self) -> &[String] {
        match self {
            Rule::NoLost { operations, .. }
            | Rule::EqualReplies { operations }
            | Rule::FailMeansNoEffect { operations, .. } => operations,
            _ => &[],
        }
    }
}

impl Invariant {
    /// Checks the rule.
    pub fn check(&self, history: &History, state: &FinalState) -> Outcome {
        let finding = match &self.rule {
            Rule::NoLost { operations, source, done, refused } => {
                orders::no_lost(history, state, operations, source, done, refused)
            }
            Rule::NoPhantom { source } => orders::no_phantom(history, state, source),
            Rule::AtMostOnce { service, path } => effects::at_most_once(history, state, service, path),
            Rule::Conserved { left, right } => sums::conserved(state, left, right),
            Rule::AtLeast { service, path, min } => sums::at_least(state, service, path, *min),
            Rule::TerminalWithin { limit } => terminal::terminal_within(history, state, limit.0),
            Rule::EqualReplies { operations } => replies::equal_replies(history, state, operations),
            Rule::FailMeansNoEffect { operations, source, done } => {
                orders::fail_means_no_effect(history, state, operations, source, done)
            }
        };
        let mut outcome = Outcome {
            name: self.name.clone(),
            rule: self.rule.as_str(),
            standing: Standing::Held,
            checked: 0,
            broken: 0,
            noun: self.rule.noun(),
            note: None,
            counterexample: None,
        };
        match finding {
            Err(why) => {
                outcome.standing = Standing::Unreadable;
                outcome.note = Some(why.0);
            }
            Ok(finding) => {
                outcome.checked = finding.checked;
                outcome.broken = finding.broken;
                outcome.note = finding.note;
                outcome.counterexample = finding.worst.map(|(_, example)| example);
                if finding.broken > 0 {
                    outcome.standing = Standing::Broken;
                } else if finding.checked == 0 || finding.vacuous {
                    outcome.standing = Standing::Vacuous;
                    outcome.note.get_or_insert_with(|| "there was nothing to check".into());
                }
            }
        }
        outcome
    }
}

/// The state that a rule needs is not there.
#[derive(Debug)]
struct Unreadable(String);

/// What a rule found so far.
#[derive(Debug, Default)]
struct Finding {
    checked: u64,
    broken: u64,
    vacuous: bool,
    note: Option<String>,
    worst: Option<(usize, Counterexample)>,
}

impl Finding {
    /// One more that breaks the rule. Kept as the example when it takes fewer operations than the one before.
    fn breaks(&mut self, state: &FinalState, key: Option<&str>, operations: &[&Op], what: String) {
        self.broken += 1;
        if self.worst.as_ref().is_some_and(|(size, _)| *size <= operations.len()) {
            return;
        }
        let transaction = key.and_then(|key| state.transactions.iter().find(|t| t.key == key));
        let example = Counterexample {
            key: key.map(str::to_owned),
            transaction: transaction.map(|t| t.id.clone()),
            what,
            operations: operations.iter().take(OPERATIONS_SHOWN_MAX).map(|op| op.line()).collect(),
        };
        self.worst = Some((operations.len(), example));
    }
}

/// Operations that a counterexample lists.
const OPERATIONS_SHOWN_MAX: usize = 8;

impl FinalState {
    fn audit(&self, service: &ServiceName) -> Result<&Value, Unreadable> {
        self.audits.get(service).ok_or_else(|| Unreadable(format!("the audit of {service} could not be read")))
    }

    fn object(&self, service: &ServiceName, path: &str) -> Result<&serde_json::Map<String, Value>, Unreadable> {
        let parsed = JsonPath::parse(path).map_err(|e| Unreadable(e.to_string()))?;
        match parsed.find(self.audit(service)?).as_slice() {
            [Value::Object(map)] => Ok(map),
            _ => Err(Unreadable(format!("{path} in the audit of {service} is not an object"))),
        }
    }
}

impl Source {
    /// Key → state.
    fn states<'a>(&self, state: &'a FinalState) -> Result<BTreeMap<&'a str, &'a str>, Unreadable> {
        match self {
            Source::Transactions { name } => {
                let wanted = |t: &&TransactionState| name.as_ref().is_none_or(|name| *name == t.name);
                Ok(state.transactions.iter().filter(wanted).map(|t| (t.key.as_str(), t.status.as_str())).collect())
            }
            Source::Audit { service, path } => {
                let map = state.object(service, path)?;
                let text = |v: &'a Value| v.as_str().unwrap_or("(not a text)");
                Ok(map.iter().map(|(key, value)| (key.as_str(), text(value))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests;
