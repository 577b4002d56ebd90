//! What an undisturbed process does.

use std::time::Duration;

use mainstay_core::EventKind;
use serde_json::json;

use super::world::{Does, EPOCH_MS, LONG, Process, Scripted, checkout, refuses, unknown, world};
use crate::machine::Status;
use crate::{Attempt, Filter, Op, Options, Outcome, Record, Start, StepState};

async fn run(told: impl FnOnce(&Scripted)) -> (Record, std::sync::Arc<Scripted>, Process) {
    let (journal, participant) = world();
    told(&participant);
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let started = process.begin("o-1").await;
    let record = process.handle.wait(&started.id, LONG).await.unwrap().unwrap();
    assert_eq!(process.handle.get(&started.id).await.unwrap().as_ref(), Some(&record), "waiting and reading agree");
    (record, participant, process)
}

fn states(record: &Record) -> Vec<StepState> {
    record.steps.iter().map(|s| s.state).collect()
}

#[tokio::test(start_paused = true)]
async fn a_saga_commits_and_its_calls_say_who_they_are() {
    let (record, participant, process) = run(|_| {}).await;
    assert_eq!(record.status, Status::Committed);
    assert_eq!(participant.called(), "place action, reserve action, charge action, confirm action");
    assert_eq!(states(&record), [StepState::Done; 4]);
    assert_eq!((record.key.as_str(), record.input.clone()), ("o-1", json!({"order_id": "o-1"})));
    assert!(record.started_ms >= EPOCH_MS && record.deadline_ms == record.started_ms + 30_000);
    let counts = process.handle.counts();
    assert_eq!((counts.committed, counts.open()), (1, 0));

    let call = participant.calls.lock().unwrap()[2].clone();
    let id = record.id.to_string();
    let headers: Vec<(&str, &str)> = call.headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("content-type", "application/json"),
            ("mainstay-transaction", &*id),
            ("mainstay-branch", "charge"),
            ("mainstay-op", "action"),
            ("idempotency-key", &*format!("{id}/charge/action")),
        ]
    );
    assert_eq!((call.path.as_str(), &*call.body), ("/do/o-1", br#"{"order_id":"o-1"}"#.as_slice()));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_rolls_back_and_names_the_step() {
    let (record, participant, process) = run(|p| p.tell("charge", Op::Action, [refuses()])).await;
    assert_eq!(record.status, Status::RolledBack);
    assert_eq!(
        participant.called(),
        "place action, reserve action, charge action, charge compensate, reserve compensate, place compensate"
    );
    let why = record.why.clone().unwrap();
    assert_eq!((why.step.as_str(), why.text.as_str(), why.refused), ("charge", "no", true));
    assert_eq!(states(&record), [StepState::Undone, StepState::Undone, StepState::Undone, StepState::Pending]);
    assert_eq!(process.events(), [], "a refusal is an answer of the business, not an event");
}

#[tokio::test(start_paused = true)]
async fn unknown_is_tried_again_with_the_same_key() {
    let (record, participant, _) =
        run(|p| p.tell("charge", Op::Action, [Does::AnswerLost, unknown(), Does::Hangs])).await;
    assert_eq!(record.status, Status::Committed);
    assert_eq!(participant.effect(&record.id, "charge").applied, 1);
    let keys: Vec<String> = participant
        .calls
        .lock()
        .unwrap()
        .iter()
        .filter(|c| c.step == "charge")
        .map(|c| c.idempotency_key().into())
        .collect();
    assert_eq!(keys, vec![format!("{}/charge/action", record.id); 4]);
    let attempts: &[Attempt] = &record.steps[2].attempts;
    assert_eq!(attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(attempts[2].error.as_deref(), Some("no answer within 5000 ms"));
    assert!(attempts[2].took_ms >= 5_000, "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_participant_that_is_gone_past_the_deadline_is_undone_when_it_is_back() {
    let (journal, participant) = world();
    participant.always("reserve", Some(unknown()));
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = process.begin("o-1").await.id;
    let record = process.handle.wait(&id, Duration::from_secs(60)).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Compensating, "who waits too long sees how far it is");
    assert_eq!(process.handle.counts().compensating, 1);
    participant.always("reserve", None);
    let record = process.handle.wait(&id, Duration::from_secs(31)).await.unwrap().unwrap();
    assert_eq!(record.status, Status::RolledBack);
    assert!(!record.why.unwrap().refused);
    assert_eq!(participant.effect(&id, "place").applied, 1);
    assert!(participant.effect(&id, "place").barred && participant.effect(&id, "reserve").barred);
}

#[tokio::test(start_paused = true)]
async fn after_the_pivot_it_goes_on_and_an_alarm_is_raised() {
    let (journal, participant) = world();
    participant.always("confirm", Some(unknown()));
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = process.begin("o-1").await.id;
    assert_eq!(process.handle.wait(&id, LONG).await.unwrap().unwrap().status, Status::Running);
    assert!(matches!(&process.events()[..], [EventKind::TransactionLate { step, .. }] if step == "confirm"), "once");
    let attempts = process.handle.get(&id).await.unwrap().unwrap().steps[3].attempts.len();
    assert!((8..=crate::ATTEMPTS_PER_CALL_MAX).contains(&attempts), "{attempts} kept of an hour's");
    participant.always("confirm", None);
    assert_eq!(process.handle.wait(&id, LONG).await.unwrap().unwrap().status, Status::Committed);
}

#[tokio::test(start_paused = true)]
async fn a_compensation_without_end_is_stuck_and_said_so() {
    let (journal, participant) = world();
    participant.tell("reserve", Op::Action, [refuses()]);
    participant.tell("place", Op::Compensate, std::iter::repeat_n(unknown(), 1_000));
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let id = process.begin("o-1").await.id;
    let record = process.handle.wait(&id, LONG).await.unwrap().unwrap();
    assert_eq!(record.status, Status::Stuck);
    assert_eq!(record.stuck.as_ref().unwrap().step, "place");
    assert_eq!(states(&record)[..2], [StepState::Stuck, StepState::Undone]);
    let took = record.updated_ms - record.started_ms;
    assert!((300_000..=336_000).contains(&took), "{took} ms: stuck_after, then one more answer");
    assert!(matches!(&process.events()[..], [EventKind::TransactionStuck { step, .. }] if step == "place"));
    assert_eq!(process.handle.counts().stuck, 1);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let wait = Duration::from_secs(7);
    let retry = Does::Says(Outcome::Retry { after: Some(wait), why: "busy".into() });
    let (record, ..) = run(|p| p.tell("place", Op::Action, [retry])).await;
    let attempts = &record.steps[0].attempts;
    assert!(attempts[1].at_ms - attempts[0].at_ms >= 7_000, "{attempts:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_key_every_start_is_new_and_the_id_is_the_key() {
    let (journal, participant) = world();
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    let start = || Start { name: "checkout".into(), key: None, input: json!(null) };
    let a = process.handle.start(start()).await.unwrap();
    let b = process.handle.start(start()).await.unwrap();
    assert_ne!(a.id, b.id);
    process.handle.wait(&a.id, LONG).await.unwrap();
    assert_eq!(participant.calls.lock().unwrap()[0].path, format!("/do/{}", a.id));
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let (journal, participant) = world();
    let process = Process::start(Options::default(), vec![checkout()], &journal, &participant);
    for i in 0..5 {
        process.begin(&format!("o-{i}")).await;
    }
    let page = process.handle.list(Filter::default(), 3, None).await.unwrap();
    assert_eq!(page.records.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["o-4", "o-3", "o-2"]);
    let rest = process.handle.list(Filter::default(), 3, page.next).await.unwrap();
    assert_eq!((rest.records.len(), rest.next), (2, None));
}

/// Ids, jitter and order come from the seed and the clock alone.
#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_trace() {
    async fn trace(seed: u64) -> String {
        let (journal, participant) = world();
        participant.tell("charge", Op::Action, [unknown(), unknown(), Does::AnswerLost, refuses()]);
        participant.tell("reserve", Op::Action, [unknown(), unknown(), unknown()]);
        let clock = std::sync::Arc::new(mainstay_core::TokioClock::starting_at(EPOCH_MS));
        let bus = mainstay_core::EventBus::new(clock.clone());
        let options = Options { seed, ..Options::default() };
        let (engine, handle) =
            crate::Engine::new(options, vec![checkout()], journal.clone(), participant.clone(), clock, bus).unwrap();
        let shutdown = mainstay_core::Shutdown::new();
        let task = tokio::spawn(engine.run(shutdown.clone()));
        for i in 0..10 {
            let start = Start { name: "checkout".into(), key: Some(format!("o-{i}")), input: json!(i) };
            handle.start(start).await.unwrap();
        }
        tokio::time::sleep(LONG).await;
        let records = handle.list(Filter::default(), 10, None).await.unwrap().records;
        shutdown.cancel();
        task.await.unwrap().unwrap();
        format!("{}\n{}", participant.called(), serde_json::to_string(&records).unwrap())
    }
    let (a, b, other) = (trace(7).await, trace(7).await, trace(8).await);
    assert_eq!(a, b);
    assert_ne!(a, other);
}
