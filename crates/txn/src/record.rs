//! A transaction as people and programs read it: what it was asked, what was tried, what came of it.

use mainstay_core::{TransactionId, WallMs};
use serde::{Deserialize, Serialize};

use crate::definition::{Definition, Kind};
use crate::journal::{Cursor, History, JournalError, Stored};
use crate::machine::{Cause, State, Status};
use crate::outcome::{Outcome, truncated};
use crate::participant::Op;

/// Most attempts of one call (a step done, or a step undone) that are kept: the first and the last ones.
pub const ATTEMPTS_PER_CALL_MAX: usize = 16;
/// How many are left of them when there are too many.
const ATTEMPTS_PER_CALL_LEFT: usize = 8;

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the same words as in Outcome")]
pub enum AttemptOutcome {
    Done,
    Refused,
    InProgress,
    Retry,
    Unknown,
}

/// One try of a branch call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    pub at_ms: WallMs,
    /// How long it took.
    pub took_ms: u64,
    /// Number of the step, from 0.
    pub step: u16,
    /// Do or undo.
    pub op: Op,
    /// Counted from 1 for this step and op; a gap says that attempts in between are not kept.
    pub number: u32,
    /// What came of it.
    pub outcome: AttemptOutcome,
    /// What was said or seen, where it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Attempt {
    /// Numbers the attempt after those of `history`.
    pub(crate) fn new(history: &[Attempt], at_ms: WallMs, took_ms: u64, step: u16, op: Op, outcome: &Outcome) -> Self {
        let number = history.iter().rev().find(|a| a.step == step && a.op == op).map_or(1, |a| a.number + 1);
        let (outcome, error) = match outcome {
            Outcome::Done => (AttemptOutcome::Done, None),
            Outcome::Refused { why } => (AttemptOutcome::Refused, Some(why)),
            Outcome::InProgress => (AttemptOutcome::InProgress, None),
            Outcome::Retry { why, .. } => (AttemptOutcome::Retry, Some(why)),
            Outcome::Unknown { why } => (AttemptOutcome::Unknown, Some(why)),
        };
        Self { at_ms, took_ms, step, op, number, outcome, error: error.map(|e| truncated(e.clone())) }
    }

    pub(crate) fn line(&self, out: &mut String) {
        out.push_str(&serde_json::to_string(self).expect("an attempt has only text and numbers"));
        out.push('\n');
    }
}

/// Adds an attempt to what is kept, and says what that means for the journal.
pub(crate) fn remember(history: &mut Vec<Attempt>, attempt: Attempt) -> History {
    let same = |a: &Attempt| a.step == attempt.step && a.op == attempt.op;
    let many = history.iter().filter(|a| same(a)).count() >= ATTEMPTS_PER_CALL_MAX;
    let mut text = String::new();
    if !many {
        attempt.line(&mut text);
        history.push(attempt);
        return History::Append(text);
    }
    let mut nth = 0;
    let middle = 1..=ATTEMPTS_PER_CALL_MAX - (ATTEMPTS_PER_CALL_LEFT - 1);
    history.retain(|a| {
        let drop = same(a) && {
            nth += 1;
            middle.contains(&(nth - 1))
        };
        !drop
    });
    history.push(attempt);
    for a in &*history {
        a.line(&mut text);
    }
    History::Replace(text)
}

pub(crate) fn read_history(text: &str) -> Result<Vec<Attempt>, JournalError> {
    text.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|e| unreadable(&e))
}

pub(crate) fn read_state(text: &str) -> Result<State, JournalError> {
    serde_json::from_str(text).map_err(|e| unreadable(&e))
}

pub(crate) fn unreadable(e: &serde_json::Error) -> JournalError {
    JournalError::Refused(format!("a stored transaction cannot be read: {e}"))
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not called.
    Pending,
    /// Being called, perhaps for the first time.
    Running,
    /// Took effect.
    Done,
    /// Being undone.
    Undoing,
    /// Has no effect any more.
    Undone,
    /// A person must look.
    Stuck,
}

/// A step and what was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// How far it is.
    pub state: StepState,
    /// The first and the last tries, oldest first.
    pub attempts: Vec<Attempt>,
}

/// Why it was turned round, or is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// The step.
    pub step: String,
    /// What was said, or what happened.
    pub text: String,
    /// Whether a participant refused, as against a deadline that passed.
    pub refused: bool,
}

/// A transaction: what it was asked, what was tried, what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub id: TransactionId,
    /// The name of its definition.
    pub name: String,
    /// What fills `{key}`: given at the start, or the id.
    pub key: String,
    /// How it keeps its promise.
    pub kind: Kind,
    /// Where it is.
    pub status: Status,
    /// When it was accepted.
    pub started_ms: WallMs,
    /// When it was changed last.
    pub updated_ms: WallMs,
    /// Up to when it may go forward, before its pivot.
    pub deadline_ms: WallMs,
    /// Why it was turned round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Why it is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<Why>,
    /// Its steps in order.
    pub steps: Vec<StepRecord>,
    /// Its input.
    pub input: serde_json::Value,
}

/// Some records, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The newest first.
    pub records: Vec<Record>,
    /// Ask again with this; none when there are no more.
    pub next: Option<Cursor>,
}

impl Record {
    pub(crate) fn new(stored: Stored, definition: &Definition) -> Result<Self, JournalError> {
        let state = read_state(&stored.state)?;
        let history = read_history(&stored.history)?;
        let name_of = |step: u16| definition.steps().get(usize::from(step)).map(|s| s.name.clone()).unwrap_or_default();
        let why = |cause: Option<Cause>| cause.map(|c| Why { step: name_of(c.step), text: c.text, refused: c.refused });
        let steps = (0_u16..).zip(definition.steps());
        let steps = steps.map(|(i, step)| StepRecord {
            name: step.name.clone(),
            state: step_state(&state, i),
            attempts: history.iter().filter(|a| a.step == i).cloned().collect(),
        });
        Ok(Self {
            id: stored.id,
            name: stored.name,
            key: stored.key,
            kind: definition.kind(),
            status: stored.status,
            started_ms: stored.started_ms,
            updated_ms: stored.updated_ms,
            deadline_ms: state.deadline_ms,
            steps: steps.collect(),
            why: why(state.why),
            stuck: why(state.stuck),
            input: serde_json::from_slice(&stored.input).map_err(|e| unreadable(&e))?,
        })
    }
}

fn step_state(state: &State, step: u16) -> StepState {
    use std::cmp::Ordering::{Equal, Greater, Less};
    if state.undoing && step > state.top {
        return StepState::Pending;
    }
    match (state.status, step.cmp(&state.at)) {
        (Status::Committed, _) => StepState::Done,
        (Status::RolledBack, _) => StepState::Undone,
        (Status::Stuck, Equal) => StepState::Stuck,
        (Status::Running, Equal) => StepState::Running,
        (Status::Compensating, Equal) => StepState::Undoing,
        (_, Less) => StepState::Done,
        (_, Greater) if state.undoing => StepState::Undone,
        (_, Greater) => StepState::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_of_a_call_is_bounded_and_keeps_both_ends() {
        let unknown = Outcome::Unknown { why: "no answer".into() };
        let mut kept = Vec::new();
        let mut journal = String::new();
        for i in 0..1000 {
            for (step, op) in [(0, Op::Action), (3, Op::Compensate)] {
                let attempt = Attempt::new(&kept, i, 1, step, op, &unknown);
                match remember(&mut kept, attempt) {
                    History::Append(lines) => journal.push_str(&lines),
                    History::Replace(all) => journal = all,
                }
                assert_eq!(read_history(&journal).unwrap(), kept, "the journal tells the same");
            }
        }
        let of_step_3: Vec<u32> = kept.iter().filter(|a| a.step == 3).map(|a| a.number).collect();
        assert!(of_step_3.len() <= ATTEMPTS_PER_CALL_MAX);
        assert_eq!((of_step_3[0], of_step_3.last().copied()), (1, Some(1000)));
        let tail = &of_step_3[1..];
        assert!(tail.len() >= ATTEMPTS_PER_CALL_LEFT - 1 && tail.windows(2).all(|w| w[1] == w[0] + 1), "{of_step_3:?}");
    }
}
