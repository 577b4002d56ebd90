//! Faults as leases.

use mainstay_core::{FaultKind, LeaseId};
use mainstay_runtime::{FaultError, ReplicaState, Restart, ServiceSpec};

use crate::world::{World, id, name, state_of, wait_for};

fn freeze(replica: &str) -> FaultKind {
    FaultKind::Freeze { replica: id(replica) }
}

#[test]
fn a_kill_is_healed_and_not_held_against_the_replica() {
    let world = World::new();
    // Not one restart is allowed, yet a drill may kill it.
    let restart = Restart { limit: 0, ..Restart::default() };
    let up = world.up(vec![ServiceSpec { restart, ..world.spec("order") }]);
    up.wait_ready(&["order-1"]);
    for lease in ["a", "b", "c"] {
        let pid = up.pid("order-1");
        up.inject(lease, FaultKind::Kill { replica: id("order-1") }, 60_000).unwrap();
        up.wait_replaced("order-1", pid);
    }
    let leases = up.runtime.block_on(up.handle.leases());
    assert_eq!(leases.len(), 3);
    assert!(up.clear("a") && !up.clear("a"));
    up.down();
}

#[test]
fn a_frozen_replica_goes_on_when_its_lease_ends() {
    let world = World::new();
    // Without a live probe nobody ends it meanwhile.
    let mut spec = world.spec("order");
    spec.probes.live = None;
    let up = world.up(vec![spec]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    up.inject("one", freeze("order-1"), 60_000).unwrap();
    assert_eq!(up.inject("one", freeze("order-1"), 60_000), Err(FaultError::Duplicate(LeaseId("one".to_owned()))));
    wait_for("it stands still", || state_of(pid) == Some('T'));
    up.wait_state("order-1", ReplicaState::NotReady);
    assert!(up.replica("order-1").frozen);
    assert!(up.clear("one"));
    up.wait_ready(&["order-1"]);
    assert_eq!(up.pid("order-1"), pid);

    // Nobody renews this one.
    up.inject("two", freeze("order-1"), 300).unwrap();
    wait_for("it expired", || up.runtime.block_on(up.handle.leases()).is_empty());
    wait_for("it goes on", || matches!(state_of(pid), Some('S' | 'R')));
    assert!(up.said().contains("freeze order-1 expired, nobody renewed it"));
    let missing = up.runtime.block_on(up.handle.renew(&LeaseId("two".to_owned())));
    assert_eq!(missing, Err(FaultError::UnknownLease(LeaseId("two".to_owned()))));
    up.down();
}

#[test]
fn a_frozen_replica_is_replaced_by_its_live_probe() {
    let world = World::new();
    let restart = Restart { limit: 0, ..Restart::default() };
    let up = world.up(vec![ServiceSpec { restart, ..world.spec("order") }]);
    up.wait_ready(&["order-1"]);
    let pid = up.pid("order-1");
    up.inject("one", freeze("order-1"), 60_000).unwrap();
    up.wait_replaced("order-1", pid);
    assert_eq!(state_of(pid), None);
    assert!(up.clear("one"));
    up.wait_ready(&["order-1"]);
    up.down();
}

#[test]
fn a_service_is_held_down_and_comes_back_at_once() {
    let world = World::new();
    let restart = Restart { limit: 0, ..Restart::default() };
    let up = world.up(vec![ServiceSpec { replicas: 2, restart, ..world.spec("order") }, world.spec("payment")]);
    let ids = ["order-1", "order-2"];
    up.wait_ready(&["order-1", "order-2", "payment-1"]);
    let pids = ids.map(|id| up.pid(id));
    up.inject("down", FaultKind::Down { service: name("order") }, 60_000).unwrap();
    for (id, pid) in ids.iter().zip(pids) {
        up.wait_state(id, ReplicaState::Held);
        assert_eq!(state_of(pid), None);
    }
    assert_eq!(up.replica("payment-1").state, ReplicaState::Ready);
    assert_eq!(up.inject("no", freeze("order-1"), 1000), Err(FaultError::NotRunning { replica: id("order-1") }));
    assert!(up.clear("down"));
    up.wait_ready(&ids);
    assert!(up.said().contains("order down is over"));
    up.down();
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let world = World::new();
    let up = world.up(vec![world.spec("order")]);
    up.wait_ready(&["order-1"]);
    let refused = |kind: FaultKind, ttl| up.inject("x", kind, ttl).unwrap_err().to_string();
    assert_eq!(refused(freeze("order-9"), 1000), "there is no replica 'order-9'; there are: order-1");
    let down = FaultKind::Down { service: name("nobody") };
    assert_eq!(refused(down, 1000), "there is no service 'nobody'; there are: order");
    assert_eq!(refused(freeze("order-1"), 0), FaultError::Ttl.to_string());
    assert_eq!(refused(freeze("order-1"), 601_000), FaultError::Ttl.to_string());
    assert_eq!(up.story("order-1"), ["starting", "ready"], "nothing was changed");
    let unknown = up.runtime.block_on(up.handle.restart(&id("order-9"))).unwrap_err();
    assert_eq!(unknown.to_string(), "there is no replica 'order-9'; there are: order-1");
    up.down();
}

#[test]
fn the_next_mainstay_undoes_the_faults_of_a_killed_one() {
    let world = World::new();
    let specs = || vec![ServiceSpec { replicas: 2, ..world.spec("order") }, world.spec("payment")];
    let first = world.up(specs());
    let ids = ["order-1", "order-2", "payment-1"];
    first.wait_ready(&ids);
    let pid = first.pid("order-1");
    first.inject("down", FaultKind::Down { service: name("payment") }, 600_000).unwrap();
    first.wait_state("payment-1", ReplicaState::Held);
    first.inject("freeze", freeze("order-1"), 600_000).unwrap();
    first.crash();
    wait_for("it stands still", || state_of(pid) == Some('T'));

    let second = world.up(specs());
    second.wait_ready(&ids);
    assert_eq!(second.pid("order-1"), pid, "{}", second.said());
    assert_eq!(second.runtime.block_on(second.handle.leases()), []);
    second.down();
}
