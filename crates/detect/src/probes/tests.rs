use proptest::prelude::*;

use super::*;

/// `kinds` names the probes there are (`s`, `r`, `l`); each step is a probe and its result, such as `r+`;
/// `changes` are the answers, in order.
#[track_caller]
fn check(kinds: &str, steps: &str, changes: &[Change]) -> ProbeSet {
    let mut set = set(kinds);
    let seen: Vec<Change> = steps.split_whitespace().filter_map(|step| observe(&mut set, step)).collect();
    assert_eq!(seen, changes, "{kinds}: {steps}");
    set
}

fn set(kinds: &str) -> ProbeSet {
    let settings = |letter| kinds.contains(letter).then(|| Settings { failure_threshold: 2, ..Settings::default() });
    ProbeSet::new(settings('s'), settings('r'), settings('l'))
}

fn observe(set: &mut ProbeSet, step: &str) -> Option<Change> {
    let kind = match &step[..1] {
        "s" => Kind::Startup,
        "r" => Kind::Ready,
        _ => Kind::Live,
    };
    let sample = match &step[1..] {
        "+" => Sample::Success,
        "-" => Sample::Failure,
        _ => Sample::ProberError,
    };
    set.observe(kind, sample)
}

#[test]
fn startup_gates_the_others() {
    use Change::{Dead, Ready, Started};
    check("srl", "r+ l- l- r+", &[]);
    check("srl", "r+ s+ r+", &[Started, Ready]);
    check("srl", "l- l- s- l- s+ l- l-", &[Started, Dead(Kind::Live)]);
    check("srl", "s- s-", &[Dead(Kind::Startup)]);
    // Its work is done after the first success: it does not run any more.
    let set = check("srl", "s+ s- s- s-", &[Started]);
    assert!(!set.runs(Kind::Startup) && set.runs(Kind::Ready) && set.runs(Kind::Live));
}

#[test]
fn a_kind_that_is_not_there_counts_as_succeeded() {
    assert!(set("").ready() && set("").alive() && set("l").ready());
    assert!(!set("r").ready() && !set("s").ready() && set("r").started());
    check("r", "l- l- s- s-", &[]);
    assert!(check("s", "s+", &[Change::Started]).ready());
}

#[test]
fn ready_comes_and_goes_and_live_can_be_taken_back() {
    use Change::{Alive, Dead, NotReady, Ready};
    check("r", "r+ r- r- r- r+", &[Ready, NotReady, Ready]);
    let set = check("rl", "r+ l- l?  l- l+", &[Ready, Dead(Kind::Live), Alive]);
    assert!(set.ready() && set.alive());
    let mut set = check("rl", "r+ l- l-", &[Ready, Dead(Kind::Live)]);
    assert!(!set.alive());
    set.reset();
    assert_eq!(set, self::set("rl"));
}

proptest! {
    #[test]
    fn nothing_is_ready_before_it_was_seen_ready(steps in prop::collection::vec("[srl][+\\-?]", 0..80)) {
        let mut set = set("srl");
        let (mut started, mut passed) = (false, false);
        for step in &steps {
            let change = observe(&mut set, step);
            passed |= started && step == "r+";
            started |= step == "s+";
            prop_assert!(!set.ready() || (started && passed));
            prop_assert!(!matches!(change, Some(Change::Dead(Kind::Live))) || started);
            prop_assert_eq!(set.started(), started);
        }
    }
}
