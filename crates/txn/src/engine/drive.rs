//! The task of one transaction: asks the machine, does what it says, comes back with what happened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{EventKind, TransactionId, WallMs};
use tokio::time::{Instant, sleep, timeout};

use super::handle::{StartError, Started, Submission};
use super::shared::{Live, Shared};
use crate::definition::Definition;
use crate::journal::{Change, Cursor, DefinitionId, History, Inserted, JournalError, New, Stored};
use crate::machine::{self, Cause, Command, Input, Notice, State};
use crate::outcome::Outcome;
use crate::participant::{BranchCall, Op};
use crate::record::{Attempt, Record, read_history, read_state, remember};

/// Ids that are tried before a start is refused; a second one is needed once in 2⁶⁴ starts of one millisecond.
const ID_TRIES_MAX: usize = 3;
/// How much longer than its timeout a participant's future may live: it should notice by itself, and say more.
const TIMEOUT_MARGIN: Duration = Duration::from_millis(250);

/// Takes over a transaction as it stands in the journal.
pub(super) async fn resume(live: Live, stored: Stored) {
    let shared = live.shared.clone();
    let parts = async {
        let definition = shared.definition(stored.definition).await?;
        Ok::<_, JournalError>((definition, read_state(&stored.state)?, read_history(&stored.history)?))
    };
    match parts.await {
        Ok((definition, state, history)) => {
            let definition_id = stored.definition;
            let drive = Drive {
                live,
                cursor: stored.cursor,
                version: stored.version,
                name: stored.name,
                key: stored.key,
                started_ms: stored.started_ms,
                updated_ms: stored.updated_ms,
                input: stored.input,
                definition,
                definition_id,
                state,
                history,
                unwritten: History::Append(String::new()),
            };
            drive.run().await;
        }
        Err(e) => {
            shared.report(&e);
            // It stays as it is: whoever can read it, an older or newer Mainstay, will go on with it.
            shared.bus.publish(EventKind::TransactionStuck {
                transaction: stored.id,
                name: stored.name,
                step: String::new(),
                why: e.to_string(),
            });
        }
    }
}

/// An open transaction in its task.
pub(super) struct Drive {
    live: Live,
    cursor: Cursor,
    version: i64,
    name: String,
    key: String,
    started_ms: WallMs,
    updated_ms: WallMs,
    input: Bytes,
    definition: Arc<Definition>,
    definition_id: DefinitionId,
    state: State,
    history: Vec<Attempt>,
    /// What the journal does not know of the history yet.
    unwritten: History,
}

/// Somebody else goes on with it, now or at the next start: the task ends without a word.
struct LetGo;

impl Drive {
    /// Accepts a transaction, answers whoever started it, and brings it to its end.
    pub(super) async fn begin(shared: Arc<Shared>, submission: Submission, definition_id: DefinitionId) {
        match Self::insert(&shared, &submission, definition_id).await {
            Ok(Accepted::New(drive)) => {
                let started = Started { id: drive.live.id.clone(), status: drive.state.status, existing: false };
                submission.answer(Ok(started));
                drive.run().await;
            }
            Ok(Accepted::Existing(stored)) => {
                // Compared as values: neither the order of the members nor the spaces between them matter.
                let same =
                    serde_json::from_slice::<serde_json::Value>(&stored.input).is_ok_and(|i| i == submission.input);
                submission.answer(match same {
                    true => Ok(Started { id: stored.id, status: stored.status, existing: true }),
                    false => Err(StartError::Conflict { id: stored.id }),
                });
            }
            Err(e) => {
                shared.report(&e);
                submission.answer(Err(e.into()));
            }
        }
    }

    async fn insert(
        shared: &Arc<Shared>,
        submission: &Submission,
        definition_id: DefinitionId,
    ) -> Result<Accepted, JournalError> {
        let now = shared.clock.wall_ms();
        let state = State::begin(&submission.definition, now);
        let name = submission.definition.name().to_string();
        for _ in 0..ID_TRIES_MAX {
            let id = TransactionId::generate(now, shared.random());
            let key = submission.key.clone().unwrap_or_else(|| id.to_string());
            let live = shared.enter(id.clone());
            let new = New {
                id,
                name: name.clone(),
                key: key.clone(),
                dedup: submission.key.is_some() && shared.options.stable_keys,
                definition: definition_id,
                status: state.status,
                state: written(&state),
                started_ms: now,
                input: submission.bytes.clone(),
            };
            match shared.journal.insert(new).await? {
                Inserted::Existing(stored) => return Ok(Accepted::Existing(stored)),
                Inserted::IdTaken => {}
                Inserted::New(cursor) => {
                    shared.count(None, state.status);
                    return Ok(Accepted::New(Box::new(Self {
                        live,
                        cursor,
                        version: 0,
                        name,
                        key,
                        started_ms: now,
                        updated_ms: now,
                        input: submission.bytes.clone(),
                        definition: submission.definition.clone(),
                        definition_id,
                        state,
                        history: Vec::new(),
                        unwritten: History::Append(String::new()),
                    })));
                }
            }
        }
        Err(JournalError::Refused("no free id was found".into()))
    }

    async fn run(mut self) {
        let mut input = Input::Woken { now: self.now() };
        loop {
            let (state, commands) = machine::advance(&self.definition, &self.state, input);
            let mut next = None;
            for command in commands {
                match self.perform(command, &state).await {
                    Ok(Some(came)) => next = Some(came),
                    Ok(None) => {}
                    Err(LetGo) => return,
                }
            }
            match next {
                Some(came) => input = came,
                None => return self.finish(),
            }
        }
    }

    async fn perform(&mut self, command: Command, state: &State) -> Result<Option<Input>, LetGo> {
        match command {
            Command::Persist => self.persist(state).await.map(|()| None),
            Command::Tell(notice) => {
                self.tell(notice);
                Ok(None)
            }
            Command::Wait { until_ms } => self.sleep_until(until_ms).await.map(Some),
            Command::Call { step, op, until_ms } => self.call(step, op, until_ms).await.map(Some),
            Command::End => Ok(None),
        }
    }

    async fn persist(&mut self, state: &State) -> Result<(), LetGo> {
        let shared = &self.live.shared;
        let updated_ms = shared.clock.wall_ms();
        let change = Change {
            cursor: self.cursor,
            id: self.live.id.clone(),
            version: self.version,
            status: state.status,
            state: written(state),
            updated_ms,
            history: std::mem::replace(&mut self.unwritten, History::Append(String::new())),
        };
        match shared.journal.update(change).await {
            Ok(true) => {}
            // Another engine has written: it owns the transaction now.
            Ok(false) => return Err(LetGo),
            // Without its transition written it has no task any more, and would be forgotten until the next start:
            // so the next start comes at once.
            Err(e) => {
                shared.fail(&e);
                return Err(LetGo);
            }
        }
        if self.state.status != state.status {
            shared.count(Some(self.state.status), state.status);
        }
        self.version += 1;
        self.updated_ms = updated_ms;
        self.state = state.clone();
        Ok(())
    }

    /// Tells the world. A refusal is an answer of the business, like a card over its limit: the transaction is turned round
    /// and nothing is wrong with anything, so there is no event. It stands in the record, and is counted.
    fn tell(&self, notice: Notice) {
        if matches!(&notice, Notice::Compensating(cause) if cause.refused) {
            return;
        }
        let step = |step: u16| self.definition.steps()[usize::from(step)].name.clone();
        let (transaction, name) = (self.live.id.clone(), self.name.clone());
        self.live.shared.bus.publish(match notice {
            Notice::Compensating(Cause { step: at, text: why, .. }) => {
                EventKind::TransactionCompensating { transaction, name, step: step(at), why }
            }
            Notice::Stuck(Cause { step: at, text: why, .. }) => {
                EventKind::TransactionStuck { transaction, name, step: step(at), why }
            }
            Notice::Late { step: at } => EventKind::TransactionLate { transaction, name, step: step(at) },
        });
    }

    async fn sleep_until(&self, until_ms: WallMs) -> Result<Input, LetGo> {
        tokio::select! {
            biased;
            () = self.live.shared.stop.cancelled() => Err(LetGo),
            () = sleep(self.until(until_ms)) => Ok(Input::Woken { now: self.now() }),
        }
    }

    async fn call(&mut self, step: u16, op: Op, until_ms: Option<WallMs>) -> Result<Input, LetGo> {
        let call = self.branch_call(step, op);
        let shared = self.live.shared.clone();
        let permit = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Err(LetGo),
            permit = shared.permits_of(&call.service).acquire_owned() => permit.expect("the permits are never closed"),
            () = async { match until_ms {
                Some(until_ms) => sleep(self.until(until_ms)).await,
                None => std::future::pending().await,
            }} => return Ok(Input::Woken { now: self.now() }),
        };
        let at_ms = self.now();
        let begun = Instant::now();
        let allowed = shared.options.call_timeout;
        let outcome = match timeout(allowed + TIMEOUT_MARGIN, shared.participant.call(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Unknown { why: format!("no answer within {} ms", allowed.as_millis()) },
        };
        drop(permit);
        let took_ms = begun.elapsed().as_millis() as u64;
        let attempt = Attempt::new(&self.history, at_ms, took_ms, step, op, &outcome);
        self.unwritten = remember(&mut self.history, attempt);
        // Every answer but an immediate repeat changes the state, and is written with it.
        Ok(Input::Answered { outcome, now: self.now(), draw: shared.random() })
    }

    fn branch_call(&self, step: u16, op: Op) -> BranchCall {
        let of_step = &self.definition.steps()[usize::from(step)];
        let template = match op {
            Op::Action => &of_step.call,
            Op::Compensate => of_step.undo.as_ref().expect("the machine undoes only what has an undo"),
        };
        let id = &self.live.id;
        let mut key = format!("{id}/{}/{op}", of_step.name);
        if !self.live.shared.options.stable_keys {
            key.push_str(&format!("/{:016x}", self.live.shared.random()));
        }
        BranchCall {
            transaction: id.clone(),
            name: self.name.clone(),
            step: of_step.name.clone(),
            op,
            method: template.method.clone(),
            service: template.service.clone(),
            path: template.path_for(&self.key),
            headers: [
                ("content-type", "application/json".into()),
                ("mainstay-transaction", id.to_string()),
                ("mainstay-branch", of_step.name.clone()),
                ("mainstay-op", op.code().into()),
                ("idempotency-key", key),
            ],
            body: self.input.clone(),
            timeout: self.live.shared.options.call_timeout,
        }
    }

    /// It has come to an end, or is stuck.
    fn finish(self) {
        if !self.live.is_awaited() {
            return;
        }
        let mut history = String::new();
        for attempt in &self.history {
            attempt.line(&mut history);
        }
        let stored = Stored {
            cursor: self.cursor,
            id: self.live.id.clone(),
            name: self.name,
            key: self.key,
            definition: self.definition_id,
            status: self.state.status,
            version: self.version,
            started_ms: self.started_ms,
            updated_ms: self.updated_ms,
            state: written(&self.state),
            history,
            input: self.input,
        };
        // What this process wrote it can read; and if not, those who wait read the journal and see the error.
        if let Ok(record) = Record::new(stored, &self.definition) {
            self.live.finish(&record);
        }
    }

    fn now(&self) -> WallMs {
        self.live.shared.clock.wall_ms()
    }

    fn until(&self, wall_ms: WallMs) -> Duration {
        let ms = wall_ms.saturating_sub(self.now()).max(0) as u64;
        Duration::from_millis(ms).min(super::SLEEP_MAX)
    }
}

enum Accepted {
    New(Box<Drive>),
    Existing(Box<Stored>),
}

fn written(state: &State) -> String {
    serde_json::to_string(state).expect("a state has only text and numbers")
}
