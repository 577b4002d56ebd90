//! Sends every arrival at its time.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::Shutdown;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arrivals::{Arrival, Arrivals};
use super::client::{Client, Reply};
use crate::history::{Ending, Ledger, Op};
use crate::spec::{Load, Meaning, OPERATIONS_MAX, Operation};

/// A request that leaves this much after it was due is late: the machine of the drill is too slow.
pub(crate) const LATE_MS_MIN: u64 = 100;

/// Sends `arrivals` until `stop`, then waits for those in flight, each of which has its timeout. `abandon` ends it at
/// once; what is in flight stays unknown.
pub(crate) async fn drive(
    load: Load,
    arrivals: Arrivals,
    client: Client,
    ledger: Arc<Ledger>,
    start: Instant,
    stop: Shutdown,
    abandon: Shutdown,
) {
    let slots = Arc::new(Semaphore::new(load.in_flight_max as usize));
    let names: Vec<Arc<str>> = load.mix.iter().map(|o| o.name.as_str().into()).collect();
    let operations: Vec<Arc<Operation>> = load.mix.into_iter().map(Arc::new).collect();
    let mut flying = JoinSet::new();
    for arrival in arrivals.take(OPERATIONS_MAX as usize) {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = abandon.cancelled() => break,
            () = tokio::time::sleep_until(start + arrival.due) => {}
        }
        while flying.try_join_next().is_some() {}
        let op = blank(&arrival, &names);
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            ledger.unsent(op);
            continue;
        };
        let operation = operations[arrival.operation].clone();
        let (client, ledger) = (client.clone(), ledger.clone());
        flying.spawn(async move {
            fly(arrival, op, &operation, &client, &ledger, start).await;
            drop(slot);
        });
    }
    tokio::select! {
        () = abandon.cancelled() => flying.shutdown().await,
        () = async { while flying.join_next().await.is_some() {} } => {}
    }
}

fn blank(arrival: &Arrival, names: &[Arc<str>]) -> Op {
    Op {
        index: arrival.index,
        process: 0,
        name: names[arrival.operation].clone(),
        key: arrival.request.key.clone(),
        due: arrival.due,
        sent: None,
        done: None,
        ending: Ending::Unsent,
        status: None,
        reply: None,
        detail: None,
        good: false,
    }
}

async fn fly(arrival: Arrival, mut op: Op, operation: &Operation, client: &Client, ledger: &Ledger, start: Instant) {
    op.sent = Some(start.elapsed());
    let sent = ledger.begin(op).await;
    let reply = client.send(&arrival.request, operation.timeout.0).await;
    let done = start.elapsed();
    ledger.end(sent, |op| settle(op, operation, reply, done)).await;
}

/// Reads an answer as its client does.
fn settle(op: &mut Op, operation: &Operation, reply: Reply, done: Duration) {
    op.done = Some(done);
    match reply {
        Reply::NotConnected(why) => {
            op.ending = Ending::NotConnected;
            op.detail = Some(why);
        }
        Reply::Broken(why) => {
            op.ending = Ending::Unknown;
            op.detail = Some(why);
        }
        Reply::Answer { status, body_hash, transaction, reason } => {
            op.status = Some(status.as_u16());
            op.reply = Some(body_hash);
            // A 409 of a service refuses; a 409 of Mainstay (a key in flight) says nothing of the kind.
            let by_service = reason.is_none();
            op.detail = reason.or(transaction);
            let meaning = operation.answers.iter().find(|(right, _)| by_service && *right == status.as_u16());
            op.ending = match meaning {
                Some((_, Meaning::Done)) => Ending::Done,
                Some((_, Meaning::Accepted)) => Ending::Accepted,
                Some((_, Meaning::Refused)) => Ending::Refused,
                // What was tried before the last answer may have acted: a 5xx proves nothing.
                None if status.is_client_error() => Ending::Rejected,
                None => Ending::Unknown,
            };
            op.good = op.ending.is_right() && done.saturating_sub(op.due) <= operation.objective.0;
        }
    }
}
