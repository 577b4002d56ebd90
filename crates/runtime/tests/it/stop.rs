//! Orderly stops.

use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::EndpointState;
use mainstay_runtime::{ReplicaState, ServiceSpec, Stop};

use crate::world::{World, name, state_of, story, wait_for};

fn state_in_rotation(up: &crate::world::Up, service: &str) -> EndpointState {
    up.handle.endpoints().borrow()[&name(service)].endpoints[0].state
}

#[test]
fn a_stop_waits_for_the_requests_in_flight() {
    let world = World::new();
    let up = world.up(vec![world.spec("order")]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    world.in_flight.0.store(1, Ordering::SeqCst);
    up.restart("order-1");
    up.wait_state("order-1", ReplicaState::Draining);
    assert_eq!(state_in_rotation(&up, "order"), EndpointState::Draining);
    assert!(state_of(pid).is_some());
    world.in_flight.0.store(0, Ordering::SeqCst);
    up.wait_replaced("order-1", pid);
    assert_eq!(
        up.story("order-1"),
        ["starting", "ready", "stopping: requested", "stopped", "restarting in 0: requested", "starting", "ready"]
    );
    up.down();
}

#[test]
fn a_drain_has_an_end_and_what_ignores_term_is_killed() {
    let world = World::new();
    world.in_flight.0.store(1, Ordering::SeqCst);
    let stop = Stop { drain_max: Duration::from_millis(200), grace: Duration::from_millis(600) };
    let up = world.up(vec![ServiceSpec { stop, ..world.shell_spec("order", "trap '' TERM; ") }]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    let events = up.down();
    assert_eq!(story(&events, "order-1"), ["starting", "ready", "stopping: requested", "stopped by force"]);
    assert_eq!(state_of(pid), None);
    assert!(!world.state("run/replicas/order-1.json").exists());
}

#[test]
fn descendants_have_the_grace_of_the_stop() {
    let world = World::new();
    // The leader ends at once; its child needs a moment for its last words.
    let before = "(trap 'sleep 0.3; echo finished > last; exit 0' TERM; while :; do sleep 0.05; done) & ";
    let up = world.up(vec![world.shell_spec("order", before)]);
    up.wait_ready(&["order-1"]);
    let events = up.down();
    assert_eq!(story(&events, "order-1").last().unwrap(), "stopped");
    assert_eq!(std::fs::read_to_string(world.path("last")).unwrap().trim(), "finished");
}

#[test]
fn what_is_needed_stops_last() {
    let world = World::new();
    let needs = |service: &str, needs: &[&str]| ServiceSpec {
        needs: needs.iter().map(|n| name(n)).collect(),
        ..world.spec(service)
    };
    let waiting = needs("waiting", &["order"]);
    world.flag("unready-order-1", true);
    let up = world.up(vec![
        needs("order", &["inventory", "payment"]),
        needs("inventory", &[]),
        needs("payment", &[]),
        waiting,
    ]);
    up.wait_ready(&["inventory-1", "payment-1"]);
    up.wait_state("order-1", ReplicaState::NotReady);
    let pids = ["order-1", "inventory-1", "payment-1"].map(|id| up.pid(id));
    let events = up.down();
    let at = |what: &str| events.iter().position(|e| e.kind.to_string() == what).unwrap_or_else(|| panic!("{what}"));
    for needed in ["inventory-1", "payment-1"] {
        assert!(at("order-1 stopped") < at(&format!("{needed} stopping (requested)")));
    }
    for pid in pids {
        assert_eq!(state_of(pid), None);
    }
}

#[test]
fn a_replica_that_is_just_being_started_is_stopped_too() {
    let world = World::new();
    let up = world.up(vec![ServiceSpec { replicas: 5, ..world.spec("order") }]);
    up.begin_down();
    up.down();
    let records = world.state("run/replicas");
    wait_for("nothing is left", || std::fs::read_dir(&records).unwrap().count() == 0);
    assert_eq!(world.stop_orphans(Duration::ZERO), []);
}
