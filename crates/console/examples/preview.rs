//! The console with made-up figures, to look at: `cargo run -p mainstay-console --example preview [idle|well|hurt] [port]`.

use std::sync::Arc;
use std::time::Duration;

use mainstay_console::{EdgeView, ReplicaState, ReplicaView, ServiceView, Source, TransactionsView, View, router};
use mainstay_core::{Cause, Clock, EventBus, EventKind, ReplicaId, ServiceName, SystemClock};

struct Preview {
    hurt: bool,
    idle: bool,
}

fn course(base: f64, seed: u64, drop: bool) -> Vec<f64> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let wave = |i: f64| base * (1.0 + 0.12 * (i / 9.0).sin());
    (0..120).map(|i| wave(f64::from(i)) * (0.95 + 0.1 * rng.f64()) * if drop && i > 90 { 0.35 } else { 1.0 }).collect()
}

impl Preview {
    fn service(&self, name: &str, states: &[ReplicaState], rate: f64, success: f64, p50: f64, p99: f64) -> ServiceView {
        let now = SystemClock.wall_ms();
        let replicas = states.iter().enumerate().map(|(i, state)| ReplicaView {
            name: format!("{name}-{}", i + 1),
            state: if self.hurt { *state } else { ReplicaState::Ready },
            pid: Some(4200 + i as u32),
            restarts: u32::from(*state != ReplicaState::Ready),
            since: now - 31_000,
        });
        ServiceView {
            name: name.to_owned(),
            replicas: replicas.collect(),
            rate,
            success: Some(if self.hurt { success } else { 1.0 }),
            attempts: rate * 1.02,
            retries: if self.hurt && success < 1.0 { rate * 0.02 } else { 0.0 },
            p50_ms: Some(p50),
            p99_ms: Some(p99),
            sparkline: course(rate, name.len() as u64, self.hurt && success < 0.99),
            ejected: 0,
            note: None,
        }
    }
}

impl Source for Preview {
    fn view(&self) -> View {
        use ReplicaState::{Down, Ejected, Ready};
        let base = View {
            app: "shop".to_owned(),
            now: SystemClock.wall_ms(),
            uptime: Duration::from_secs(4_980),
            ingress: Some("127.0.0.1:8080".to_owned()),
            ..View::default()
        };
        if self.idle {
            return base;
        }
        let edge = |caller: &str, callee: &str, rate: f64, success: f64| EdgeView {
            caller: caller.to_owned(),
            callee: callee.to_owned(),
            rate,
            success: Some(if self.hurt { success } else { 1.0 }),
            p99_ms: Some(41.0),
        };
        View {
            availability: Some(if self.hurt { 0.9993 } else { 1.0 }),
            availability_over: "1 h".to_owned(),
            rate: 421.0,
            rate_points: course(421.0, 3, false),
            p99_ms: Some(61.0),
            p99_points: course(61.0, 4, false),
            services: vec![
                self.service("order", &[Ready, Ready, Ready, Ready], 226.0, 0.9998, 11.2, 38.0),
                self.service("inventory", &[Ready, Ejected, Ready], 216.0, 0.9991, 8.7, 61.0),
                self.service("payment", &[Down, Ready, Ready], 88.0, 0.974, 41.0, 1812.0),
            ],
            edges: vec![
                edge("ingress", "order", 421.0, 0.9993),
                edge("order", "inventory", 205.0, 0.996),
                edge("order", "payment", 198.0, 0.974),
            ],
            transactions: Some(TransactionsView { open: 17, committed: 48_121, rolled_back: 312, stuck: 0 }),
            ..base
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), std::io::Error> {
    let mode = std::env::args().nth(1).unwrap_or_else(|| "hurt".to_owned());
    let port = std::env::args().nth(2).and_then(|port| port.parse().ok()).unwrap_or(9901);
    let bus = EventBus::new(Arc::new(SystemClock));
    if mode != "idle" {
        tell(&bus, mode == "hurt").await;
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    let source = Preview { hurt: mode == "hurt", idle: mode == "idle" };
    axum::serve(listener, router(Arc::new(source), bus)).await
}

async fn tell(bus: &EventBus, hurt: bool) {
    let replica = |name: &str| name.parse::<ReplicaId>().expect("a name of ours");
    let payment: ServiceName = "payment".parse().expect("a name of ours");
    let pause = || tokio::time::sleep(Duration::from_millis(400));
    bus.publish(EventKind::Started { app: "shop".to_owned(), adopted: 0 });
    for name in ["order-1", "inventory-1", "inventory-2", "payment-1", "payment-2"] {
        bus.publish(EventKind::ReplicaStarting { replica: replica(name), pid: 4242 });
        bus.publish(EventKind::ReplicaReady { replica: replica(name), after_ms: 140 });
    }
    bus.publish(EventKind::FaultInjected {
        lease: "l1".to_owned(),
        fault: "kill payment-1".to_owned(),
        service: payment,
        replica: Some(replica("payment-1")),
    });
    let one = || replica("payment-1");
    bus.publish(EventKind::ReplicaExited { replica: one(), pid: 4203, status: "signal 9".to_owned() });
    pause().await;
    bus.publish(EventKind::ReplicaNotReady { replica: one(), cause: Cause::Exit });
    bus.publish(EventKind::ReplicaRestarting { replica: one(), cause: Cause::Exit, attempt: 1, backoff_ms: 250 });
    if hurt {
        bus.publish(EventKind::EndpointEjected {
            replica: replica("inventory-2"),
            cause: Cause::ConsecutiveFailures,
            failures: 5,
            for_ms: 10_000,
        });
        return;
    }
    pause().await;
    bus.publish(EventKind::ReplicaReady { replica: one(), after_ms: 2_100 });
    bus.publish(EventKind::FaultCleared {
        lease: "l1".to_owned(),
        fault: "kill payment-1".to_owned(),
        service: one().service,
        replica: None,
        expired: false,
    });
}
