//! Connects the parts. They do not know each other; here their handles meet, and nowhere else.
//!
//! The order matters and is told by what needs what: the gateway is bound first (callers need the addresses of their
//! edges), then the supervisor is made, then transactions (their branches are called through the gateway), then the
//! routes are published that start transactions, and only then does anything run.

mod families;
mod faults;
mod rates;
mod services;
mod traffic;
mod transactions;
mod view;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use mainstay_api::Parts;
use mainstay_config::Plan;
use mainstay_core::{Clock, EventBus, EventKind, ReplicaId, Shutdown, SystemClock};
use mainstay_observe::{EventLog, Metrics};
use mainstay_runtime::{InFlight, ProcessDriver, ProcessOptions, Supervisor};
use mainstay_store::{SqliteJournal, StoreOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::mutation::Mutations;
use crate::state::{Running, StateDir};
use crate::terminal::Terminal;

/// The app, put together and ready to run. Holds every port and the lock of the state folder.
pub(crate) struct App {
    plan: Plan,
    state: StateDir,
    lock: crate::state::Lock,
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
        let lock = state.lock()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let bus = EventBus::new(clock.clone());
        let stop = Shutdown::new();
        let api_listener = listen(plan.listen.console).await?;

        // The gateway wants endpoints before there is a supervisor: they are relayed once both are there.
        let (endpoints, gateway_endpoints) = watch::channel(mainstay_core::Endpoints::default());
        let (gateway, gateway_handle, addresses) = traffic::bind(&plan, &state, mutations, &gateway_endpoints, &bus)?;
        let seed = seed()?;
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

        let options = StoreOptions { sync: !mutations.journal_sync_off, ..StoreOptions::default() };
        let journal = Arc::new(SqliteJournal::open(state.journal(), options).context("journal")?);
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
            plan,
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

    /// Runs until it is told to stop, then stops in an orderly way. A part that cannot go on ends all at once with an
    /// error, and leaves the replicas running for the next `up`.
    pub(crate) async fn run(self, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let Self {
            plan,
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
        } = self;
        let api_address = api_listener.local_addr()?;
        let announced =
            Running { app: plan.app.clone(), pid: std::process::id(), boot: bus.boot(), api: api_address, ingress };
        let [gateway_stop, engine_stop, supervisor_stop, rest_stop] = [(); 4].map(|()| Shutdown::new());

        // What serves the app, each with its own turn in the stop; and what only watches it.
        let mut gateway = Part::spawn("gateway", {
            let stop = gateway_stop.clone();
            async move {
                // It brings its own threads and runtimes, and holds the one that it is called on.
                tokio::task::spawn_blocking(move || gateway.run(&stop)).await?.context("data plane")
            }
        });
        let mut engine = Part::spawn("transactions", {
            let stop = engine_stop.clone();
            async move { Ok(engine.run(stop).await?) }
        });
        let mut supervisor = Part::spawn("supervisor", {
            let stop = supervisor_stop.clone();
            async move { Ok(supervisor.run(stop).await?) }
        });
        let mut rest = JoinSet::new();
        let log = EventLog::open(&state.event_log())?;
        rest.spawn(log.run(bus.clone(), rest_stop.clone()));
        rest.spawn({
            let (bus, stop) = (bus.clone(), rest_stop.clone());
            async {
                metrics.count_events(bus, stop).await;
                Ok(())
            }
        });
        rest.spawn({
            let stop = rest_stop.clone();
            async {
                faults.watch(stop).await;
                Ok(())
            }
        });
        rest.spawn({
            let (view, stop) = (view.clone(), rest_stop.clone());
            async {
                view.sample(stop).await;
                Ok(())
            }
        });
        let served = axum::serve(api_listener, api).with_graceful_shutdown(rest_stop.clone().cancelled_owned());
        let api = tokio::spawn(served.into_future());

        state.announce(&announced)?;
        bus.publish(EventKind::Started { app: plan.app.clone(), adopted: view.adopted().await });
        terminal.note(format!("{} is up: ingress http://{ingress}/  console http://{api_address}/", plan.app));

        let mut failed = journal.failed();
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = gateway.ended() => Err(ended),
            ended = engine.ended() => Err(ended),
            ended = supervisor.ended() => Err(ended),
            why = fatal(&mut failed) => Err(anyhow::anyhow!("journal: {why}")),
        };
        if let Err(error) = outcome {
            state.withdraw();
            return Err(error
                .context("Mainstay cannot go on; the replicas are left running, start it again with `mainstay up`"));
        }
        bus.publish(EventKind::Stopping);
        terminal
            .note("stopping: no new requests, those in flight finish, then the replicas end (Ctrl-C again: at once)");
        gateway_stop.cancel();
        gateway.finish().await?;
        engine_stop.cancel();
        engine.finish().await?;
        supervisor_stop.cancel();
        supervisor.finish().await?;
        state.withdraw();
        rest_stop.cancel();
        rest.join_all().await;
        api.abort();
        drop(lock);
        terminal.note("stopped");
        Ok(ExitCode::SUCCESS)
    }
}

/// A part that runs as a task of its own.
struct Part {
    name: &'static str,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Part {
    fn spawn(name: &'static str, run: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> Self {
        Self { name, task: tokio::spawn(run) }
    }

    /// Resolves only when the part ends although nobody told it to.
    async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("{} ended by itself", self.name),
            Ok(Err(error)) => error.context(self.name),
            Err(panic) => anyhow::anyhow!("{}: {panic}", self.name),
        }
    }

    async fn finish(self) -> anyhow::Result<()> {
        self.task.await.with_context(|| self.name)?.context(self.name)
    }
}

async fn fatal(failed: &mut watch::Receiver<Option<String>>) -> String {
    match failed.wait_for(Option::is_some).await.map(|why| why.clone()) {
        Ok(Some(why)) => why,
        _ => std::future::pending().await,
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
    TcpListener::bind(address).await.with_context(|| {
        format!("console: cannot listen on {address}\n  fix: end what listens there, or set `listen: {{ console: … }}` in the file")
    })
}

fn seed() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|e| anyhow::anyhow!("the system gives no random bytes: {e}"))
}
