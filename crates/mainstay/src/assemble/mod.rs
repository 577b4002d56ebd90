//! Connects the parts. They do not know each other; here their handles meet, and nowhere else.
//!
//! The order matters and is told by what needs what: the gateway is bound first (callers need the addresses of their
//! edges), then the supervisor is made, then transactions (their branches are called through the gateway), then the
//! routes are published that start transactions, and only then does anything run.

mod families;
mod faults;
mod rates;
mod run;
mod services;
mod traffic;
mod transactions;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use mainstay_api::Parts;
use mainstay_config::Plan;
use mainstay_core::{Clock, EventBus, ReplicaId, Shutdown, SystemClock};
use mainstay_observe::Metrics;
use mainstay_runtime::{InFlight, ProcessDriver, ProcessOptions, Supervisor};
use mainstay_store::{SqliteJournal, StoreOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::mutation::Mutations;
use crate::state::{Lock, StateDir};

/// The app, put together and ready to run. Holds every port and the lock of the state folder.
pub(crate) struct App {
    name: String,
    state: StateDir,
    lock: Lock,
    bus: EventBus,
    api_listener: TcpListener,
    api: axum::Router,
    gateway: mainstay_gateway::Gateway,
    ingress: SocketAddr,
    supervisor: Supervisor,
    engine: mainstay_txn::Engine,
    journal: Arc<SqliteJournal>,
    faults: Arc<faults::Faults>,
    metrics: Metrics,
    view: Arc<view::Screen>,
    /// Cancelled by a signal, by the API, or by a part that cannot go on.
    stop: Shutdown,
}

impl App {
    /// Puts everything together. Nothing runs yet; whatever is wrong is said here, and nothing was changed.
    pub(crate) async fn assemble(plan: Plan, state: StateDir, mutations: Mutations) -> anyhow::Result<Self> {
        state.create()?;
        let lock = state.lock().await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let bus = EventBus::new(clock.clone());
        let stop = Shutdown::new();
        let api_listener = listen(plan.listen.console).await?;

        let seed = seed()?;
        // The gateway wants endpoints before there is a supervisor: they are relayed once both are there.
        let (endpoints, gateway_endpoints) = watch::channel(mainstay_core::Endpoints::default());
        let (gateway, gateway_handle, addresses) =
            traffic::bind(&plan, &state, mutations, seed, &gateway_endpoints, &bus)?;
        let driver = ProcessDriver::new(ProcessOptions::new(state.root(), seed), clock.clone())?;
        let (supervisor, runtime) = Supervisor::new(
            mainstay_runtime::Options { state_dir: state.root().to_owned(), seed },
            services::specs(&plan, &addresses),
            Arc::new(driver),
            Arc::new(Draining(gateway_handle.clone())),
            bus.clone(),
            clock.clone(),
        )?;
        relay(runtime.endpoints(), endpoints);

        let journal = Arc::new(SqliteJournal::open(state.journal(), store_options(mutations)).context("journal")?);
        let (engine, transactions) = mainstay_txn::Engine::new(
            mainstay_txn::Options {
                seed,
                recovery: !mutations.recovery_off,
                stable_keys: !mutations.idempotency_off,
                ..mainstay_txn::Options::default()
            },
            transactions::definitions(&plan)?,
            journal.clone(),
            Arc::new(transactions::ThroughGateway(gateway_handle.caller())),
            clock,
            bus.clone(),
        )?;
        let starts = transactions::handlers(&plan, &transactions, plan.listen.console);
        gateway_handle.publish(traffic::snapshot(&plan, &starts, mutations));

        let names = plan.services.iter().map(|s| s.name.clone()).collect();
        let faults = faults::Faults::new(gateway_handle.clone(), runtime.clone(), names, bus.clone());
        let families = families::Families {
            gateway: gateway_handle.clone(),
            runtime: runtime.clone(),
            transactions: transactions.clone(),
        };
        let metrics = Metrics::new(families.shared());
        let view =
            view::Screen::new(&plan, addresses.ingress, gateway_handle, runtime, transactions.clone(), bus.clone());
        let status = {
            let view = view.clone();
            Arc::new(move || view.status())
        };
        let parts = Parts {
            status,
            transactions,
            faults: faults.clone(),
            metrics: metrics.clone(),
            bus: bus.clone(),
            token: state.token()?,
            stop: stop.clone(),
        };
        let console = mainstay_console::router(view.clone(), bus.clone());
        let api = mainstay_api::on_loopback_only(mainstay_api::router(parts).merge(console));
        let ingress = addresses.ingress;
        Ok(Self {
            name: plan.app,
            state,
            lock,
            bus,
            api_listener,
            api,
            gateway,
            ingress,
            supervisor,
            engine,
            journal,
            faults,
            metrics,
            view,
            stop,
        })
    }

    /// What ends the app when it is cancelled.
    pub(crate) fn stop(&self) -> Shutdown {
        self.stop.clone()
    }
}

/// The gateway's knowledge of what is in flight, as the supervisor asks for it.
struct Draining(mainstay_gateway::Handle);

impl InFlight for Draining {
    fn in_flight(&self, replica: &ReplicaId) -> u64 {
        self.0.in_flight(replica)
    }
}

/// Hands on every set of endpoints, for as long as there is somebody to take it.
fn relay(mut from: watch::Receiver<mainstay_core::Endpoints>, to: watch::Sender<mainstay_core::Endpoints>) {
    tokio::spawn(async move {
        loop {
            let now = from.borrow_and_update().clone();
            if to.send(now).is_err() || from.changed().await.is_err() {
                return;
            }
        }
    });
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        anyhow::bail!(
            "console: {address} can be reached from outside, and whoever reaches it may read everything\n  \
             fix: set `listen: {{ console: \"127.0.0.1:9900\" }}` in the file; there are no roles yet"
        );
    }
    TcpListener::bind(address).await.with_context(|| {
        format!("console: cannot listen on {address}\n  fix: end what listens there, or set `listen: {{ console: … }}` in the file")
    })
}

fn seed() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))
}

/// What the journal promises: the disk has what was acknowledged, unless a test took that away.
fn store_options(mutations: Mutations) -> StoreOptions {
    StoreOptions { sync: !mutations.journal_sync_off, ..StoreOptions::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of acknowledged transactions without it is shown by the power loss in the store's own tests.
    #[test]
    fn the_journal_waits_for_the_disk_unless_a_test_says_otherwise() {
        assert!(store_options(Mutations::default()).sync);
        assert!(!store_options(Mutations { journal_sync_off: true, ..Mutations::default() }).sync);
    }
}
