//! Mainstay dies; its replicas live on; the next one takes them over.

use std::time::Duration;

use mainstay_core::EventKind;
use mainstay_runtime::{ReplicaState, ServiceSpec, Stop};
use rustix::process::Signal;

use crate::world::{World, name, signal, state_of, story, wait_for};

#[test]
fn replicas_outlive_mainstay_and_are_adopted_without_a_restart() {
    let world = World::new();
    let specs = || {
        let order = ServiceSpec { needs: vec![name("inventory")], replicas: 2, ..world.spec("order") };
        vec![order, world.spec("inventory")]
    };
    let ids = ["order-1", "order-2", "inventory-1"];
    let first = world.up(specs());
    first.wait_ready(&ids);
    let before = ids.map(|id| first.replica(id));
    first.crash();

    let second = world.up(specs());
    second.wait_ready(&ids);
    for (id, before) in ids.iter().zip(&before) {
        let now = second.replica(id);
        assert_eq!((now.pid, now.addr, now.incarnation), (before.pid, before.addr, before.incarnation));
        assert!(now.adopted && now.restarts == 0);
        assert_eq!(second.story(id), ["adopted", "ready"]);
    }
    // An adopted replica is supervised like any other.
    let pid = second.pid("order-1");
    signal(pid, Signal::KILL);
    second.wait_replaced("order-1", pid);
    assert_eq!(second.replica("order-1").incarnation, 2);
    assert!(!second.replica("order-1").adopted);
    let pids = ids.map(|id| second.pid(id));
    let events = second.down();
    assert!(events.iter().all(|e| !matches!(e.kind, EventKind::ReplicaStopped { forced: true, .. })));
    for pid in pids {
        assert_eq!(state_of(pid), None);
    }
}

#[test]
fn what_died_meanwhile_is_started_and_the_rest_is_adopted() {
    let world = World::new();
    let specs = || vec![ServiceSpec { replicas: 2, ..world.spec("order") }];
    let first = world.up(specs());
    first.wait_ready(&["order-1", "order-2"]);
    let (dead, alive) = (first.pid("order-1"), first.pid("order-2"));
    first.crash();
    signal(dead, Signal::KILL);
    wait_for("it is dead", || state_of(dead).is_none());
    let second = world.up(specs());
    second.wait_ready(&["order-1", "order-2"]);
    assert_eq!(second.pid("order-2"), alive);
    assert_ne!(second.pid("order-1"), dead);
    assert_eq!(second.story("order-1"), ["starting", "ready"]);
    second.down();
}

#[test]
fn a_changed_service_is_replaced_and_a_surplus_stopped() {
    let world = World::new();
    let first =
        world.up(vec![ServiceSpec { replicas: 2, ..world.spec("order") }, world.spec("gone"), world.spec("same")]);
    let ids = ["order-1", "order-2", "gone-1", "same-1"];
    first.wait_ready(&ids);
    let pids = ids.map(|id| first.pid(id));
    first.crash();

    let mut changed = world.spec("order");
    changed.env.insert("NEW".to_owned(), "1".to_owned());
    // How it is watched may change without a restart.
    let same = ServiceSpec { stop: Stop { drain_max: Duration::ZERO, ..Stop::default() }, ..world.spec("same") };
    let second = world.up(vec![changed, same]);
    second.wait_replaced("order-1", pids[0]);
    second.wait_ready(&["same-1"]);
    assert_eq!(second.pid("same-1"), pids[3]);
    for pid in &pids[..3] {
        wait_for("the old one is gone", || state_of(*pid).is_none());
    }
    let events = second.down();
    let story_of = |id: &str| story(&events, id);
    assert!(story_of("order-1").contains(&"stopping: changed".to_owned()), "{:?}", story_of("order-1"));
    for surplus in ["order-2", "gone-1"] {
        assert_eq!(story_of(surplus), ["stopping: changed", "stopped"], "{surplus}");
    }
}

#[test]
fn a_reused_number_is_never_signalled() {
    let world = World::new();
    let up = world.up(vec![world.spec("order"), world.spec("other")]);
    up.wait_ready(&["order-1", "other-1"]);
    // A process that is nobody's business of the next Mainstay: its record says another start time, or another boot.
    let foreign = up.pid("order-1");
    let record = std::fs::read_to_string(world.state("run/replicas/order-1.json")).unwrap();
    up.crash();

    let elsewhere = World::new();
    let records = elsewhere.state("run/replicas");
    std::fs::create_dir_all(&records).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&record).unwrap();
    value["start_ticks"] = (value["start_ticks"].as_u64().unwrap() - 1).into();
    std::fs::write(records.join("order-1.json"), value.to_string()).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&record).unwrap();
    value["boot_id"] = "another".into();
    value["replica"] = "other-1".into();
    std::fs::write(records.join("other-1.json"), value.to_string()).unwrap();

    let second = elsewhere.up(vec![elsewhere.spec("order"), elsewhere.spec("other")]);
    second.wait_ready(&["order-1", "other-1"]);
    assert_ne!(second.pid("order-1"), foreign);
    assert_eq!(second.story("order-1"), ["starting", "ready"]);
    second.down();
    assert!(state_of(foreign).is_some(), "the foreign process was hurt");
}

#[test]
fn stale_and_broken_files_never_block_a_start() {
    let world = World::new();
    for (file, text) in [
        ("run/replicas/order-1.json", "{\"format\":1,\"replica\":\"ord"),
        ("run/replicas/order-2.json", ""),
        ("run/replicas/.tmp", "\u{0}\u{1}"),
        ("run/replicas/order-1.tmp", "{}"),
        ("run/leases/abc.json", "not json"),
        ("run/leases/def.json", r#"{"id":"x","fault":"freeze","replica":"order-1","ttl":"5s","until":1}"#),
    ] {
        let path = world.state(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::create_dir_all(world.state("run/replicas/a-folder.json")).unwrap();
    let up = world.up(vec![world.spec("order")]);
    up.wait_ready(&["order-1"]);
    assert_eq!(std::fs::read_dir(world.state("run/leases")).unwrap().count(), 0);
    up.down();
}

#[test]
fn a_process_without_its_record_is_found_and_replaced() {
    let world = World::new();
    let first = world.up(vec![world.spec("order")]);
    first.wait_ready(&["order-1"]);
    let lost = first.pid("order-1");
    first.crash();
    std::fs::remove_file(world.state("run/replicas/order-1.json")).unwrap();
    let second = world.up(vec![world.spec("order")]);
    second.wait_ready(&["order-1"]);
    assert_ne!(second.pid("order-1"), lost);
    wait_for("the lost one is ended", || state_of(lost).is_none());
    second.down();
}

#[test]
fn a_session_that_a_replica_began_is_its_own_affair() {
    let world = World::new();
    let specs = || vec![world.shell_spec("order", "setsid sleep 1000 & echo $! > child; ")];
    let first = world.up(specs());
    first.wait_ready(&["order-1"]);
    let marked = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(sleep)") && stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3) == Some(&pid.to_string())
    };
    let child: u32 = std::fs::read_to_string(world.path("child")).unwrap().trim().parse().unwrap();
    wait_for("the child leads a session", || marked(child));
    let pid = first.pid("order-1");
    first.crash();
    let second = world.up(specs());
    second.wait_ready(&["order-1"]);
    assert_eq!(second.pid("order-1"), pid);
    second.down();
    assert!(marked(child), "it was taken for a stray");
    // Without its replica it is one.
    world.stop_orphans(Duration::ZERO);
    wait_for("it is gone", || state_of(child).is_none());
}

#[test]
fn orphans_are_stopped_without_a_mainstay() {
    let world = World::new();
    let up = world
        .up(vec![ServiceSpec { replicas: 2, ..world.spec("order") }, world.shell_spec("stubborn", "trap '' TERM; ")]);
    let ids = ["order-1", "order-2", "stubborn-1"];
    up.wait_ready(&ids);
    let pids = ids.map(|id| up.pid(id));
    up.crash();
    signal(pids[0], Signal::STOP);
    let stopped = world.stop_orphans(Duration::from_millis(500));
    let seen: Vec<(String, u32, bool)> =
        stopped.iter().map(|o| (o.replica.as_ref().unwrap().to_string(), o.pid, o.forced)).collect();
    let expected: Vec<(String, u32, bool)> =
        ids.iter().zip(pids).map(|(id, pid)| ((*id).to_owned(), pid, *id == "stubborn-1")).collect();
    assert_eq!(seen, expected);
    for pid in pids {
        assert_eq!(state_of(pid), None);
    }
    assert_eq!(world.stop_orphans(Duration::ZERO), [], "and nothing is left");
    let next = world.up(vec![world.spec("order")]);
    next.wait_state("order-1", ReplicaState::Ready);
    assert_eq!(next.story("order-1"), ["starting", "ready"]);
    next.down();
}
