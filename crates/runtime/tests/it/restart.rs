//! Exits, hangs and logs.

use std::time::Duration;

use mainstay_core::EndpointState;
use mainstay_runtime::{Probes, ReplicaState, Restart, ServiceSpec};
use rustix::process::Signal;

use crate::world::{World, name, signal, state_of, wait_for};

#[test]
fn an_exit_takes_a_replica_out_of_rotation_and_starts_it_anew() {
    let world = World::new();
    let up = world.up(vec![ServiceSpec { replicas: 2, ..world.spec("order") }]);
    up.wait_ready(&["order-1", "order-2"]);
    let (old, other) = (up.replica("order-1"), up.pid("order-2"));
    let mut endpoints = up.handle.endpoints();
    endpoints.mark_unchanged();
    signal(old.pid.unwrap(), Signal::KILL);
    // The very first thing that is published is that it takes no traffic.
    up.runtime.block_on(endpoints.changed()).unwrap();
    let first = endpoints.borrow_and_update()[&name("order")].clone();
    assert!(first.endpoints.iter().all(|e| e.replica != old.id || e.state != EndpointState::Ready), "{first:?}");
    up.wait_replaced("order-1", old.pid.unwrap());
    let new = up.replica("order-1");
    assert_eq!((new.incarnation, new.restarts), (2, 1));
    assert_eq!(new.last_exit.as_ref().unwrap().status, "signal 9, KILL");
    assert_eq!(new.last_exit.unwrap().log_tail, ["order-1 listens"]);
    assert_eq!(up.pid("order-2"), other, "one for one");
    // A probe may have met it as it fell.
    let story: Vec<String> = up.story("order-1").into_iter().filter(|word| !word.starts_with("failing")).collect();
    assert_eq!(
        story,
        [
            "starting",
            "ready",
            "exited: signal 9, KILL",
            "not ready: exit",
            "restarting in 0: exit",
            "starting",
            "ready"
        ]
    );
    up.down();
}

#[test]
fn a_crash_loop_ends_and_says_why() {
    let world = World::new();
    let restart = Restart { limit: 2, backoff_max: Duration::from_millis(20), ..Restart::default() };
    let command = ["/bin/sh", "-c", "echo cannot open the database; exit 7"].map(str::to_owned).into();
    let up = world.up(vec![ServiceSpec { command, restart, ..world.spec("broken") }, world.spec("order")]);
    up.wait_state("broken-1", ReplicaState::Failed);
    up.wait_ready(&["order-1"]);
    let status = up.replica("broken-1");
    assert_eq!(status.restarts, 2);
    assert_eq!(status.message.as_deref(), Some("given up after 2 restarts within 60 s: ended: exit status 7"));
    let last = status.last_exit.unwrap();
    assert_eq!(last.status, "exit status 7");
    assert_eq!(last.log_tail, ["cannot open the database"; 3]);
    assert_eq!(up.story("broken-1").last().unwrap(), "failed after 2");
    // A person may have it tried again.
    up.restart("broken-1");
    up.wait("tried again", |_| up.story("broken-1").iter().filter(|w| *w == "failed after 2").count() == 2);
    up.down();
}

#[test]
fn what_hangs_is_restarted() {
    let world = World::new();
    let up = world.up(vec![world.spec("order")]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    signal(pid, Signal::STOP);
    up.wait_replaced("order-1", pid);
    let story = up.story("order-1");
    for word in ["failing: live", "stopping: live_probe", "stopped by force", "restarting in 0: live_probe"] {
        assert!(story.iter().any(|w| w == word), "{word} not in {story:?}");
    }
    assert_eq!(state_of(pid), None);
    up.down();
}

#[test]
fn an_unready_replica_keeps_its_process() {
    let world = World::new();
    let up = world.up(vec![world.spec("order")]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    world.flag("unready", true);
    up.wait_state("order-1", ReplicaState::NotReady);
    world.flag("unready", false);
    up.wait_ready(&["order-1"]);
    assert_eq!(up.pid("order-1"), pid);
    assert_eq!(up.story("order-1"), ["starting", "ready", "failing: ready", "not ready: ready_probe", "ready"]);
    up.down();
}

#[test]
fn a_common_cause_is_not_answered_by_restarting_everything() {
    let world = World::new();
    let up = world.up(vec![ServiceSpec { replicas: 4, ..world.spec("order") }]);
    let ids = ["order-1", "order-2", "order-3", "order-4"];
    up.wait_ready(&ids);
    let pids = ids.map(|id| up.pid(id));
    world.flag("unlive", true);
    up.wait("seen as common", |all| all[0].common_cause);
    up.wait("all fail and one was tried", |all| {
        let fails = |r: &mainstay_runtime::ReplicaStatus| {
            r.probes.iter().any(|p| p.kind == mainstay_runtime::ProbeKind::Live && p.failures >= 3)
        };
        all[0].replicas.iter().filter(|r| fails(r)).count() >= 3 && all[0].replicas.iter().any(|r| r.restarts == 1)
    });
    world.flag("unlive", false);
    up.wait("over", |all| !all[0].common_cause && all[0].ready == 4);
    let replaced = ids.iter().zip(pids).filter(|(id, pid)| up.pid(id) != *pid).count();
    assert_eq!(replaced, 1, "{}", up.said());
    up.down();
}

#[test]
fn descendants_end_with_their_leader() {
    let world = World::new();
    let up = world.up(vec![world.shell_spec("order", "sleep 1000 & echo $! > child; ")]);
    up.wait_ready(&["order-1"]);
    let child: u32 = std::fs::read_to_string(world.path("child")).unwrap().trim().parse().unwrap();
    assert!(state_of(child).is_some());
    let pid = up.pid("order-1");
    signal(pid, Signal::KILL);
    wait_for("the descendant is gone", || state_of(child).is_none());
    up.wait_replaced("order-1", pid);
    up.down();
}

#[test]
fn a_log_is_bounded_while_its_writer_runs() {
    let mut world = World::new();
    world.log_bytes_max = 100_000;
    let before = "yes 'a line of output' | head -c 3000000; echo the end; while :; do echo tick; sleep 0.02; done & ";
    let up = world.up(vec![ServiceSpec { probes: Probes::default(), ..world.shell_spec("order", before) }]);
    let log = world.state("logs/order-1.log");
    let len = |path: &std::path::Path| std::fs::metadata(path).map_or(u64::MAX, |m| m.len());
    wait_for("the log is cut", || len(&world.state("logs/order-1.log.1")) < 300_000 && len(&log) <= 100_000);
    up.wait_ready(&["order-1"]);
    // The writer goes on in the same file.
    let tail = || up.handle.log_tail(&crate::world::id("order-1"), 3);
    wait_for("the writer goes on", || tail().iter().any(|l| l == "tick"));
    up.down();
}
