//! A world for the engine: scripted participants, a journal that survives, and processes that can be killed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::{Clock, EventBus, EventKind, Shutdown, TokioClock, TransactionId};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::definition::{Definition, Step};
use crate::journal::Journal;
use crate::{
    BranchCall, Engine, EngineError, Handle, MemoryJournal, Op, Options, Outcome, Participant, Start, Started,
};

pub(super) const EPOCH_MS: i64 = 1_764_000_000_000;
/// Paused time makes it free.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// What a participant does with one call.
#[derive(Debug, Clone)]
pub(super) enum Does {
    Says(Outcome),
    /// Takes effect, but the answer is lost on the way.
    AnswerLost,
    /// Nothing, for ever.
    Hangs,
}

pub(super) fn refuses() -> Does {
    Does::Says(Outcome::Refused { why: "no".into() })
}

pub(super) fn unknown() -> Does {
    Does::Says(Outcome::Unknown { why: "lost".into() })
}

/// A participant that keeps the barrier rule, and does as it is told first.
#[derive(Default)]
pub(super) struct Scripted {
    told: Mutex<BTreeMap<(String, Op), VecDeque<Does>>>,
    always: Mutex<BTreeMap<String, Does>>,
    pub(super) calls: Mutex<Vec<BranchCall>>,
    in_flight: Mutex<BTreeMap<String, usize>>,
    pub(super) in_flight_max: Mutex<BTreeMap<String, usize>>,
    effects: Mutex<BTreeMap<(TransactionId, String), Effect>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// How often the action took effect.
    pub(super) applied: u32,
    /// Undone, or never to be done.
    pub(super) barred: bool,
}

impl Scripted {
    pub(super) fn tell(&self, step: &str, op: Op, does: impl IntoIterator<Item = Does>) {
        self.told.lock().unwrap().entry((step.into(), op)).or_default().extend(does);
    }

    pub(super) fn always(&self, service: &str, does: Option<Does>) {
        let mut always = self.always.lock().unwrap();
        match does {
            Some(does) => always.insert(service.into(), does),
            None => always.remove(service),
        };
    }

    /// `place action, charge action, …`
    pub(super) fn called(&self) -> String {
        let calls = self.calls.lock().unwrap();
        calls.iter().map(|c| format!("{} {}", c.step, c.op)).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn effect(&self, id: &TransactionId, step: &str) -> Effect {
        self.effects.lock().unwrap().get(&(id.clone(), step.into())).copied().unwrap_or_default()
    }

    fn take_effect(&self, call: &BranchCall) {
        let mut effects = self.effects.lock().unwrap();
        let effect = effects.entry((call.transaction.clone(), call.step.clone())).or_default();
        match call.op {
            Op::Action if effect.barred || effect.applied > 0 => {}
            Op::Action => effect.applied += 1,
            Op::Compensate => effect.barred = true,
        }
    }
}

/// Counts a call that is under way, also when it is given up.
struct InFlight<'a>(&'a Scripted, String);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        *self.0.in_flight.lock().unwrap().get_mut(&self.1).unwrap() -= 1;
    }
}

impl Participant for Scripted {
    async fn call(&self, call: BranchCall) -> Outcome {
        let service = call.service.to_string();
        {
            let mut in_flight = self.in_flight.lock().unwrap();
            let now = in_flight.entry(service.clone()).or_default();
            *now += 1;
            let mut max = self.in_flight_max.lock().unwrap();
            let max = max.entry(service.clone()).or_default();
            *max = (*max).max(*now);
        }
        let _in_flight = InFlight(self, service.clone());
        self.calls.lock().unwrap().push(call.clone());
        let told = self.told.lock().unwrap().get_mut(&(call.step.clone(), call.op)).and_then(VecDeque::pop_front);
        let does = told.or_else(|| self.always.lock().unwrap().get(&service).cloned());
        tokio::time::sleep(Duration::from_millis(5)).await;
        match does {
            None => self.take_effect(&call),
            Some(Does::Says(outcome)) => {
                if outcome == Outcome::Done {
                    self.take_effect(&call);
                }
                return outcome;
            }
            Some(Does::AnswerLost) => {
                self.take_effect(&call);
                return Outcome::Unknown { why: "the answer was lost".into() };
            }
            Some(Does::Hangs) => std::future::pending().await,
        }
        Outcome::Done
    }
}

/// `place charge! confirm`: each step calls the service of its own name; all before the pivot can be undone.
pub(super) fn saga(name: &str, steps: &str) -> Definition {
    let pivot_at = steps.split(' ').position(|s| s.ends_with('!')).unwrap_or(usize::MAX);
    let steps = steps.split(' ').enumerate().map(|(i, step)| {
        let step = step.trim_end_matches('!');
        Step {
            name: step.into(),
            call: format!("POST {step}/do/{{key}}").parse().unwrap(),
            undo: (i <= pivot_at).then(|| format!("DELETE {step}/do/{{key}}").parse().unwrap()),
            pivot: i == pivot_at,
        }
    });
    Definition::saga(name, Duration::from_secs(30), Duration::from_secs(300), steps.collect()).unwrap()
}

pub(super) fn checkout() -> Definition {
    saga("checkout", "place reserve charge! confirm")
}

/// One process of Mainstay, as far as transactions go.
pub(super) struct Process {
    pub(super) handle: Handle,
    pub(super) bus: EventBus,
    pub(super) shutdown: Shutdown,
    pub(super) task: JoinHandle<Result<(), EngineError>>,
}

impl Process {
    pub(super) fn start<J: Journal, P: Participant>(
        options: Options,
        definitions: Vec<Definition>,
        journal: &Arc<J>,
        participant: &Arc<P>,
    ) -> Self {
        thread_local!(static CLOCK: std::cell::OnceCell<(Instant, TokioClock)> = const { std::cell::OnceCell::new() });
        // One clock for all processes of a test: wall time goes on while nobody runs.
        let clock: Arc<dyn Clock> =
            Arc::new(CLOCK.with(|c| c.get_or_init(|| (Instant::now(), TokioClock::starting_at(EPOCH_MS))).1));
        let bus = EventBus::new(clock.clone());
        let (engine, handle) =
            Engine::new(options, definitions, journal.clone(), participant.clone(), clock, bus.clone()).unwrap();
        let shutdown = Shutdown::new();
        let task = tokio::spawn(engine.run(shutdown.clone()));
        Self { handle, bus, shutdown, task }
    }

    /// `kill -9`: nothing of it runs any more when this returns.
    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()));
    }

    pub(super) async fn begin(&self, key: &str) -> Started {
        let start = Start { name: "checkout".into(), key: Some(key.into()), input: json!({"order_id": key}) };
        self.handle.start(start).await.unwrap()
    }

    pub(super) fn events(&self) -> Vec<EventKind> {
        self.bus.recent().iter().map(|e| e.kind.clone()).collect()
    }
}

pub(super) fn world() -> (Arc<MemoryJournal>, Arc<Scripted>) {
    (Arc::new(MemoryJournal::new()), Arc::new(Scripted::default()))
}
