//! Runs the parts, and ends them in the order in which they need each other.
//!
//! An orderly stop goes from the outside in: first no new requests, and those in flight are answered while everything
//! that they need still runs; then transactions; then the replicas. What only watches goes last.

use std::process::ExitCode;

use anyhow::Context;
use mainstay_core::{Event, EventBus, EventKind, Severity, Shutdown};
use mainstay_observe::EventLog;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::assemble::App;
use crate::commands::look::time_of_day;
use crate::state::Running;
use crate::terminal::Terminal;

impl App {
    /// Runs until it is told to stop, then stops in an orderly way. A part that cannot go on ends all at once with an
    /// error, and leaves the replicas running for the next `up`.
    pub(crate) async fn run(self, terminal: &Terminal) -> anyhow::Result<ExitCode> {
        let api = self.api_listener.local_addr()?;
        let (bus, state, ingress, view) = (self.bus.clone(), self.state.clone(), self.ingress, self.view.clone());
        let boot = bus.boot();
        let (app, stop, mut journal) = (self.name.clone(), self.stop.clone(), self.journal.failed());
        let (mut serving, watching, _lock) = self.start(*terminal)?;

        state.announce(&Running { app: app.clone(), pid: std::process::id(), boot, api, ingress })?;
        bus.publish(EventKind::Started { app: app.clone(), adopted: view.adopted().await });
        terminal.note(format!("{app} is up: ingress http://{ingress}/  console http://{api}/"));

        let ended = tokio::select! {
            () = stop.cancelled() => None,
            error = serving.ended() => Some(error),
            why = fatal(&mut journal) => Some(anyhow::anyhow!("journal: {why}")),
        };
        if let Some(error) = ended {
            state.withdraw();
            let then = "Mainstay cannot go on; the replicas are left running, start it again with `mainstay up`";
            return Err(error.context(then));
        }
        bus.publish(EventKind::Stopping);
        terminal.note("stopping: those in flight finish, then the replicas end (Ctrl-C again: at once)");
        serving.stop().await?;
        state.withdraw();
        watching.stop().await;
        terminal.note("stopped");
        Ok(ExitCode::SUCCESS)
    }

    /// Starts every part. The lock is held for as long as the caller holds it.
    fn start(self, terminal: Terminal) -> anyhow::Result<(Serving, Watching, crate::state::Lock)> {
        let log = EventLog::open(&self.state.event_log())?;
        let (gateway, engine, supervisor) = (self.gateway, self.engine, self.supervisor);
        let serving = Serving {
            gateway: Part::spawn("gateway", async move |stop| {
                // It brings its own threads and runtimes, and holds the one that it is called on.
                Ok(tokio::task::spawn_blocking(move || gateway.run(&stop)).await??)
            }),
            engine: Part::spawn("transactions", async move |stop| Ok(engine.run(stop).await?)),
            supervisor: Part::spawn("supervisor", async move |stop| Ok(supervisor.run(stop).await?)),
        };
        let stop = Shutdown::new();
        let mut tasks = JoinSet::new();
        let (bus, end) = (self.bus.clone(), stop.clone());
        tasks.spawn(async move {
            // Without its log Mainstay goes on: the events are still on the bus.
            let _ = log.run(bus, end).await;
        });
        tasks.spawn(warn(self.bus.clone(), terminal, stop.clone()));
        tasks.spawn(self.metrics.count_events(self.bus, stop.clone()));
        tasks.spawn(self.faults.watch(stop.clone()));
        tasks.spawn(self.view.sample(stop.clone()));
        let served = axum::serve(self.api_listener, self.api).with_graceful_shutdown(stop.clone().cancelled_owned());
        let api = tokio::spawn(served.into_future());
        Ok((serving, Watching { tasks, api, stop }, self.lock))
    }
}

/// What serves the app. Each part has its own turn in the stop.
struct Serving {
    gateway: Part,
    engine: Part,
    supervisor: Part,
}

impl Serving {
    /// Resolves only when a part ends although nobody told it to.
    async fn ended(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.gateway.ended() => error,
            error = self.engine.ended() => error,
            error = self.supervisor.ended() => error,
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.gateway.stop().await?;
        self.engine.stop().await?;
        self.supervisor.stop().await
    }
}

/// What only watches, and the API.
struct Watching {
    tasks: JoinSet<()>,
    api: JoinHandle<std::io::Result<()>>,
    stop: Shutdown,
}

impl Watching {
    async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
        // A reader that keeps its connection open must not hold up the end.
        self.api.abort();
    }
}

/// A part that runs as a task of its own.
struct Part {
    name: &'static str,
    task: JoinHandle<anyhow::Result<()>>,
    stop: Shutdown,
}

impl Part {
    fn spawn<F>(name: &'static str, run: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = Shutdown::new();
        Self { name, task: tokio::spawn(run(stop.clone())), stop }
    }

    async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("{} ended by itself", self.name),
            Ok(Err(error)) => error.context(self.name),
            Err(panic) => anyhow::anyhow!("{}: {panic}", self.name),
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await.with_context(|| self.name)?.context(self.name)
    }
}

/// Tells whoever watches the terminal what is not as it should be; everything else is in `mainstay events`.
async fn warn(bus: EventBus, terminal: Terminal, stop: Shutdown) {
    let (past, mut live) = bus.subscribe_since(0);
    let tell = |event: &Event| {
        if event.kind.severity() >= Severity::Warn {
            terminal.note(format!("{}  {}", time_of_day(event.at), event.kind));
        }
    };
    past.iter().for_each(|event| tell(event));
    loop {
        tokio::select! {
            event = live.recv() => match event {
                Ok(event) => tell(&event),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            () = stop.cancelled() => return,
        }
    }
}

/// Resolves when the journal has failed: nothing that it was given since is known to be durable.
async fn fatal(journal: &mut watch::Receiver<Option<String>>) -> String {
    match journal.wait_for(Option::is_some).await.map(|why| why.clone()) {
        Ok(Some(why)) => why,
        _ => std::future::pending().await,
    }
}
