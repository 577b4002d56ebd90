//! The saga, as a function: `(definition, state, input) → (state', commands)`. No clock, no I/O, no randomness:
//! times and random draws come in as values, so that every path can be walked by a model checker.
//!
//! The rules, and why they are so:
//!
//! - **The journalled state says what may have happened, not what has.** A state "running at step 2" is written before
//!   step 2 is called, so after a crash step 2 may or may not have taken effect. It is called again with the same key.
//! - **Undoing begins at the step in doubt**, not before it: its last answer may have been lost on the way. Even a
//!   refused step is undone, because a try before the refusal, made by us or by the transport beneath, may have been lost
//!   after it took effect. A participant that never saw the action answers "done" to its undo, and blocks a late action.
//! - **The pivot turns the direction of doubt.** Up to it a passed deadline means undo; after it, and for a pivot that
//!   cannot be undone and may have been called, only forward is left: the transaction goes on and an alarm is raised.
//! - **Unknown is asked again**, with full jitter (Brooker, "Exponential Backoff And Jitter", 2015) up to 30 s, without
//!   a fixed number of tries. Refused is never asked again: before the pivot it turns the saga round, after it, or
//!   while undoing, only a person can help: *stuck*.
//! - A compensation that stays unknown for `stuck_after` is stuck too. That is judged when an answer comes, not by the
//!   clock alone, so that a coordinator that was down for an hour asks once more before it calls a person.

use mainstay_core::WallMs;
use serde::{Deserialize, Serialize};

use crate::definition::Definition;
use crate::outcome::{Outcome, truncated};
use crate::participant::Op;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// First cap of the back-off.
pub const BACKOFF_MS_FIRST: u64 = 100;
/// Last cap of the back-off.
pub const BACKOFF_MS_MAX: u64 = 30_000;
/// How long an "in progress" is left alone.
pub const IN_PROGRESS_MS: u64 = 1_000;
/// Longest pause that a participant can ask for: a mistaken header must not hold a transaction for a day.
pub const RETRY_AFTER_MS_MAX: u64 = 60_000;

/// Where a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Going forward.
    Running,
    /// Being undone.
    Compensating,
    /// Every step is done. Final.
    Committed,
    /// Every step that may have taken effect is undone. Final.
    RolledBack,
    /// A person must look.
    Stuck,
}

impl Status {
    /// Every status there is, in the order of [`Status::index`].
    pub const ALL: [Status; 5] =
        [Status::Running, Status::Compensating, Status::Committed, Status::RolledBack, Status::Stuck];

    /// The word in the journal, the API and the metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Compensating => "compensating",
            Status::Committed => "committed",
            Status::RolledBack => "rolled_back",
            Status::Stuck => "stuck",
        }
    }

    /// A small number that never changes its meaning: journals store it.
    pub const fn index(self) -> u8 {
        match self {
            Status::Running => 0,
            Status::Compensating => 1,
            Status::Committed => 2,
            Status::RolledBack => 3,
            Status::Stuck => 4,
        }
    }

    /// The engine works on it.
    pub const fn is_open(self) -> bool {
        matches!(self, Status::Running | Status::Compensating)
    }

    /// It will never change again.
    pub const fn is_final(self) -> bool {
        matches!(self, Status::Committed | Status::RolledBack)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

impl std::str::FromStr for Status {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.code() == text).ok_or_else(|| {
            format!("'{text}' is not a status: use running, compensating, committed, rolled_back or stuck")
        })
    }
}

/// Why a saga was turned round, or is stuck.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cause {
    /// Number of the step.
    pub step: u16,
    /// What was said, or what happened.
    pub text: String,
    /// Whether a participant refused, as against a deadline that passed.
    pub refused: bool,
}

/// Everything that must survive: small, and written with every transition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// The step that is being done or undone: it may have been called.
    pub at: u16,
    /// The highest step that may have taken effect, once it is being undone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub top: u16,
    /// How often the current call came back without a result.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tries: u32,
    /// The current call is not made before this time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub due_ms: WallMs,
    /// Since when the current step is being undone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub since_ms: WallMs,
    /// Up to when it may go forward, before the pivot.
    pub deadline_ms: WallMs,
    /// The alarm about a deadline that passed after the pivot was raised.
    #[serde(default, skip_serializing_if = "is_default")]
    pub late: bool,
    /// The way it goes, or went before it was stuck.
    #[serde(default, skip_serializing_if = "is_default")]
    pub undoing: bool,
    /// Why it was turned round.
    #[serde(default, skip_serializing_if = "is_default")]
    pub why: Option<Cause>,
    /// Why it is stuck.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stuck: Option<Cause>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl State {
    /// The first state of a saga that is accepted at `now`; must be journalled before anything else happens.
    pub fn begin(definition: &Definition, now: WallMs) -> Self {
        Self {
            status: Status::Running,
            at: 0,
            top: 0,
            tries: 0,
            due_ms: 0,
            since_ms: 0,
            deadline_ms: now.saturating_add(definition.deadline().as_millis() as WallMs),
            late: false,
            undoing: false,
            why: None,
            stuck: None,
        }
    }
}

/// What happens to a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Look at the state: at the beginning, after a restart, when a timer is due.
    Woken {
        /// Now.
        now: WallMs,
    },
    /// The call that was commanded came back.
    Answered {
        /// With what.
        outcome: Outcome,
        /// Now.
        now: WallMs,
        /// A uniform random number, for the jitter.
        draw: u64,
    },
}

/// What must be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make the new state durable. Always the first: what follows may only be done when it succeeded.
    Persist,
    /// Tell those who watch.
    Tell(Notice),
    /// Call the participant of the step, and come back with the answer.
    Call {
        /// Number of the step.
        step: u16,
        /// Do or undo.
        op: Op,
        /// Come back with [`Input::Woken`] instead, when the call could not be begun by then.
        until_ms: Option<WallMs>,
    },
    /// Come back with [`Input::Woken`] at this time.
    Wait {
        /// When.
        until_ms: WallMs,
    },
    /// Nothing more to do.
    End,
}

/// What those who watch should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It is being undone, beginning with the step.
    Compensating(Cause),
    /// It needs a person.
    Stuck(Cause),
    /// Its deadline passed after the pivot; it goes on.
    Late {
        /// Number of the step.
        step: u16,
    },
}

/// Decides. The definition must be the one that the state was begun with.
pub fn advance(definition: &Definition, state: &State, input: Input) -> (State, Vec<Command>) {
    let mut turn = Turn { definition, state: state.clone(), notices: Vec::new() };
    let last = match input {
        _ if !state.status.is_open() => Command::End,
        Input::Woken { now } => turn.look(now),
        Input::Answered { outcome, now, draw } => turn.answered(outcome, now, draw),
    };
    let mut commands = Vec::with_capacity(2 + turn.notices.len());
    if turn.state != *state {
        commands.push(Command::Persist);
    }
    commands.extend(turn.notices.into_iter().map(Command::Tell));
    commands.push(last);
    (turn.state, commands)
}

struct Turn<'a> {
    definition: &'a Definition,
    state: State,
    notices: Vec<Notice>,
}

impl Turn<'_> {
    fn look(&mut self, now: WallMs) -> Command {
        let before_deadline = now < self.state.deadline_ms;
        if self.state.status == Status::Running && !before_deadline {
            if !self.only_forward() {
                return self.turn_round("the deadline passed".into(), false, now);
            }
            if !self.state.late {
                self.state.late = true;
                self.notices.push(Notice::Late { step: self.state.at });
            }
        }
        let until = (self.state.status == Status::Running && before_deadline).then_some(self.state.deadline_ms);
        let due = self.state.due_ms;
        // A due time further away than any pause only says that the machine's clock was set back: call now.
        if due > now && due - now <= RETRY_AFTER_MS_MAX as WallMs {
            return Command::Wait { until_ms: until.map_or(due, |u| u.min(due)) };
        }
        let op = if self.state.undoing { Op::Compensate } else { Op::Action };
        Command::Call { step: self.state.at, op, until_ms: until }
    }

    fn answered(&mut self, outcome: Outcome, now: WallMs, draw: u64) -> Command {
        let pause_ms = match outcome {
            Outcome::Done if self.state.undoing => return self.undo_below(self.state.at, now),
            Outcome::Done => return self.done(now),
            Outcome::Refused { why } if self.state.undoing || self.past_pivot() => return self.stick(why, true),
            Outcome::Refused { why } => return self.turn_round(why, true, now),
            Outcome::InProgress => IN_PROGRESS_MS,
            Outcome::Retry { after, why: _ } => {
                let asked = after.map_or(0, |a| a.as_millis().min(u128::from(RETRY_AFTER_MS_MAX)) as u64);
                self.backoff(draw).max(asked)
            }
            Outcome::Unknown { why: _ } => self.backoff(draw),
        };
        let stuck_after = self.definition.stuck_after().as_millis() as WallMs;
        if self.state.undoing && now.saturating_sub(self.state.since_ms) >= stuck_after {
            return self.stick(format!("no result after {} s of undoing", stuck_after / 1000), false);
        }
        self.state.due_ms = now.saturating_add(pause_ms as WallMs);
        self.look(now)
    }

    /// Full jitter: anything between nothing and a cap that doubles.
    fn backoff(&mut self, draw: u64) -> u64 {
        let cap = (BACKOFF_MS_FIRST << self.state.tries.min(16)).min(BACKOFF_MS_MAX);
        self.state.tries = self.state.tries.saturating_add(1);
        draw % (cap + 1)
    }

    /// The current step is done: on to the next.
    fn done(&mut self, now: WallMs) -> Command {
        let next = self.state.at + 1;
        if usize::from(next) == self.definition.steps().len() {
            self.state.status = Status::Committed;
            self.state.tries = 0;
            self.state.due_ms = 0;
            return Command::End;
        }
        // The next step was never called: a deadline that passed meanwhile turns round without touching it.
        let pivot = self.definition.steps()[usize::from(self.state.at)].pivot;
        if now >= self.state.deadline_ms && !pivot && !self.past_pivot() {
            return self.turn_round("the deadline passed".into(), false, now);
        }
        self.state.at = next;
        self.state.tries = 0;
        self.state.due_ms = 0;
        self.look(now)
    }

    fn turn_round(&mut self, text: String, refused: bool, now: WallMs) -> Command {
        let why = Cause { step: self.state.at, text: truncated(text), refused };
        self.state.status = Status::Compensating;
        self.state.undoing = true;
        self.state.top = self.state.at;
        self.state.why = Some(why.clone());
        self.notices.push(Notice::Compensating(why));
        self.undo_below(self.state.at + 1, now)
    }

    /// Undoes the next step below `above` that can be undone.
    fn undo_below(&mut self, above: u16, now: WallMs) -> Command {
        self.state.tries = 0;
        self.state.due_ms = 0;
        let steps = self.definition.steps();
        match (0..above).rev().find(|&i| steps[usize::from(i)].undo.is_some()) {
            Some(at) => {
                self.state.at = at;
                self.state.since_ms = now;
                self.look(now)
            }
            None => {
                self.state.at = 0;
                self.state.status = Status::RolledBack;
                Command::End
            }
        }
    }

    fn stick(&mut self, text: String, refused: bool) -> Command {
        let cause = Cause { step: self.state.at, text: truncated(text), refused };
        self.state.status = Status::Stuck;
        self.state.stuck = Some(cause.clone());
        self.notices.push(Notice::Stuck(cause));
        Command::End
    }

    fn past_pivot(&self) -> bool {
        self.definition.steps()[..usize::from(self.state.at)].iter().any(|s| s.pivot)
    }

    /// Past the pivot, or at a pivot that may have been called and cannot be undone.
    fn only_forward(&self) -> bool {
        let step = &self.definition.steps()[usize::from(self.state.at)];
        self.past_pivot() || (step.pivot && step.undo.is_none())
    }
}
