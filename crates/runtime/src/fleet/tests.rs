//! The machine as tables: an input per line, and what it wants done.

use std::net::SocketAddr;

use mainstay_core::EndpointState;

use super::*;
use crate::driver::Signal;
use crate::spec::{Handler, Probe, Probes, Restart, Stop};

/// A fleet under a clock that the table moves.
struct Table {
    fleet: Fleet,
    start: Instant,
    ms: u64,
}

/// `a*2 b:a` is service `a` with two replicas, and `b` with one, which needs `a`. All have a ready and a live probe, with
/// thresholds of 2, and a limit of 3 restarts; `b!` has a startup probe too.
fn specs(text: &str) -> Vec<ServiceSpec> {
    let spec = |word: &str| {
        let (left, needs) = word.split_once(':').unwrap_or((word, ""));
        let (left, startup) = left.strip_suffix('!').map_or((left, false), |l| (l, true));
        let (name, replicas) = left.split_once('*').unwrap_or((left, "1"));
        let settings = mainstay_detect::Settings { failure_threshold: 2, ..Default::default() };
        let probe = Some(Probe { handler: Handler::Tcp, settings });
        ServiceSpec {
            needs: needs.split(',').filter(|n| !n.is_empty()).map(|n| n.parse().unwrap()).collect(),
            replicas: replicas.parse().unwrap(),
            probes: Probes { startup: probe.clone().filter(|_| startup), ready: probe.clone(), live: probe },
            restart: Restart { limit: 3, ..Restart::default() },
            stop: Stop::default(),
            ..ServiceSpec::new(name.parse().unwrap(), vec![name.to_owned()], "/")
        }
    };
    text.split_whitespace().map(spec).collect()
}

impl Table {
    fn new(text: &str) -> Self {
        Self { fleet: Fleet::new(specs(text), 0).unwrap(), start: Instant::now(), ms: 0 }
    }

    /// One input, as a few words; what it wants done, as a few words each.
    fn say(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "after" {
            self.ms += words[1].parse::<u64>().unwrap();
        }
        let now = Now { at: self.start + Duration::from_millis(self.ms), wall: self.ms as WallMs };
        let input = self.input(&words);
        self.fleet.step(now, input).iter().filter_map(shown).collect()
    }

    fn input(&self, words: &[&str]) -> Input {
        let service = || words[1].parse::<ServiceName>().unwrap();
        let id = || words[1].parse::<ReplicaId>().unwrap();
        let incarnation = || self.fleet.find(&id()).map_or(0, |r| r.incarnation);
        let probed = |kind, sample| Input::Probed {
            id: id(),
            incarnation: incarnation(),
            kind,
            sample,
            error: Some("broken".to_owned()),
        };
        match words[0] {
            "begin" => Input::Begin(words[1..].iter().map(|w| running(w)).collect()),
            "after" => Input::Tick,
            "started" => {
                Input::Started { id: id(), incarnation: incarnation(), result: Ok(instance(id(), incarnation())) }
            }
            "missing" => Input::Started {
                id: id(),
                incarnation: incarnation(),
                result: Err(DriverError::Permanent("no program".to_owned())),
            },
            "unlucky" => Input::Started {
                id: id(),
                incarnation: incarnation(),
                result: Err(DriverError::Transient("no memory".to_owned())),
            },
            "exit" => {
                let incarnation = words.get(2).map_or_else(incarnation, |w| w.parse().unwrap());
                Input::Exited { id: id(), incarnation, status: ExitStatus::Code(1), log_tail: Vec::new() }
            }
            "startup+" => probed(Kind::Startup, Sample::Success),
            "startup-" => probed(Kind::Startup, Sample::Failure),
            "ready+" => probed(Kind::Ready, Sample::Success),
            "ready-" => probed(Kind::Ready, Sample::Failure),
            "live+" => probed(Kind::Live, Sample::Success),
            "live-" => probed(Kind::Live, Sample::Failure),
            "in_flight" => Input::InFlight { id: id(), incarnation: incarnation(), count: words[2].parse().unwrap() },
            "ended" => Input::StopEnded {
                id: id(),
                incarnation: incarnation(),
                result: Ok(Stopped { forced: words.get(2) == Some(&"forced") }),
            },
            "hangs" => Input::StopEnded {
                id: id(),
                incarnation: incarnation(),
                result: Err(DriverError::Transient("hangs in the kernel".to_owned())),
            },
            "restart" => Input::Restart(id()),
            "kill" => Input::Kill(id()),
            "freeze" => Input::Freeze(id()),
            "thaw" => Input::Thaw(id()),
            "hold" => Input::Hold(service()),
            "release" => Input::Release(service()),
            "shutdown" => Input::Shutdown,
            other => panic!("no input is called {other}"),
        }
    }
}

fn instance(replica: ReplicaId, incarnation: u64) -> Instance {
    Instance { replica, incarnation, pid: 100, addr: SocketAddr::from(([127, 0, 0, 1], 4000)) }
}

/// `a-1#4` runs, as the fourth start, from the spec of the table; `a-1#4~` from another.
fn running(word: &str) -> Running {
    let (word, changed) = word.strip_suffix('~').map_or((word, false), |w| (w, true));
    let (id, incarnation) = word.split_once('#').unwrap();
    let id: ReplicaId = id.parse().unwrap();
    let spec_hash = if changed { "other".to_owned() } else { specs(id.service.as_str())[0].hash() };
    Running { instance: instance(id, incarnation.parse().unwrap()), spec_hash, started_at: 0 }
}

/// A command in a few words; events in brackets. Watching and the end of probes go without saying.
fn shown(command: &Command) -> Option<String> {
    let numbered = |i: &Instance| format!("{}#{}", i.replica, i.incarnation);
    Some(match command {
        Command::Start(launch) => format!("start {}#{}", launch.replica, launch.incarnation),
        Command::Stop { instance, grace } => format!("stop {} {}", numbered(instance), grace.as_millis()),
        Command::StopSurplus { instance, .. } => format!("stop surplus {}", numbered(instance)),
        Command::Signal(instance, signal) => {
            let word = match signal {
                Signal::Kill => "kill",
                Signal::Freeze => "freeze",
                Signal::Thaw => "thaw",
            };
            format!("signal {word} {}", numbered(instance))
        }
        Command::Probe { instance, kinds, .. } => {
            let kinds: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
            format!("probe {} {}", instance.replica, kinds.join("+"))
        }
        Command::AskInFlight(instance) => format!("ask {}", instance.replica),
        Command::Emit(kind) => format!("[{kind}]"),
        Command::Watch(_) | Command::Unprobe(_) | Command::SurplusGone => return None,
    })
}

/// Each line: `input => what is to be done, comma between`; `…` for anything.
#[track_caller]
fn check(services: &str, table: &str) -> Table {
    let mut at = Table::new(services);
    for line in table.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let (input, expected) = line.split_once("=>").unwrap_or((line, "…"));
        let done = at.say(input).join(", ");
        if expected.trim() != "…" {
            assert_eq!(done, expected.trim(), "after '{}'", input.trim());
        }
    }
    at
}

/// The lines that bring these replicas up.
fn up(replicas: &str) -> String {
    let lines = replicas.split_whitespace().map(|r| format!("started {r}\nready+ {r}\n"));
    format!("begin\n{}", lines.collect::<String>())
}

#[test]
fn a_replica_starts_is_probed_and_takes_traffic() {
    let at = check(
        "a",
        "begin => start a-1#1
         started a-1 => [a-1 started (pid 100)], probe a-1 ready+live
         ready- a-1 =>
         after 400 =>
         ready+ a-1 => [a-1 ready after 400 ms]
         ready- a-1 => [a-1 fails its ready probe: broken]
         ready- a-1 => [a-1 out of rotation (ready_probe)]
         after 2000 =>
         ready+ a-1 => [a-1 ready after 2.0 s]",
    );
    let status = &at.fleet.status()[0];
    assert_eq!((status.ready, status.replicas[0].restarts), (1, 0));
}

#[test]
fn the_startup_probe_gates_the_others_and_its_failure_is_a_restart() {
    check(
        "a!",
        "begin => start a-1#1
         started a-1 => [a-1 started (pid 100)], probe a-1 startup
         ready+ a-1 =>
         live- a-1 =>
         startup+ a-1 => probe a-1 ready+live
         ready+ a-1 => [a-1 ready after 0 ms]",
    );
    check(
        "a!",
        "begin
         started a-1
         startup- a-1 =>
         startup- a-1 => [a-1 stopping (startup_probe)], stop a-1#1 1000
         ended a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (startup_probe)], start a-1#2",
    );
}

#[test]
fn needs_are_asked_once() {
    let mut at = check(
        "a b:a c:a,b",
        "begin => start a-1#1
         started a-1 => …
         ready+ a-1 => [a-1 ready after 0 ms], start b-1#1
         exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 out of rotation (exit)], [a-1 restart #1 in 0 ms (exit)], start a-1#2
         started b-1 => [b-1 started (pid 100)], probe b-1 ready+live
         ready+ b-1 => [b-1 ready after 0 ms]",
    );
    let waits = |at: &Table| at.fleet.status()[2].waiting_for.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(waits(&at), ["a"], "c still waits, b does not any more");
    assert_eq!(at.say("exit b-1").last().unwrap(), "start b-1#2", "a restart does not wait for its needs");
    at.say("started b-1");
    at.say("ready+ b-1");
    at.say("started a-1");
    assert_eq!(at.say("ready+ a-1"), ["[a-1 ready after 0 ms]", "start c-1#1"]);
    assert!(waits(&at).is_empty());
}

#[test]
fn exits_are_answered_with_pauses_and_an_end() {
    check(
        "a",
        "begin
         started a-1
         exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 restart #1 in 0 ms (exit)], start a-1#2
         exit a-1 1 =>
         started a-1
         exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 restart #2 in 1.0 s (exit)]
         after 999 =>
         after 1 => start a-1#3
         unlucky a-1 => [a-1 restart #3 in 2.0 s (exit)]
         after 2000 => start a-1#4
         started a-1
         exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 is left down after 3 restarts within 60.0 s: ended: exit status 1]
         after 100000 =>
         restart a-1 => [a-1 restart #4 in 0 ms (requested)], start a-1#5",
    );
}

#[test]
fn what_cannot_be_started_is_left_down() {
    let at = check(
        "a b",
        "begin => start a-1#1, start b-1#1
         missing a-1 => [a-1 is left down: no program]
         started b-1 => …
         ready+ b-1 => [b-1 ready after 0 ms]",
    );
    let status = &at.fleet.status()[0].replicas[0];
    assert_eq!(status.message.as_deref(), Some("no program"));
    assert_eq!(status.last_exit.as_ref().map(|e| e.status.as_str()), Some("no program"));
}

#[test]
fn what_hangs_is_ended_with_little_grace() {
    let table = up("a-1")
        + "live- a-1 => [a-1 fails its live probe: broken]
           live- a-1 => [a-1 out of rotation (live_probe)], [a-1 stopping (live_probe)], stop a-1#1 1000
           exit a-1 =>
           ended a-1 forced => [a-1 killed: it did not stop in time], [a-1 restart #1 in 0 ms (live_probe)], start a-1#2";
    check("a", &table);
    // It was seen ready a second time before the verdict: nothing happens.
    check("a", &(up("a-1") + "live- a-1\nlive+ a-1 =>\nlive- a-1 => [a-1 fails its live probe: broken]"));
    // What even KILL does not end is left to a person, and nobody waits for it.
    let at = check("a", &(up("a-1") + "live- a-1\nlive- a-1\nhangs a-1 => [a-1 is left down: hangs in the kernel]"));
    assert_eq!(at.fleet.status()[0].replicas[0].message.as_deref(), Some("hangs in the kernel"));
}

#[test]
fn a_stop_drains_first_and_has_its_grace_in_all() {
    let table = up("a-1")
        + "restart a-1 => [a-1 stopping (requested)]
           after 99 =>
           after 1 => ask a-1
           in_flight a-1 2 =>
           after 50 => ask a-1
           in_flight a-1 0 => stop a-1#1 29850
           exit a-1 =>
           ended a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (requested)], start a-1#2";
    check("a", &table);
    let table = up("a-1")
        + "restart a-1
           after 9999 => ask a-1
           in_flight a-1 1 =>
           after 1 => stop a-1#1 20000";
    let at = check("a", &table);
    assert_eq!(at.fleet.endpoints()[&"a".parse().unwrap()].endpoints[0].state, EndpointState::Draining);
    // It ends by itself while it drains.
    let table = up("a-1")
        + "restart a-1
           exit a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (requested)], start a-1#2";
    check("a", &table);
}

#[test]
fn everything_stops_dependents_first() {
    let table = up("a-1 b-1")
        + "started c-1
           shutdown => [b-1 stopping (requested)], [c-1 stopping (requested)]
           exit c-1 => [c-1 stopped]
           after 100 => ask b-1
           in_flight b-1 0 => stop b-1#1 29900
           ended b-1 => [b-1 stopped], [a-1 stopping (requested)]
           after 100 => ask a-1
           in_flight a-1 0 => stop a-1#1 29900";
    let mut at = check("a b:a c:a", &table);
    assert!(!at.fleet.is_stopped());
    at.say("ended a-1");
    assert!(at.fleet.is_stopped());
}

#[test]
fn a_shutdown_finds_replicas_in_every_state() {
    // a waits in a pause, b is being started, c waits for b, d has failed.
    let mut at = check(
        "a b c:b d",
        "begin
         started a-1
         exit a-1
         started a-1
         exit a-1 => …
         missing d-1
         shutdown =>
         started b-1 => [b-1 started (pid 100)], probe b-1 ready+live, [b-1 stopping (requested)]
         after 100 => ask b-1",
    );
    assert!(!at.fleet.is_stopped());
    at.say("in_flight b-1 0");
    at.say("ended b-1");
    assert!(at.fleet.is_stopped());
}

#[test]
fn what_runs_is_adopted_and_nothing_restarted() {
    let at = check(
        "a*2 b:a",
        "begin a-1#7 b-1#3 => [a-1 adopted, still running (pid 100)], probe a-1 ready+live, [b-1 adopted, still running (pid 100)], probe b-1 ready+live, start a-2#1
         ready+ a-1 => [a-1 ready after 0 ms]
         exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 out of rotation (exit)], [a-1 restart #1 in 0 ms (exit)], start a-1#8",
    );
    let endpoints = at.fleet.endpoints();
    let b = &endpoints[&"b".parse().unwrap()].endpoints[0];
    assert_eq!((b.state, b.incarnation), (EndpointState::NotReady, 3), "not ready before a probe has passed");
}

#[test]
fn changed_replicas_are_replaced_one_by_one_and_a_surplus_is_stopped() {
    check(
        "a*2",
        "begin a-1#1~ a-2#1~ a-3#1 z-1#1 => [a-1 adopted, still running (pid 100)], probe a-1 ready+live, \
         [a-2 adopted, still running (pid 100)], probe a-2 ready+live, [a-3 stopping (changed)], stop surplus a-3#1, \
         [z-1 stopping (changed)], stop surplus z-1#1, [a-1 stopping (changed)]
         ready+ a-2 => [a-2 ready after 0 ms]
         after 100 => ask a-1
         in_flight a-1 0 => stop a-1#1 29900
         ended a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (changed)], start a-1#2
         started a-1 => …
         after 600000 =>
         ready+ a-1 => [a-1 ready after 600.0 s], [a-2 stopping (changed)]",
    );
    // A release that does not even start is not rolled out further.
    check(
        "a*2",
        "begin a-1#1~ a-2#1~ => …
         exit a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (changed)], start a-1#2
         missing a-1 => [a-1 is left down: no program]
         after 600000 =>",
    );
}

#[test]
fn live_failures_spend_the_budget_one_by_one() {
    // Eight replicas may lose two.
    let ids: Vec<String> = (1..=8).map(|i| format!("a-{i}")).collect();
    let table = up(&ids.join(" "))
        + "live- a-1
           live- a-1 => [a-1 out of rotation (live_probe)], [a-1 stopping (live_probe)], stop a-1#1 1000
           live- a-2
           live- a-2 => [a-2 out of rotation (live_probe)], [a-2 stopping (live_probe)], stop a-2#1 1000
           live- a-3
           live- a-3 =>
           ended a-1 => [a-1 stopped], [a-1 restart #1 in 0 ms (live_probe)], start a-1#2
           started a-1 => …
           ready+ a-1 => [a-1 ready after 0 ms], [a-3 out of rotation (live_probe)], [a-3 stopping (live_probe)], stop a-3#1 1000";
    check("a*8", &table);
    // One that recovers while it waits is left alone.
    let table = up("a-1 a-2 a-3")
        + "live- a-1
           live- a-1 => …
           live- a-2
           live- a-2 =>
           live+ a-2 =>
           exit a-1 =>
           ended a-1
           started a-1
           ready+ a-1 => [a-1 ready after 0 ms]";
    let at = check("a*3", &table);
    assert_eq!(at.fleet.status()[0].replicas[1].state, crate::status::ReplicaState::Ready);
}

#[test]
fn a_common_cause_costs_one_trial_and_the_rest_keep_their_traffic() {
    let fail = |id: &str| format!("live- {id}\nlive- {id}\n");
    let mut at = check("a*4", &(up("a-1 a-2 a-3 a-4") + "live- a-1\nlive- a-2\nlive- a-3\nlive- a-4"));
    assert_eq!(at.say("live- a-1").last().unwrap(), "stop a-1#1 1000", "one is tried");
    for id in ["a-2", "a-3", "a-4"] {
        assert_eq!(at.say(&format!("live- {id}")), [""; 0], "{id} waits");
    }
    let status = &at.fleet.status()[0];
    assert!(status.common_cause);
    assert_eq!(status.ready, 3, "what waits is still routed to");
    // The trial comes back, and fails again: it did not help.
    for line in ["ended a-1", "started a-1", "ready+ a-1"]
        .map(str::to_owned)
        .into_iter()
        .chain(fail("a-1").lines().map(str::to_owned))
    {
        let done = at.say(&line);
        assert!(done.iter().all(|d| !d.starts_with("stop ")), "{line}: {done:?}");
    }
    let keeps_failing = |at: &mut Table, ms: u64| -> Vec<String> {
        let mut stops = Vec::new();
        for _ in 0..ms / 500 {
            stops.extend(at.say("after 500").into_iter().filter(|d| d.starts_with("stop ")));
            for id in ["a-1", "a-2", "a-3", "a-4"] {
                stops.extend(at.say(&format!("live- {id}")).into_iter().filter(|d| d.starts_with("stop ")));
            }
        }
        stops
    };
    assert_eq!(keeps_failing(&mut at, 9_500), [""; 0], "no other trial for a while");
    assert_eq!(keeps_failing(&mut at, 1_000).len(), 1, "then one");
    for id in ["a-1", "a-2", "a-3", "a-4"] {
        at.say(&format!("ended {id}"));
        at.say(&format!("started {id}"));
        at.say(&format!("ready+ {id}"));
    }
    assert_eq!(keeps_failing(&mut at, 19_500), [""; 0], "and the pause has doubled");
}

#[test]
fn after_a_trial_that_helped_the_others_follow() {
    let mut at = check("a*2", &(up("a-1 a-2") + "live- a-1\nlive- a-2\nlive- a-1\nlive- a-2"));
    for line in ["ended a-1", "started a-1", "ready+ a-1", "live+ a-1"] {
        at.say(line);
    }
    let mut waited = 0;
    while !at.say("after 500").iter().any(|d| d.starts_with("stop a-2")) {
        at.say("live- a-2");
        waited += 500;
        assert!(waited < 9_000, "it need not wait for the pause");
    }
    assert!(waited >= 3_000, "long enough to see that it helped: {waited}");
}

#[test]
fn drills_are_not_held_against_a_replica() {
    // More kills than restarts are allowed.
    let once = "kill a-1 => signal kill a-1#N
                exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 out of rotation (exit)], [a-1 restart #N in 0 ms (exit)], start a-1#M
                started a-1
                ready+ a-1\n";
    let kills: String = (1..9).map(|n| once.replace('N', &n.to_string()).replace('M', &(n + 1).to_string())).collect();
    check("a", &(up("a-1") + &kills));
    // Frozen: found by the live probe, restarted, not counted; the new process is not frozen.
    let table = up("a-1")
        + "freeze a-1 => signal freeze a-1#1
           live- a-1
           live- a-1 => [a-1 out of rotation (live_probe)], [a-1 stopping (live_probe)], stop a-1#1 1000
           ended a-1 forced => [a-1 killed: it did not stop in time], [a-1 restart #1 in 0 ms (live_probe)], start a-1#2
           started a-1
           thaw a-1 => signal thaw a-1#2
           exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 restart #1 in 0 ms (exit)], start a-1#3";
    check("a", &table);
    // An orderly stop of what is frozen lets it go on, so that it can act on TERM.
    check("a", &(up("a-1") + "freeze a-1\nrestart a-1 => signal thaw a-1#1, [a-1 stopping (requested)]"));
}

#[test]
fn a_service_is_held_down_and_comes_back_at_once() {
    let table = up("a-1")
        + "started a-2
           exit a-2
           started a-2
           exit a-2 => [a-2 ended (pid 100, exit status 1)], [a-2 restart #2 in 1.0 s (exit)]
           hold a => signal kill a-1#1
           exit a-1 => [a-1 ended (pid 100, exit status 1)], [a-1 out of rotation (exit)]
           after 60000 =>
           hold a =>
           release a =>
           release a => start a-1#2, start a-2#3";
    check("a*2", &table);
    // What is just being started is killed as soon as it runs.
    check(
        "a b:a",
        "begin
         hold a =>
         hold b =>
         started a-1 => [a-1 started (pid 100)], probe a-1 ready+live, signal kill a-1#1
         exit a-1 => [a-1 ended (pid 100, exit status 1)]
         release b =>
         release a => start a-1#2
         started a-1
         ready+ a-1 => [a-1 ready after 0 ms], start b-1#1",
    );
    // A shutdown ends even what a drill holds.
    let mut at = check("a", &(up("a-1") + "hold a\nexit a-1\nshutdown =>"));
    assert!(at.fleet.is_stopped());
    at.say("release a");
    assert!(at.fleet.is_stopped());
}

mod any_order {
    use proptest::prelude::*;

    use super::*;

    const VERBS: [&str; 16] = [
        "started",
        "missing",
        "unlucky",
        "exit",
        "ready+",
        "ready-",
        "live+",
        "live-",
        "in_flight",
        "ended",
        "restart",
        "kill",
        "freeze",
        "thaw",
        "startup+",
        "startup-",
    ];

    proptest! {
        /// Whatever comes in whatever order: never two processes of a replica, never traffic to what was not seen ready,
        /// never more taken away than the budget allows, and a shutdown that ends.
        #[test]
        fn invariants_hold(steps in prop::collection::vec((0usize..18, 0usize..4, 0u64..3000), 1..80)) {
            let mut at = Table::new("a*4 b!:a");
            at.say("begin");
            let ids = ["a-1", "a-2", "a-3", "b-1"];
            for (verb, id, ms) in steps {
                let line = match verb {
                    16 => format!("hold {}", ["a", "b"][id % 2]),
                    17 => format!("release {}", ["a", "b"][id % 2]),
                    verb => format!("{} {} 0", VERBS[verb], ids[id]).replace("exit a-1 0", "exit a-1"),
                };
                let line = if VERBS.get(verb) == Some(&"exit") { format!("exit {}", ids[id]) } else { line };
                let before: Vec<bool> = at.fleet.services.values().flat_map(|s| &s.replicas).map(|r| r.run.is_some()).collect();
                let all: Vec<ReplicaId> = at.fleet.services.values().flat_map(|s| &s.replicas).map(|r| r.id.clone()).collect();
                for done in [at.say(&line), at.say(&format!("after {ms}"))].concat() {
                    for (id, had_process) in all.iter().zip(&before) {
                        let started = done.starts_with(&format!("start {id}#"));
                        let now_there = at.fleet.find(id).unwrap().run.is_some();
                        prop_assert!(!started || !*had_process || !now_there, "{line}: {done}");
                    }
                }
                for replica in at.fleet.services.values().flat_map(|s| &s.replicas) {
                    let seen_ready = replica.run.as_ref().is_some_and(|r| r.probes.ready());
                    prop_assert!(!replica.in_rotation() || seen_ready);
                }
                let a = &at.fleet.services[&"a".parse::<ServiceName>().unwrap()];
                let leaving = |r: &&Replica| matches!(r.phase, Phase::Draining { .. } | Phase::Stopping { .. });
                prop_assert!(a.replicas.iter().filter(leaving).count() <= budget::unavailable_max(4));
            }
            at.say("shutdown");
            for _ in 0..10 {
                for id in ["a-1", "a-2", "a-3", "a-4", "b-1"] {
                    at.say(&format!("started {id}"));
                    at.say("after 10000");
                    at.say(&format!("ended {id}"));
                }
            }
            prop_assert!(at.fleet.is_stopped());
        }
    }
}
