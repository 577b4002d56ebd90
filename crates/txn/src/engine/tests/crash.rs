//! Kill -9 at every point: before and after every journal write, before and after every call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mainstay_core::{EventKind, TransactionId};
use tokio::sync::Notify;

use super::world::{Does, Effect, LONG, Process, Scripted, checkout, refuses, unknown, world};
use crate::journal::{Answer, Change, Counts, Cursor, DefinitionId, Filter, Inserted, Journal, New, Rows, Stored};
use crate::machine::Status;
use crate::{BranchCall, MemoryJournal, Op, Options, Outcome, Participant};

/// Counts down at every point where a process can die, and holds it there for ever when the count is over.
struct Killer {
    left: AtomicU32,
    reached: Notify,
}

impl Killer {
    fn after(points: u32) -> Arc<Self> {
        Arc::new(Self { left: AtomicU32::new(points), reached: Notify::new() })
    }

    async fn point(&self) {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left.is_err() {
            self.reached.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

/// A journal and a participant on whose edges a process can die.
struct Edge<T> {
    inner: Arc<T>,
    killer: Arc<Killer>,
}

impl Journal for Edge<MemoryJournal> {
    fn insert(&self, new: New) -> Answer<'_, Inserted> {
        Box::pin(async {
            self.killer.point().await;
            let result = self.inner.insert(new).await;
            self.killer.point().await;
            result
        })
    }
    fn update(&self, change: Change) -> Answer<'_, bool> {
        Box::pin(async {
            self.killer.point().await;
            let result = self.inner.update(change).await;
            self.killer.point().await;
            result
        })
    }
    fn define(&self, definition: String) -> Answer<'_, DefinitionId> {
        self.inner.define(definition)
    }
    fn definition(&self, id: DefinitionId) -> Answer<'_, Option<String>> {
        self.inner.definition(id)
    }
    fn get(&self, id: TransactionId) -> Answer<'_, Option<Stored>> {
        self.inner.get(id)
    }
    fn list(&self, filter: Filter, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        self.inner.list(filter, limit, cursor)
    }
    fn open(&self, limit: usize, cursor: Option<Cursor>) -> Answer<'_, Rows> {
        self.inner.open(limit, cursor)
    }
    fn counts(&self) -> Answer<'_, Counts> {
        self.inner.counts()
    }
}

impl Participant for Edge<Scripted> {
    async fn call(&self, call: BranchCall) -> Outcome {
        self.killer.point().await;
        let outcome = self.inner.call(call).await;
        self.killer.point().await;
        outcome
    }
}

struct Seen {
    status: Status,
    effects: BTreeMap<&'static str, Effect>,
    calls: usize,
    recovered: bool,
}

/// Runs a checkout, kills the process at point `points`, starts another one, and says what came of it; none when the
/// transaction was over before the point was reached.
async fn killed_at(points: u32, script: &dyn Fn(&Scripted), options: &Options) -> Option<Seen> {
    let (journal, participant) = world();
    script(&participant);
    let killer = Killer::after(points);
    let journal_edge = Arc::new(Edge { inner: journal.clone(), killer: killer.clone() });
    let participant_edge = Arc::new(Edge { inner: participant.clone(), killer: killer.clone() });
    let process = Process::start(options.clone(), vec![checkout()], &journal_edge, &participant_edge);
    tokio::select! {
        biased;
        () = killer.reached.notified() => {}
        () = async {
            let id = process.begin("o-1").await.id;
            process.handle.wait(&id, LONG).await.unwrap();
        } => return None,
        () = async {
            process.begin("o-1").await;
            std::future::pending::<()>().await;
        } => {}
    }
    process.kill().await;

    let process = Process::start(Options { seed: 1, ..options.clone() }, vec![checkout()], &journal, &participant);
    // The client asks again with its key, whether it had an answer or not.
    tokio::time::sleep(LONG).await;
    let id = process.begin("o-1").await.id;
    let record = process.handle.wait(&id, LONG).await.unwrap().unwrap();
    let recovered = process.events().iter().any(|e| matches!(e, EventKind::TransactionsRecovered { count: 1 }));
    let effects = ["place", "reserve", "charge", "confirm"].map(|s| (s, participant.effect(&id, s)));
    let calls = participant.calls.lock().unwrap().len();
    Some(Seen { status: record.status, effects: effects.into_iter().collect(), calls, recovered })
}

async fn check_at_every_point(script: impl Fn(&Scripted), expected: Status, points_min: u32) {
    let mut recovered = 0;
    for points in 0.. {
        let Some(seen) = killed_at(points, &script, &Options::default()).await else {
            assert!(points >= points_min, "only {points} points");
            break;
        };
        recovered += u32::from(seen.recovered);
        assert_eq!(seen.status, expected, "killed at {points}");
        for (step, effect) in &seen.effects {
            assert!(effect.applied <= 1, "{step} twice, killed at {points}");
            match expected {
                Status::Committed => assert_eq!((effect.applied, effect.barred), (1, false), "{step} at {points}"),
                // Confirm cannot be undone, and must never have been called.
                _ => assert!(
                    *step == "confirm" && effect.applied == 0 || *step != "confirm" && effect.barred,
                    "{step} at {points}"
                ),
            }
        }
    }
    assert!(recovered + 2 >= points_min, "the journal alone was enough {recovered} times");
}

#[tokio::test(start_paused = true)]
async fn a_commit_survives_a_kill_at_every_point() {
    check_at_every_point(|_| {}, Status::Committed, 16).await;
}

#[tokio::test(start_paused = true)]
async fn a_rollback_survives_a_kill_at_every_point() {
    // Refused for ever: the second process must not find another answer.
    let script = |p: &Scripted| p.tell("charge", Op::Action, std::iter::repeat_n(refuses(), 100));
    check_at_every_point(script, Status::RolledBack, 24).await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_and_kills_together_do_nothing_twice() {
    let script = |p: &Scripted| {
        p.tell("place", Op::Action, [Does::AnswerLost]);
        p.tell("charge", Op::Action, [Does::AnswerLost, unknown(), Does::AnswerLost]);
        p.tell("confirm", Op::Action, [Does::AnswerLost]);
    };
    check_at_every_point(script, Status::Committed, 30).await;
}

/// Mutation: without the recovery scan, what was open stays open.
#[tokio::test(start_paused = true)]
async fn without_recovery_nothing_goes_on() {
    let options = Options { recovery: false, ..Options::default() };
    let seen = killed_at(6, &|_| {}, &options).await.unwrap();
    assert_eq!((seen.status, seen.recovered), (Status::Running, false));
}

/// Mutation: without stable keys, a client that asks again buys twice.
#[tokio::test(start_paused = true)]
async fn without_stable_keys_a_repeat_is_another_transaction() {
    let options = Options { stable_keys: false, ..Options::default() };
    let seen = killed_at(9, &|_| {}, &options).await.unwrap();
    assert!(seen.calls >= 8, "{} calls", seen.calls);
    let seen = killed_at(9, &|_| {}, &Options::default()).await.unwrap();
    assert!(seen.calls <= 5, "{} calls", seen.calls);
}

/// A transaction is finished by the steps that it was started with, whatever the file says now.
#[tokio::test(start_paused = true)]
async fn an_old_definition_finishes_what_it_began() {
    let (journal, participant) = world();
    participant.always("reserve", Some(Does::Hangs));
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = process.begin("o-1").await.id;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    process.kill().await;
    participant.always("reserve", None);
    let other = super::world::saga("other", "else");
    let process = Process::start(Options::default(), vec![other], &journal, &participant);
    tokio::time::sleep(LONG).await;
    let record = process.handle.get(&id).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Committed);
    assert_eq!(record.steps.len(), 4);
}
