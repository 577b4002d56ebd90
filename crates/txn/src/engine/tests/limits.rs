//! Keys, bounds, slow participants, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{EventKind, Reason, Shutdown};
use serde_json::json;

use super::world::{Does, LONG, Process, checkout, saga, unknown, world};
use crate::journal::{
    Answer, Change, Counts, Cursor, DefinitionId, Filter, Inserted, Journal, JournalError, New, Rows, Stored,
};
use crate::machine::Status;
use crate::{EngineError, INPUT_BYTES_MAX, MemoryJournal, Op, Options, Start, StartError};

fn start(name: &str, key: Option<&str>, input: serde_json::Value) -> Start {
    Start { name: name.into(), key: key.map(Into::into), input }
}

#[tokio::test(start_paused = true)]
async fn the_same_key_finds_the_same_transaction_and_another_input_is_a_conflict() {
    let (journal, participant) = world();
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let first = process.handle.start(start("checkout", Some("k"), json!({"a": 1, "b": [true]}))).await.unwrap();
    assert!(!first.existing);
    let reordered = serde_json::from_str("{ \"b\": [true], \"a\": 1 }").unwrap();
    let again = process.handle.start(start("checkout", Some("k"), reordered)).await.unwrap();
    assert!(again.existing && again.id == first.id);
    let error = process.handle.start(start("checkout", Some("k"), json!({"a": 2, "b": [true]}))).await.unwrap_err();
    assert_eq!(error, StartError::Conflict { id: first.id.clone() });
    assert_eq!(error.reason(), Reason::IdempotencyConflict);
    process.handle.wait(&first.id, LONG).await.unwrap();
    let after = process.handle.start(start("checkout", Some("k"), json!({"a": 1, "b": [true]}))).await.unwrap();
    assert_eq!((after.existing, after.status, after.id), (true, Status::Committed, first.id));
    assert_eq!(participant.calls.lock().unwrap().len(), 4, "it ran once");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_is_refused_with_its_reason_and_changes_nothing() {
    let (journal, participant) = world();
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let check = async |start: Start, reason: Reason, says: &str| {
        let error = process.handle.start(start).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    };
    check(start("check-out", None, json!(1)), Reason::BadRequest, "there are: checkout").await;
    for bad in ["", "..", "a\nb", &"x".repeat(257)] {
        check(start("checkout", Some(bad), json!(1)), Reason::BadRequest, "this key cannot be used").await;
    }
    let large = json!("x".repeat(INPUT_BYTES_MAX));
    check(start("checkout", Some("k"), large), Reason::BodyTooLarge, "the input has 65538 bytes").await;
    process.handle.start(start("checkout", Some("k"), json!("x".repeat(INPUT_BYTES_MAX - 2)))).await.unwrap();
    assert_eq!(journal.counts().await.unwrap().open(), 1);
}

#[tokio::test(start_paused = true)]
async fn too_many_open_ones_are_refused_until_some_end() {
    let (journal, participant) = world();
    participant.always("place", Some(unknown()));
    let options = Options { open_max: 2, ..Options::default() };
    let process = Process::start(options, vec![checkout()], &journal, &participant);
    let first = process.begin("a").await;
    process.begin("b").await;
    let error = process.handle.start(start("checkout", Some("c"), json!(1))).await.unwrap_err();
    assert_eq!((error.reason(), error), (Reason::RateLimited, StartError::TooManyOpen { max: 2 }));
    participant.always("place", None);
    process.handle.wait(&first.id, LONG).await.unwrap();
    tokio::time::sleep(LONG).await;
    process.begin("c").await;
}

/// T8: what hangs holds its own permits and nobody else's.
#[tokio::test(start_paused = true)]
async fn a_dead_participant_delays_only_its_own() {
    let (journal, participant) = world();
    participant.always("dead", Some(Does::Hangs));
    let definitions = vec![saga("checkout", "alive"), saga("slow", "dead")];
    let options = Options { calls_per_service_max: 4, ..Options::default() };
    let process = Process::start(options.clone(), definitions.clone(), &journal, &participant);
    for i in 0..600 {
        process.handle.start(start("slow", Some(&format!("s{i}")), json!(1))).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let alive = process.begin("o-1").await;
    let record = process.handle.wait(&alive.id, Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Committed);
    process.kill().await;

    // At recovery as at any time.
    participant.always("alive", Some(Does::Hangs));
    let process = Process::start(options.clone(), definitions.clone(), &journal, &participant);
    let open = process.begin("o-2").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    process.kill().await;
    participant.always("alive", None);
    let process = Process::start(options, definitions, &journal, &participant);
    let record = process.handle.wait(&open.id, Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Committed);
    let recovered = |e: &EventKind| matches!(e, EventKind::TransactionsRecovered { count: 601 });
    assert!(process.events().iter().any(recovered), "more than two pages were read");
    assert_eq!(participant.in_flight_max.lock().unwrap()["dead"], 4, "the limit is kept");
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_a_call_in_flight_is_finished_and_journalled_and_nothing_else_begun() {
    let (journal, participant) = world();
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = process.begin("o-1").await.id;
    // Into the middle of the first call, which takes 5 ms.
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(participant.called(), "place action");
    process.shutdown.cancel();
    process.task.await.unwrap().unwrap();
    assert_eq!(participant.called(), "place action");
    let record = process.handle.get(&id).await.unwrap().unwrap();
    assert_eq!((record.status, record.steps[0].attempts.len()), (Status::Running, 1));
    let refused = process.handle.start(start("checkout", None, json!(1))).await;
    assert_eq!(refused, Err(StartError::Stopping));

    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    tokio::time::sleep(LONG).await;
    assert_eq!(process.handle.get(&id).await.unwrap().unwrap().status, Status::Committed);
    assert_eq!(participant.called(), "place action, reserve action, charge action, confirm action");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_come_back_does_not_hold_up_the_shutdown() {
    let (journal, participant) = world();
    participant.always("place", Some(Does::Hangs));
    let options = Options { shutdown_grace: Duration::from_secs(1), ..Options::default() };
    let process = Process::start(options, vec![checkout()], &journal, &participant);
    process.begin("o-1").await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    process.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(2), process.task).await.expect("within the grace").unwrap().unwrap();
}

/// A journal that fails for good after some writes.
struct Failing {
    inner: MemoryJournal,
    left: std::sync::atomic::AtomicU32,
}

impl Failing {
    fn check(&self) -> Result<(), JournalError> {
        use std::sync::atomic::Ordering::Relaxed;
        match self.left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(JournalError::Failed("disk on fire".into())),
        }
    }
}

impl Journal for Failing {
    fn define(&self, definition: String) -> Answer<'_, DefinitionId> {
        self.inner.define(definition)
    }
    fn definition(&self, id: DefinitionId) -> Answer<'_, Option<String>> {
        self.inner.definition(id)
    }
    fn insert(&self, new: New) -> Answer<'_, Inserted> {
        match self.check() {
            Ok(()) => self.inner.insert(new),
            Err(e) => Box::pin(std::future::ready(Err(e))),
        }
    }
    fn update(&self, change: Change) -> Answer<'_, bool> {
        match self.check() {
            Ok(()) => self.inner.update(change),
            Err(e) => Box::pin(std::future::ready(Err(e))),
        }
    }
    fn get(&self, id: mainstay_core::TransactionId) -> Answer<'_, Option<Stored>> {
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

#[tokio::test(start_paused = true)]
async fn a_journal_that_fails_ends_the_engine_before_the_next_call() {
    let (_, participant) = world();
    let journal = Arc::new(Failing { inner: MemoryJournal::new(), left: 2.into() });
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    process.begin("o-1").await;
    let end = process.task.await.unwrap();
    assert_eq!(end, Err(EngineError::Journal(JournalError::Failed("disk on fire".into()))));
    assert_eq!(participant.called(), "place action, reserve action", "no call without its state in the journal");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_lost_a_transaction_to_another_lets_go() {
    let (journal, participant) = world();
    participant.always("reserve", Some(Does::Hangs));
    let a = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = a.begin("o-1").await.id;
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Another one takes over what the first still believes to own.
    participant.always("reserve", None);
    let b = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    tokio::time::sleep(LONG).await;
    assert_eq!(b.handle.get(&id).await.unwrap().unwrap().status, Status::Committed);
    assert_eq!(participant.calls.lock().unwrap().iter().filter(|c| c.step == "confirm").count(), 1);
    assert!(!a.task.is_finished(), "it is no failure");
}

#[test]
fn options_are_checked() {
    let (journal, participant) = world();
    let clock = Arc::new(mainstay_core::SystemClock);
    let bus = mainstay_core::EventBus::new(clock.clone());
    let new = |options, definitions| {
        crate::Engine::new(options, definitions, journal.clone(), participant.clone(), clock.clone(), bus.clone())
            .map(drop)
    };
    assert!(new(Options { calls_per_service_max: 0, ..Options::default() }, vec![]).is_err());
    assert!(new(Options { open_max: crate::OPEN_MAX + 1, ..Options::default() }, vec![]).is_err());
    assert!(new(Options::default(), vec![checkout(), checkout()]).unwrap_err().to_string().contains("checkout"));
    assert_eq!(Op::Action.to_string(), "action");
    assert!(!Shutdown::new().is_cancelled());
}
