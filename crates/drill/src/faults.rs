//! Puts each fault in at its time, keeps its lease alive, takes it out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_core::{Clock, Fault, FaultKind, LeaseId, Shutdown, Span, WallMs};
use tokio::time::Instant;

use crate::plan::{Action, PlannedFault};
use crate::ports::{Injector, PORT_ANSWER_MAX, PortError, within};

/// How long a fault is tried to be put in: Mainstay may be starting again.
const INJECT_RETRY_MAX: Duration = Duration::from_secs(3);

/// How long a fault is tried to be taken out. After that its lease has long run out.
const CLEAR_RETRY_MAX: Duration = Duration::from_secs(10);

/// Pause between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// What became of a planned fault. Wall times.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FaultRecord {
    /// Just before it was put in, so that detection is never flattered.
    pub(crate) from: Option<WallMs>,
    /// When it was over; none while it lasts.
    pub(crate) until: Option<WallMs>,
    pub(crate) error: Option<String>,
}

/// The records of all faults while they are being made.
#[derive(Clone)]
pub(crate) struct FaultBoard {
    records: Arc<Mutex<Vec<FaultRecord>>>,
}

impl FaultBoard {
    pub(crate) fn new(count: usize) -> Self {
        Self { records: Arc::new(Mutex::new(vec![FaultRecord::default(); count])) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<FaultRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, at: usize, change: impl FnOnce(&mut FaultRecord)) {
        change(&mut self.lock()[at]);
    }

    pub(crate) fn records(&self) -> Vec<FaultRecord> {
        self.lock().clone()
    }

    /// The positions of the faults in force.
    pub(crate) fn active(&self) -> Vec<usize> {
        let in_force = |r: &FaultRecord| r.from.is_some() && r.until.is_none();
        self.lock().iter().enumerate().filter(|(_, r)| in_force(r)).map(|(at, _)| at).collect()
    }
}

/// What a fault's task needs.
#[derive(Clone)]
pub(crate) struct FaultContext {
    pub(crate) injector: Arc<dyn Injector>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) board: FaultBoard,
    pub(crate) start: Instant,
    pub(crate) ttl: Duration,
    /// Ends all faults at once.
    pub(crate) heal: Shutdown,
}

/// Carries out fault number `at` from start to end.
pub(crate) async fn carry_out(context: FaultContext, at: usize, fault: PlannedFault) {
    tokio::select! {
        biased;
        () = context.heal.cancelled() => return,
        () = tokio::time::sleep_until(context.start + fault.at) => {}
    }
    match &fault.action {
        Action::KillMainstay => kill_mainstay(&context, at).await,
        Action::Fault(kind) => hurt(&context, at, &fault, kind).await,
    }
}

async fn kill_mainstay(context: &FaultContext, at: usize) {
    match within(PORT_ANSWER_MAX, context.injector.kill_mainstay()).await {
        Ok(when) => context.board.update(at, |r| {
            r.from = Some(when);
            r.until = Some(when);
        }),
        Err(e) => context.board.update(at, |r| r.error = Some(e.0)),
    }
}

async fn hurt(context: &FaultContext, at: usize, fault: &PlannedFault, kind: &FaultKind) {
    let wanted = Fault { kind: kind.clone(), ttl: Span(context.ttl) };
    let (lease, from) = match inject(context, &wanted).await {
        Ok(put_in) => put_in,
        Err(e) => return context.board.update(at, |r| r.error = Some(e.0)),
    };
    context.board.update(at, |r| r.from = Some(from));
    let Some(lasts) = fault.lasts else {
        // It has happened. The lease has nothing left to undo; taking it out keeps the list of leases short.
        context.board.update(at, |r| r.until = Some(from));
        clear(context, &lease).await;
        return;
    };
    let lost = keep(context, &lease, Instant::now() + lasts).await;
    if lost {
        let early = "its lease was lost before its time".to_owned();
        context.board.update(at, |r| r.error = Some(early));
    } else {
        clear(context, &lease).await;
    }
    let until = context.clock.wall_ms();
    context.board.update(at, |r| r.until = Some(until));
}

async fn inject(context: &FaultContext, fault: &Fault) -> Result<(LeaseId, WallMs), PortError> {
    let give_up = Instant::now() + INJECT_RETRY_MAX;
    loop {
        let from = context.clock.wall_ms();
        match within(PORT_ANSWER_MAX, context.injector.inject(fault)).await {
            Ok(lease) => return Ok((lease, from)),
            Err(e) if Instant::now() >= give_up || context.heal.is_cancelled() => return Err(e),
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// Renews until `end` or healing. True when the lease was lost on the way. A renewal that gets no answer is tried
/// again: Mainstay itself may be what was killed.
async fn keep(context: &FaultContext, lease: &LeaseId, end: Instant) -> bool {
    let mut wake = Instant::now() + context.ttl / 3;
    loop {
        tokio::select! {
            biased;
            () = context.heal.cancelled() => return false,
            () = tokio::time::sleep_until(wake.min(end)) => {}
        }
        if Instant::now() >= end {
            return false;
        }
        wake = Instant::now()
            + match within(context.ttl / 3, context.injector.renew(lease)).await {
                Ok(true) => context.ttl / 3,
                Ok(false) => return true,
                Err(_) => RETRY_PAUSE,
            };
    }
}

async fn clear(context: &FaultContext, lease: &LeaseId) {
    let give_up = Instant::now() + CLEAR_RETRY_MAX;
    while within(CLEAR_RETRY_MAX, context.injector.clear(lease)).await.is_err() && Instant::now() < give_up {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}
