//! Starting: order, ports, environment, probes, and what goes wrong.

use mainstay_core::EventKind;
use mainstay_runtime::{Handler, Probe, ProbeSettings, ProbeVerdict, Probes, ReplicaState, ServiceSpec};
use std::time::Duration;

use crate::world::{World, find, name};

#[test]
fn a_service_starts_when_what_it_needs_is_ready() {
    let world = World::new();
    world.flag("unready-inventory-1", true);
    let order = ServiceSpec { needs: vec![name("inventory")], ..world.spec("order") };
    let up = world.up(vec![order, world.spec("inventory")]);
    up.wait_state("inventory-1", ReplicaState::NotReady);
    up.wait("the probe to have failed", |all| {
        find(all, "inventory-1").message.as_deref() == Some("ready probe: status 503")
    });
    let waiting = up.handle.status().into_iter().find(|s| s.name == name("order")).unwrap();
    assert_eq!(waiting.waiting_for, [name("inventory")]);
    assert_eq!(waiting.replicas[0].state, ReplicaState::Waiting);
    assert_eq!(waiting.replicas[0].message.as_deref(), Some("waits until inventory is ready"));

    world.flag("unready-inventory-1", false);
    up.wait_ready(&["order-1", "inventory-1"]);
    let order_started =
        |k: &EventKind| matches!(k, EventKind::ReplicaStarting { replica, .. } if replica.service == name("order"));
    let inventory_ready =
        |k: &EventKind| matches!(k, EventKind::ReplicaReady { replica, .. } if replica.service == name("inventory"));
    let events = up.bus.recent();
    let at = |which: &dyn Fn(&EventKind) -> bool| events.iter().position(|e| which(&e.kind)).unwrap();
    assert!(at(&inventory_ready) < at(&order_started), "{}", up.said());
    up.down();
}

#[test]
fn each_replica_has_a_port_and_a_log_of_its_own_and_knows_its_name() {
    let world = World::new();
    let before = r#"echo "$MAINSTAY_REPLICA $PORT $GREETING" >&2; sleep 1000 | cat & "#;
    let mut spec = ServiceSpec { replicas: 3, ..world.shell_spec("order", before) };
    spec.env.insert("GREETING".to_owned(), "hello".to_owned());
    let up = world.up(vec![spec]);
    let ids = ["order-1", "order-2", "order-3"];
    up.wait_ready(&ids);
    let endpoints = up.handle.endpoints().borrow().clone();
    let mut ports = Vec::new();
    for id in ids {
        let replica = up.replica(id);
        let port = replica.addr.unwrap().port();
        assert!(!ports.contains(&port), "{ports:?} {port}");
        ports.push(port);
        let log = up.handle.log_tail(&replica.id, 10);
        assert_eq!(log, [format!("{id} {port} hello"), format!("{id} listens")]);
        let endpoint = endpoints[&name("order")].endpoints.iter().find(|e| e.replica == replica.id).unwrap();
        assert_eq!((endpoint.addr, endpoint.incarnation), (replica.addr.unwrap(), 1));
    }
    up.down();
}

#[test]
fn a_missing_program_hurts_nobody_else() {
    let world = World::new();
    let broken = |service: &str, command: &[&str]| ServiceSpec {
        command: command.iter().map(|s| (*s).to_owned()).collect(),
        ..world.spec(service)
    };
    std::fs::write(world.path("script"), "#!/no/such/interpreter\n").unwrap();
    std::fs::write(world.path("plain"), "data").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(world.path("script"), executable).unwrap();
    let specs = vec![
        world.spec("order"),
        broken("absent", &["./absent"]),
        broken("nowhere", &["no-such-program-anywhere", "-x"]),
        broken("script", &["./script"]),
        broken("plain", &["./plain"]),
        ServiceSpec { dir: "/no/such/dir".into(), ..world.spec("lost") },
    ];
    let up = world.up(specs);
    up.wait_ready(&["order-1"]);
    for (replica, parts) in [
        ("absent-1", ["'absent'", "./absent", "build it or correct 'run'"]),
        ("nowhere-1", ["'nowhere'", "no-such-program-anywhere", "install it"]),
        ("script-1", ["'script'", "./script", "interpreter"]),
        ("plain-1", ["'plain'", "plain", "chmod +x"]),
        ("lost-1", ["'lost'", "/no/such/dir", "correct 'dir'"]),
    ] {
        up.wait_state(replica, ReplicaState::Failed);
        let status = up.replica(replica);
        let message = status.message.unwrap();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
        assert_eq!(status.last_exit.unwrap().status, message);
        assert_eq!(status.restarts, 0, "trying again is of no use");
    }
    up.down();
}

#[test]
fn a_service_without_probes_is_ready_when_its_port_accepts() {
    let world = World::new();
    let deaf = ServiceSpec {
        command: ["/bin/sh", "-c", "exec sleep 1000"].map(str::to_owned).into(),
        probes: Probes::default(),
        ..world.spec("deaf")
    };
    let up = world.up(vec![ServiceSpec { probes: Probes::default(), ..world.spec("order") }, deaf]);
    up.wait_ready(&["order-1"]);
    up.wait("a failed probe", |all| find(all, "deaf-1").probes.first().is_some_and(|p| p.failures >= 1));
    let status = up.replica("deaf-1");
    assert_eq!(status.state, ReplicaState::NotReady);
    assert!(status.message.unwrap().contains("refused"));
    up.down();
}

#[test]
fn exec_probes_run_in_the_place_of_the_service() {
    let world = World::new();
    let settings = ProbeSettings { period: Duration::from_millis(50), ..ProbeSettings::default() };
    let exec = |script: &str| {
        let command = ["sh", "-c", script].map(str::to_owned).into();
        Some(Probe { handler: Handler::Exec { command }, settings })
    };
    let spec = ServiceSpec {
        probes: Probes {
            startup: exec(r#"test -f up && test "$MAINSTAY_REPLICA" = order-1 && test -n "$PORT""#),
            ready: exec("test -f go"),
            live: None,
        },
        ..world.spec("order")
    };
    let hanging = Probe {
        handler: Handler::Exec {
            command: ["sh", "-c", "sleep 1000 & echo $! >> hung; wait"].map(str::to_owned).into(),
        },
        settings: ProbeSettings { timeout: Duration::from_millis(50), ..settings },
    };
    let hangs = ServiceSpec { probes: Probes { ready: Some(hanging), ..Probes::default() }, ..world.spec("hangs") };
    // The startup probe has its time: three failures would be a restart.
    std::fs::write(world.path("up"), "").unwrap();
    let up = world.up(vec![spec, hangs]);
    up.wait("startup passed, ready failed", |all| {
        let probes = &find(all, "order-1").probes;
        matches!(&probes[..], [up, ready] if up.verdict == ProbeVerdict::Success && ready.failures > 0)
    });
    assert_eq!(up.replica("order-1").message.as_deref(), Some("ready probe: exit status 1"));
    std::fs::write(world.path("go"), "").unwrap();
    up.wait_ready(&["order-1"]);
    up.wait("a slow probe is cut off", |all| {
        find(all, "hangs-1").message.as_deref() == Some("ready probe: no answer within 50 ms")
    });
    let hung = std::fs::read_to_string(world.path("hung")).unwrap();
    up.down();
    for pid in hung.lines().filter_map(|l| l.parse().ok()) {
        crate::world::wait_for("what a cut off probe had started is gone", || crate::world::state_of(pid).is_none());
    }
}
