//! The phases in their order. What each of them decides is elsewhere; here is when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_core::{LeaseId, ReplicaId, Shutdown, WallMs};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::settle::{self, Settled};
use super::{Drill, DrillError, PROGRESS_EVERY};
use crate::collect::Collector;
use crate::faults::{FaultBoard, FaultContext, carry_out};
use crate::history::{HistoryWriter, Ledger};
use crate::invariant::FinalState;
use crate::load::{Client, drive};
use crate::plan::Plan;
use crate::ports::{PORT_ANSWER_MAX, within};
use crate::progress::{DrillPhase, Progress};
use crate::report::Report;
use crate::verdict::{Evidence, judge};

/// How long the final state is asked for again when it cannot be read.
const FINAL_READS_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks at a state that is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs of one seed on one state: each has its own keys.
const ROUNDS_MAX: u32 = 1000;

/// How long the last events of a heal may be under way.
const EVENTS_GRACE: Duration = Duration::from_millis(200);

/// A task that ends with its owner.
struct Companion(JoinHandle<()>);

impl Drop for Companion {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A running drill.
pub(super) struct Run {
    drill: Drill,
    client: Client,
    shutdown: Shutdown,
    collector: Collector,
    ledger: Arc<Ledger>,
    writer: Option<HistoryWriter>,
    phases: Phases,
    companions: Vec<Companion>,
}

/// When each phase began.
#[derive(Clone, Default)]
struct Phases(Arc<Mutex<Vec<(DrillPhase, WallMs)>>>);

impl Phases {
    fn list(&self) -> Vec<(DrillPhase, WallMs)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> DrillPhase {
        self.list().last().map_or(DrillPhase::Preflight, |(phase, _)| *phase)
    }
}

impl Run {
    pub(super) async fn begin(mut drill: Drill, client: Client, shutdown: Shutdown) -> Result<Self, DrillError> {
        let (lines, writer) = match &drill.history {
            None => (None, None),
            Some(path) => {
                let made = HistoryWriter::create(path).await;
                let (lines, writer) = made.map_err(|source| DrillError::History { path: path.clone(), source })?;
                (Some(lines), Some(writer))
            }
        };
        let collector = Collector::default();
        let (_, nothing) = tokio::sync::mpsc::channel(1);
        let events = std::mem::replace(&mut drill.events, nothing);
        let companion = Companion(tokio::spawn(collector.clone().run(events)));
        Ok(Self {
            drill,
            client,
            shutdown,
            collector,
            ledger: Arc::new(Ledger::new(lines)),
            writer,
            phases: Phases::default(),
            companions: vec![companion],
        })
    }

    fn enter(&self, phase: DrillPhase) {
        let now = self.drill.clock.wall_ms();
        self.phases.0.lock().unwrap_or_else(PoisonError::into_inner).push((phase, now));
    }

    /// All phases, to the report.
    pub(super) async fn finish(mut self) -> Result<Report, DrillError> {
        self.enter(DrillPhase::Preflight);
        let mut evidence = match self.preflight().await {
            Err(why) => Evidence::nothing(&self.drill.spec, self.drill.clock.wall_ms(), why),
            Ok((plan, ready)) => Box::pin(self.hurt_and_heal(plan, &ready)).await,
        };
        self.enter(DrillPhase::Check);
        self.ledger.close_file();
        if let Some(writer) = self.writer.take() {
            evidence.history_error = writer.finish().await.err().map(|e| e.to_string());
        }
        evidence.phases = self.phases.list();
        let report = judge(evidence);
        self.enter(DrillPhase::Over);
        self.tell_over();
        Ok(report)
    }

    async fn preflight(&self) -> Result<(Plan, Vec<ReplicaId>), String> {
        let look = async {
            let mut why;
            let give_up = Instant::now() + self.drill.spec.preflight_max.0;
            loop {
                match self.preflight_once().await {
                    Ok(ready) => return Ok(ready),
                    Err(e) => why = e,
                }
                if Instant::now() >= give_up {
                    return Err(format!("preflight: {why}"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = self.shutdown.cancelled() => Err("aborted before it began".into()),
            found = look => found,
        }
    }

    async fn preflight_once(&self) -> Result<(Plan, Vec<ReplicaId>), String> {
        let spec = &self.drill.spec;
        self.client.answers().await.map_err(|e| format!("{} does not answer: {e}", self.drill.target))?;
        let inspection = within(PORT_ANSWER_MAX, self.drill.injector.inspect()).await.map_err(|e| e.0)?;
        if !inspection.leases.is_empty() {
            return Err(format!("faults of another drill are in force: {}", names(&inspection.leases)));
        }
        let round = self.fresh_round().await?;
        let plan = Plan::make(spec, &inspection.ready, round).map_err(|e| e.to_string())?;
        Ok((plan, inspection.ready))
    }

    /// The first round of this seed whose keys the system does not know: an old key would be answered from memory.
    async fn fresh_round(&self) -> Result<u32, String> {
        for round in 1..=ROUNDS_MAX {
            let prefix = Plan::key_prefix_of(self.drill.spec.seed, round);
            let state = within(PORT_ANSWER_MAX, self.drill.state.read(&prefix)).await.map_err(|e| e.0)?;
            if !state.transactions.iter().any(|t| t.key.starts_with(&prefix)) {
                return Ok(round);
            }
        }
        Err(format!("seed {} ran {ROUNDS_MAX} times on this state: take another", self.drill.spec.seed))
    }

    async fn hurt_and_heal(&mut self, plan: Plan, ready: &[ReplicaId]) -> Evidence {
        let spec = self.drill.spec.clone();
        let start = Instant::now();
        let started = self.drill.clock.wall_ms();
        let board = FaultBoard::new(plan.faults.len());
        self.companions.push(self.narrate(&plan, board.clone(), start, started));
        self.enter(DrillPhase::Baseline);

        let stop_load = Shutdown::new();
        let load = drive(
            spec.load.clone(),
            plan.arrivals(),
            self.client.clone(),
            self.ledger.clone(),
            start,
            stop_load.clone(),
            self.shutdown.clone(),
        );
        let mut load = tokio::spawn(load);

        let heal = self.shutdown.child_token();
        let context = FaultContext {
            injector: self.drill.injector.clone(),
            clock: self.drill.clock.clone(),
            board: board.clone(),
            start,
            ttl: spec.lease_ttl.0,
            heal: heal.clone(),
        };
        let mut faults = JoinSet::new();
        for (at, fault) in plan.faults.iter().enumerate() {
            faults.spawn(carry_out(context.clone(), at, fault.clone()));
        }
        let first = plan.faults.first().map_or(spec.load.duration.0, |f| f.at);
        self.wait_until(start + first).await;
        self.enter(DrillPhase::Faults);
        self.wait_until(start + spec.load.duration.0).await;

        self.enter(DrillPhase::Clear);
        heal.cancel();
        while faults.join_next().await.is_some() {}
        let cleared = start.elapsed();

        self.enter(DrillPhase::Settle);
        let settle_end = Instant::now() + spec.settle_max.0;
        let mut settled = self.or_abort(settle::serve_well(&self.drill, &self.ledger, ready, start, settle_end)).await;
        stop_load.cancel();
        let ended = start.elapsed();
        // Each request has its timeout, so this ends; a panic of the load is as bad as not holding it.
        let load_broke = (&mut load).await.is_err();
        if let Some(settled) = &mut settled {
            settled.open = self.or_abort(settle::finish_work(&self.drill, settle_end)).await.flatten();
        }

        self.enter(DrillPhase::FinalReads);
        let final_state = match self.or_abort(self.final_reads(&plan.key_prefix)).await {
            Some(read) => read,
            None => Err("the drill was aborted".into()),
        };
        let residue = self.residue().await;
        tokio::time::sleep(EVENTS_GRACE).await;
        let (events, events_dropped) = self.collector.since(started);
        Evidence {
            spec,
            preflight: Ok(()),
            faults: plan.faults.clone().into_iter().zip(board.records()).collect(),
            started,
            cleared,
            ended,
            aborted: self.shutdown.is_cancelled(),
            load_broke,
            history: self.ledger.history(),
            events,
            events_dropped,
            settled: settled.unwrap_or_else(Settled::unknown),
            final_state,
            residue,
            history_error: None,
            phases: Vec::new(),
        }
    }

    async fn wait_until(&self, when: Instant) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep_until(when) => {}
        }
    }

    async fn or_abort<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            done = work => Some(done),
        }
    }

    async fn final_reads(&self, key_prefix: &str) -> Result<FinalState, String> {
        let give_up = Instant::now() + FINAL_READS_MAX;
        loop {
            match within(PORT_ANSWER_MAX, self.drill.state.read(key_prefix)).await {
                Ok(state) => return Ok(state),
                Err(e) if Instant::now() >= give_up => return Err(e.0),
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// The faults that are still there, once those that nobody renews had the time to run out.
    async fn residue(&self) -> Result<Vec<LeaseId>, String> {
        let give_up = Instant::now() + self.drill.spec.lease_ttl.0 + Duration::from_secs(1);
        loop {
            let found = within(PORT_ANSWER_MAX, self.drill.injector.inspect()).await.map(|i| i.leases).map_err(|e| e.0);
            if matches!(&found, Ok(leases) if leases.is_empty()) || Instant::now() >= give_up {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the live display how it goes.
    fn narrate(&self, plan: &Plan, board: FaultBoard, start: Instant, started: WallMs) -> Companion {
        let Some(progress) = self.drill.progress.clone() else {
            return Companion(tokio::spawn(async {}));
        };
        let words: Vec<String> = plan.faults.iter().map(|f| f.action.to_string()).collect();
        let windows = &self.drill.spec.windows;
        let total = self.drill.spec.load.duration.0 + windows.window.0 + windows.hold.0;
        let (ledger, collector, phases) = (self.ledger.clone(), self.collector.clone(), self.phases.clone());
        Companion(tokio::spawn(async move {
            let mut tick = tokio::time::interval(PROGRESS_EVERY);
            loop {
                tick.tick().await;
                let counts = ledger.counts();
                progress.send_replace(Progress {
                    phase: phases.now(),
                    elapsed: start.elapsed(),
                    total,
                    sent: counts.sent,
                    ok: counts.right,
                    failed: counts.failed,
                    unknown: counts.unknown,
                    last_event: collector.last(started),
                    active_faults: board.active().into_iter().map(|at| words[at].clone()).collect(),
                });
            }
        }))
    }

    fn tell_over(&self) {
        if let Some(progress) = &self.drill.progress {
            progress.send_modify(|p| p.phase = DrillPhase::Over);
        }
    }
}

fn names(leases: &[LeaseId]) -> String {
    leases.iter().map(|l| l.0.as_str()).collect::<Vec<_>>().join(", ")
}
