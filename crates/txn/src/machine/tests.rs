//! Tables of what the machine says, and properties over everything that can be said to it.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::definition::Step;

/// `place/u reserve charge/u! confirm`: `/u` can be undone, `!` is the pivot. Deadline 10 s, stuck after 20 s.
fn saga(steps: &str) -> Definition {
    let steps = steps.split(' ').map(|step| Step {
        name: step.trim_end_matches('!').trim_end_matches("/u").into(),
        call: "POST a/do".parse().unwrap(),
        undo: step.contains("/u").then(|| "POST a/undo".parse().unwrap()),
        pivot: step.ends_with('!'),
    });
    Definition::saga("s", Duration::from_secs(10), Duration::from_secs(20), steps.collect()).unwrap()
}

/// `done@5`: the outcome and the time in seconds; the draw is always zero, so back-offs are over at once.
fn input(text: &str) -> Input {
    let (what, at) = text.split_once('@').expect("write what@seconds");
    let now = (at.parse::<f64>().unwrap() * 1000.0) as WallMs;
    let why = || "no".to_string();
    let outcome = match what {
        "wake" => return Input::Woken { now },
        "done" => Outcome::Done,
        "refused" => Outcome::Refused { why: why() },
        "in_progress" => Outcome::InProgress,
        "unknown" => Outcome::Unknown { why: why() },
        "retry" => Outcome::Retry { after: None, why: why() },
        _ => {
            let after = what.strip_prefix("retry:").unwrap_or_else(|| panic!("{what}?")).parse().unwrap();
            Outcome::Retry { after: Some(Duration::from_secs(after)), why: why() }
        }
    };
    Input::Answered { outcome, now, draw: 0 }
}

fn shown(definition: &Definition, commands: &[Command]) -> String {
    let name = |step: &u16| &definition.steps()[usize::from(*step)].name;
    let shown = commands.iter().map(|command| match command {
        Command::Persist => "persist".to_string(),
        Command::Tell(Notice::Compensating(c)) => format!("tell compensating {}: {}", name(&c.step), c.text),
        Command::Tell(Notice::Stuck(c)) => format!("tell stuck {}: {}", name(&c.step), c.text),
        Command::Tell(Notice::Late { step }) => format!("tell late {}", name(step)),
        Command::Call { step, op: Op::Action, .. } => format!("do {}", name(step)),
        Command::Call { step, op: Op::Compensate, .. } => format!("undo {}", name(step)),
        Command::Wait { until_ms } => format!("wait {}", *until_ms as f64 / 1000.0),
        Command::End => "end".into(),
    });
    shown.collect::<Vec<_>>().join("; ")
}

/// Walks through `script` (input, what the machine says to it) and checks where it ends.
fn check(steps: &str, script: &[(&str, &str)], end: Status) {
    let definition = saga(steps);
    let mut state = State::begin(&definition, 0);
    for (i, (said, expected)) in script.iter().enumerate() {
        let (next, commands) = advance(&definition, &state, input(said));
        assert_eq!(shown(&definition, &commands), *expected, "{steps}, line {i}: {said} in {state:?}");
        state = next;
    }
    assert_eq!(state.status, end, "{steps}: {state:?}");
}

#[test]
fn forward_in_order() {
    check(
        "place/u charge/u! confirm",
        &[
            ("wake@0", "do place"),
            ("done@1", "persist; do charge"),
            ("done@2", "persist; do confirm"),
            ("done@3", "persist; end"),
            ("wake@4", "end"),
        ],
        Status::Committed,
    );
}

#[test]
fn a_refusal_is_undone_backwards_with_the_refused_step() {
    check(
        "place/u look reserve/u charge/u! confirm",
        &[
            ("wake@0", "do place"),
            ("done@0", "persist; do look"),
            ("done@0", "persist; do reserve"),
            ("done@0", "persist; do charge"),
            ("refused@0", "persist; tell compensating charge: no; undo charge"),
            ("done@0", "persist; undo reserve"),
            ("done@0", "persist; undo place"),
            ("done@0", "persist; end"),
        ],
        Status::RolledBack,
    );
    check(
        "look ask",
        &[("done@0", "persist; do ask"), ("refused@0", "persist; tell compensating ask: no; end")],
        Status::RolledBack,
    );
}

#[test]
fn unknown_is_asked_again_until_the_deadline_and_then_undone() {
    check(
        "place/u confirm",
        &[
            ("wake@0", "do place"),
            ("unknown@1", "persist; do place"),
            ("in_progress@2", "persist; wait 3"),
            ("wake@2.5", "wait 3"),
            ("wake@3", "do place"),
            ("retry:2@4", "persist; wait 6"),
            ("wake@6", "do place"),
            ("retry:900@7", "persist; wait 10"),
            ("wake@10", "persist; tell compensating place: the deadline passed; undo place"),
            ("done@10", "persist; end"),
        ],
        Status::RolledBack,
    );
}

#[test]
fn a_late_answer_before_the_pivot_turns_round_without_touching_the_next_step() {
    check(
        "place/u charge/u! confirm",
        &[
            ("done@10", "persist; tell compensating place: the deadline passed; undo place"),
            ("done@11", "persist; end"),
        ],
        Status::RolledBack,
    );
    check("place/u charge/u!", &[("done@1", "persist; do charge"), ("done@11", "persist; end")], Status::Committed);
}

#[test]
fn after_the_pivot_there_is_only_forward_and_an_alarm() {
    check(
        "charge/u! confirm ship",
        &[
            ("done@1", "persist; do confirm"),
            ("unknown@11", "persist; tell late confirm; do confirm"),
            ("unknown@12", "persist; do confirm"),
            ("done@900", "persist; do ship"),
            ("refused@901", "persist; tell stuck ship: no; end"),
            ("wake@902", "end"),
        ],
        Status::Stuck,
    );
    // The pivot itself came back after the deadline: it took effect, so it is the rest that must follow.
    check("charge/u! confirm", &[("done@11", "persist; tell late confirm; do confirm")], Status::Running);
}

#[test]
fn a_pivot_that_cannot_be_undone_is_never_left_in_doubt() {
    check(
        "place/u charge! confirm",
        &[
            ("done@1", "persist; do charge"),
            ("unknown@11", "persist; tell late charge; do charge"),
            ("refused@12", "persist; tell compensating charge: no; undo place"),
            ("done@13", "persist; end"),
        ],
        Status::RolledBack,
    );
    check(
        "place/u charge! confirm",
        &[("done@11", "persist; tell compensating place: the deadline passed; undo place")],
        Status::Compensating,
    );
}

#[test]
fn a_compensation_that_is_refused_or_stays_unknown_is_stuck() {
    check(
        "place/u pay/u",
        &[
            ("done@0", "persist; do pay"),
            ("refused@1", "persist; tell compensating pay: no; undo pay"),
            ("refused@2", "persist; tell stuck pay: no; end"),
        ],
        Status::Stuck,
    );
    check(
        "place/u",
        &[
            ("refused@1", "persist; tell compensating place: no; undo place"),
            ("unknown@20.9", "persist; undo place"),
            // Mainstay was down for an hour: it asks once more before it calls a person.
            ("wake@3600", "undo place"),
            ("unknown@3601", "persist; tell stuck place: no result after 20 s of undoing; end"),
        ],
        Status::Stuck,
    );
}

#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let definition = saga("place/u");
    let state = State { due_ms: 900_000_000, tries: 3, ..State::begin(&definition, 0) };
    let (_, commands) = advance(&definition, &state, Input::Woken { now: 1 });
    assert_eq!(shown(&definition, &commands), "do place");
}

#[test]
fn the_back_off_doubles_to_its_cap_and_its_jitter_is_full() {
    let definition = saga("place/u");
    let mut state = State { deadline_ms: WallMs::MAX, ..State::begin(&definition, 0) };
    for cap in [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000, 30_000] {
        for (draw, pause) in [(0, 0), (cap / 2, cap / 2), (cap, cap), (cap + 1, 0)] {
            let unknown = Input::Answered { outcome: Outcome::Unknown { why: String::new() }, now: 0, draw };
            assert_eq!(advance(&definition, &state, unknown).0.due_ms, pause as WallMs, "cap {cap}");
        }
        state.tries += 1;
    }
}

#[test]
fn a_state_stays_small_and_reads_back() {
    let definition = saga("place/u");
    let state = State::begin(&definition, 1_764_000_000_000);
    let text = serde_json::to_string(&state).unwrap();
    assert!(text.len() < 80, "{text}");
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    let full = State {
        status: Status::Stuck,
        why: Some(Cause { step: 0, text: "no".into(), refused: true }),
        stuck: Some(Cause { step: 0, text: "no".into(), refused: true }),
        tries: 3,
        undoing: true,
        late: true,
        ..state
    };
    assert_eq!(serde_json::from_str::<State>(&serde_json::to_string(&full).unwrap()).unwrap(), full);
}

fn any_saga() -> impl Strategy<Value = String> {
    (prop::collection::vec(any::<bool>(), 1..6), 0..8_usize).prop_map(|(undo, pivot)| {
        let steps = undo
            .iter()
            .enumerate()
            .map(|(i, undo)| format!("s{i}{}{}", if *undo { "/u" } else { "" }, if i == pivot { "!" } else { "" }));
        steps.collect::<Vec<_>>().join(" ")
    })
}

/// What happens next, and how many seconds later.
fn any_turn() -> impl Strategy<Value = (u8, i64, u64)> {
    (0..12_u8, prop_oneof![4 => 0..3_000_i64, 1 => 0..40_000_i64], any::<u64>())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever participants answer and whenever: effects are journalled before calls, directions never change back,
    /// nothing is undone after the pivot, final means final, and there is always a next move until the end.
    #[test]
    fn promises_hold_whatever_happens(steps in any_saga(), turns in prop::collection::vec(any_turn(), 1..60)) {
        let definition = saga(&steps);
        let pivot = definition.steps().iter().position(|s| s.pivot);
        let mut now = 0;
        let mut state = State::begin(&definition, now);
        let mut journal = state.clone();
        let mut done_forward = vec![false; definition.steps().len()];
        let mut last = None;
        for (outcome, later, draw) in turns {
            now += later;
            let outcome = match outcome {
                0..=5 => Outcome::Done,
                6 => Outcome::Refused { why: "no".into() },
                7 => Outcome::InProgress,
                8 => Outcome::Retry { after: Some(Duration::from_secs(draw % 100)), why: "later".into() },
                _ => Outcome::Unknown { why: "lost".into() },
            };
            let input = match last {
                Some(Command::Call { step, op: Op::Action, .. }) => {
                    done_forward[usize::from(step)] |= outcome == Outcome::Done;
                    Input::Answered { outcome, now, draw }
                }
                Some(Command::Call { .. }) => Input::Answered { outcome, now, draw },
                _ => Input::Woken { now },
            };
            let before = state.clone();
            let (next, commands) = advance(&definition, &state, input);
            state = next;

            let persists = commands.iter().filter(|c| **c == Command::Persist).count();
            prop_assert!(persists <= 1 && (persists == 0 || commands[0] == Command::Persist), "{commands:?}");
            if persists == 1 { journal = state.clone(); }
            prop_assert_eq!(&journal, &state, "what is decided is journalled before it is acted upon");
            let acts = commands.iter().filter(|c| matches!(c, Command::Call { .. } | Command::Wait { .. } | Command::End));
            prop_assert_eq!(acts.count(), 1, "exactly one next move");
            last = commands.last().cloned();
            prop_assert_eq!(last == Some(Command::End), !state.status.is_open());

            prop_assert!(!before.undoing || state.undoing, "never forward again");
            prop_assert!(before.status.is_open() || state == before, "final is final, and stuck stays until a person acts");
            if let Some(pivot) = pivot && done_forward[pivot] {
                prop_assert!(!state.undoing, "nothing is undone after the pivot is done");
            }
            if state.status == Status::Committed {
                prop_assert!(done_forward.iter().all(|d| *d), "committed means that all was done");
            }
            match last {
                Some(Command::Call { step, op, .. }) => {
                    prop_assert_eq!(step, state.at, "only what the journal names is called");
                    prop_assert_eq!(op == Op::Compensate, state.undoing);
                    prop_assert!(op == Op::Action || definition.steps()[usize::from(step)].undo.is_some());
                }
                Some(Command::Wait { until_ms }) => {
                    prop_assert!(until_ms > now && until_ms - now <= RETRY_AFTER_MS_MAX as WallMs);
                    prop_assert!(state.status != Status::Running || now >= state.deadline_ms || until_ms <= state.deadline_ms);
                }
                _ => {}
            }
        }
    }

    /// T2: once participants answer, every saga is at its end within one longest pause and one answer per call.
    #[test]
    fn it_ends_soon_once_participants_answer(
        steps in any_saga(), turns in prop::collection::vec(any_turn(), 0..40),
    ) {
        let definition = saga(&steps);
        let mut now = 0;
        let mut state = State::begin(&definition, now);
        for (outcome, later, draw) in turns {
            now += later;
            let outcome = if outcome < 3 { Outcome::Done } else { Outcome::Unknown { why: "lost".into() } };
            // Everything is asked only when the machine asks.
            let (_, commands) = advance(&definition, &state, Input::Woken { now });
            if let Some(Command::Call { .. }) = commands.last() {
                let (woken, _) = advance(&definition, &state, Input::Woken { now });
                state = advance(&definition, &woken, Input::Answered { outcome, now, draw }).0;
            }
        }
        let healed = now.max(state.deadline_ms);
        let mut calls = 0;
        let mut next = Input::Woken { now };
        loop {
            let (moved, commands) = advance(&definition, &state, next);
            state = moved;
            match commands.last() {
                Some(Command::Call { .. }) => {
                    calls += 1;
                    next = Input::Answered { outcome: Outcome::Done, now, draw: 0 };
                }
                Some(Command::Wait { until_ms }) => {
                    now = *until_ms;
                    next = Input::Woken { now };
                }
                _ => break,
            }
        }
        prop_assert!(!state.status.is_open());
        prop_assert!(now <= healed + BACKOFF_MS_MAX as WallMs, "{} ms after it healed", now - healed);
        prop_assert!(calls <= 2 * definition.steps().len());
    }
}
