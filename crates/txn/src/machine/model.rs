//! The machine, its journal and its participants as a model, walked through completely: every order of answers, lost
//! answers, late answers, passed deadlines and crashes, at every point, within small budgets.
//!
//! What the property tests cannot show and this does: a crash between a call and the journalling of its answer, with
//! the request still on its way to the participant when the coordinator is back.

use std::time::Duration;

use stateright::{Checker, Model, Property};

use super::*;
use crate::definition::Step;

/// What a participant that keeps the barrier rule knows of one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Effect {
    Untouched,
    Applied,
    /// Undone, or blocked before it was done: a late action changes nothing.
    Barred,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    journal: State,
    /// Journalled at some time: `(committed, undoing)`.
    ever: (bool, bool),
    /// What the engine knows, while it lives, and what it does.
    engine: Option<(State, Doing)>,
    effects: Vec<Effect>,
    /// How often an action took effect.
    applied: Vec<u8>,
    /// Requests that are on their way with nobody waiting for the answer.
    adrift: Vec<(u16, Op)>,
    now: WallMs,
    crashes_left: u8,
    losses_left: u8,
    refusals_left: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Doing {
    /// Decided, not yet journalled.
    Deciding(Vec<Held>),
    Calling(u16, Op),
    Waiting(WallMs),
    Ended,
}

/// A command, as far as the model performs it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Held {
    Persist,
    Call(u16, Op),
    Wait(WallMs),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Happens {
    /// The engine carries out its next command.
    Perform,
    /// The call arrives and its answer too.
    Answer,
    Refuse,
    /// The call arrives, its answer does not.
    AnswerLost,
    /// The call does not arrive, at least not yet.
    CallLost,
    /// A request that nobody waits for arrives after all.
    Arrive(u8),
    Crash,
    Restart,
    DeadlinePasses,
    Timer,
}

struct Saga {
    definition: Definition,
    crashes: u8,
    losses: u8,
    refusals: u8,
}

const DEADLINE_MS: WallMs = 1_000;

impl Saga {
    fn decide(&self, state: &State, input: Input) -> (State, Doing) {
        let (next, commands) = advance(&self.definition, state, input);
        let held = commands.into_iter().filter_map(|command| match command {
            Command::Persist => Some(Held::Persist),
            Command::Tell(_) => None,
            Command::Call { step, op, .. } => Some(Held::Call(step, op)),
            Command::Wait { until_ms } => Some(Held::Wait(until_ms)),
            Command::End => Some(Held::End),
        });
        (next, Doing::Deciding(held.collect()))
    }

    fn arrive(world: &mut World, step: u16, op: Op) {
        let effect = &mut world.effects[usize::from(step)];
        match (op, *effect) {
            (Op::Action, Effect::Untouched) => {
                *effect = Effect::Applied;
                world.applied[usize::from(step)] += 1;
            }
            (Op::Action, Effect::Applied | Effect::Barred) => {}
            (Op::Compensate, _) => *effect = Effect::Barred,
        }
    }
}

impl Model for Saga {
    type State = World;
    type Action = Happens;

    fn init_states(&self) -> Vec<World> {
        let journal = State::begin(&self.definition, 0);
        let engine = self.decide(&journal, Input::Woken { now: 0 });
        let steps = self.definition.steps().len();
        vec![World {
            journal,
            ever: (false, false),
            engine: Some(engine),
            effects: vec![Effect::Untouched; steps],
            applied: vec![0; steps],
            adrift: Vec::new(),
            now: 0,
            crashes_left: self.crashes,
            losses_left: self.losses,
            refusals_left: self.refusals,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Happens>) {
        match &world.engine {
            None => actions.push(Happens::Restart),
            Some((_, doing)) => {
                match doing {
                    Doing::Deciding(_) => actions.push(Happens::Perform),
                    Doing::Calling(step, op) => {
                        // An undo does not arrive before it is answered; an action may be barred, and is "done" then.
                        actions.push(Happens::Answer);
                        let untouched = world.effects[usize::from(*step)] == Effect::Untouched;
                        if world.refusals_left > 0 && *op == Op::Action && untouched {
                            actions.push(Happens::Refuse);
                        }
                        if world.losses_left > 0 {
                            actions.extend([Happens::AnswerLost, Happens::CallLost]);
                        }
                    }
                    Doing::Waiting(_) => actions.push(Happens::Timer),
                    Doing::Ended => {}
                }
                if world.crashes_left > 0 && *doing != Doing::Ended {
                    actions.push(Happens::Crash);
                }
            }
        }
        if world.now < DEADLINE_MS && world.journal.status.is_open() {
            actions.push(Happens::DeadlinePasses);
        }
        actions.extend((0..world.adrift.len() as u8).map(Happens::Arrive));
    }

    fn next_state(&self, last: &World, action: Happens) -> Option<World> {
        let mut world = last.clone();
        let unknown = Outcome::Unknown { why: String::new() };
        match action {
            Happens::DeadlinePasses => world.now = DEADLINE_MS,
            Happens::Crash => {
                world.crashes_left -= 1;
                if let Some((_, Doing::Calling(step, op))) = world.engine.take() {
                    world.adrift.push((step, op));
                }
            }
            Happens::Restart => {
                world.engine = Some(self.decide(&world.journal, Input::Woken { now: world.now }));
            }
            Happens::Arrive(at) => {
                let (step, op) = world.adrift.remove(usize::from(at));
                Self::arrive(&mut world, step, op);
            }
            Happens::Timer => {
                let (state, Doing::Waiting(until)) = world.engine.take()? else { return None };
                world.now = world.now.max(until);
                world.engine = Some(self.decide(&state, Input::Woken { now: world.now }));
            }
            Happens::Perform => {
                let (state, Doing::Deciding(mut held)) = world.engine.take()? else { return None };
                let doing = match held.remove(0) {
                    Held::Persist => {
                        world.journal = state.clone();
                        world.ever.0 |= state.status == Status::Committed;
                        world.ever.1 |= state.undoing;
                        Doing::Deciding(held)
                    }
                    Held::Call(step, op) => Doing::Calling(step, op),
                    Held::Wait(until) => Doing::Waiting(until),
                    Held::End => Doing::Ended,
                };
                world.engine = Some((state, doing));
            }
            Happens::Answer | Happens::Refuse | Happens::AnswerLost | Happens::CallLost => {
                let (state, Doing::Calling(step, op)) = world.engine.take()? else { return None };
                if matches!(action, Happens::Answer | Happens::AnswerLost) {
                    Self::arrive(&mut world, step, op);
                }
                let outcome = match action {
                    Happens::Answer => Outcome::Done,
                    Happens::Refuse => {
                        world.refusals_left -= 1;
                        Outcome::Refused { why: String::new() }
                    }
                    _ => {
                        world.losses_left -= 1;
                        if action == Happens::CallLost {
                            world.adrift.push((step, op));
                        }
                        unknown
                    }
                };
                world.engine = Some(self.decide(&state, Input::Answered { outcome, now: world.now, draw: 0 }));
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("T3: a decision never changes", |_, w: &World| !(w.ever.0 && w.ever.1)),
            Property::always("T4: an action takes effect at most once", |_, w: &World| {
                w.applied.iter().all(|n| *n <= 1)
            }),
            Property::always("T4: what is committed is not undone", |_, w: &World| {
                w.journal.status != Status::Committed || w.effects.iter().all(|e| *e == Effect::Applied)
            }),
            // T5 is in it: requests adrift may arrive at any time after the end, and must change nothing.
            Property::always("T4, T5: what is rolled back has no effect", |m: &Saga, w: &World| {
                let undoable = m.definition.steps().iter().map(|s| s.undo.is_some());
                w.journal.status != Status::RolledBack
                    || w.effects.iter().zip(undoable).all(|(e, undoable)| !undoable || *e != Effect::Applied)
            }),
            Property::always("nothing that cannot be undone is done in vain", |m: &Saga, w: &World| {
                let pivot = m.definition.steps().iter().position(|s| s.pivot);
                w.journal.status != Status::RolledBack
                    || pivot.is_none_or(|p| m.definition.steps()[p].undo.is_some() || w.effects[p] != Effect::Applied)
            }),
            Property::eventually("T2: every path reaches its end", |_, w: &World| {
                !w.journal.status.is_open() && w.engine.as_ref().is_some_and(|(_, d)| *d == Doing::Ended)
            }),
            Property::sometimes("it can commit", |_, w: &World| w.journal.status == Status::Committed),
            Property::sometimes("it can roll back", |_, w: &World| w.journal.status == Status::RolledBack),
        ]
    }
}

fn check(steps: &[(bool, bool)], crashes: u8, losses: u8, refusals: u8) {
    let steps = steps.iter().enumerate().map(|(i, &(undo, pivot))| Step {
        name: i.to_string(),
        call: "POST a/do".parse().unwrap(),
        undo: undo.then(|| "POST a/undo".parse().unwrap()),
        pivot,
    });
    let deadline = Duration::from_millis(DEADLINE_MS as u64);
    let definition = Definition::saga("s", deadline, Duration::from_secs(3600), steps.collect()).unwrap();
    let checker = Saga { definition, crashes, losses, refusals }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 500, "only {} states", checker.unique_state_count());
}

#[test]
fn two_steps_that_can_be_undone() {
    check(&[(true, false), (true, false)], 2, 2, 1);
}

#[test]
fn a_pivot_in_the_middle() {
    check(&[(true, false), (true, true), (false, false)], 2, 2, 1);
}

#[test]
fn a_pivot_that_cannot_be_undone() {
    check(&[(true, false), (false, true)], 2, 2, 0);
}
