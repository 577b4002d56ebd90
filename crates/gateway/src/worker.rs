//! One worker: accepts, spawns a task for each connection and each call, keeps house, drains from the outside in.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::{Reason, Shutdown};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::answer::Own;
use crate::call::carry_out;
use crate::caller::Call;
use crate::client::Client;
use crate::core::{Core, WorkerSeat};
use crate::net::Net;
use crate::router::Door;
use crate::shard::Shard;
use crate::snapshot::ListenerId;

/// How often old connections are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// A pause after the system could not give us a connection: it is out of descriptors or of memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// One worker of the data plane: everything that happens on one core.
pub struct Worker<N: Net> {
    core: Arc<Core>,
    seat: WorkerSeat,
    net: N,
    listeners: Vec<(ListenerId, N::Listener)>,
}

impl<N: Net> Worker<N> {
    /// A worker in `seat` that serves `listeners`.
    pub fn new(core: Arc<Core>, seat: WorkerSeat, net: N, listeners: Vec<(ListenerId, N::Listener)>) -> Self {
        Self { core, seat, net, listeners }
    }

    /// Serves until `shutdown`, then until what is in flight has ended or `drain_max` is over. Runs inside a
    /// `LocalSet`.
    pub async fn run(self, shutdown: Shutdown) {
        let Self { core, seat, net, listeners } = self;
        let drain_max = core.options.drain_max;
        let shard = Shard::new(core, seat.index, net, &listeners);
        // Tokens of its own: waiting on them touches nothing that another core holds.
        let outer_drain = shutdown.child_token();
        let inner_drain = shard.core.inner_drain.child_token();
        let mut house = JoinSet::new();
        house.spawn_local(keep_house(shard.clone()));
        let (mut outer, mut inner) = (JoinSet::new(), JoinSet::new());
        inner.spawn_local(take_calls(shard.clone(), seat.calls, inner_drain.clone()));
        for (id, listener) in listeners {
            match id {
                ListenerId::Ingress => outer.spawn_local(accept(shard.clone(), id, listener, outer_drain.clone())),
                ListenerId::Edge { .. } => inner.spawn_local(accept(shard.clone(), id, listener, inner_drain.clone())),
            };
        }
        outer_drain.cancelled().await;
        shard.draining.set(true);
        // First what came from outside, on every worker: to be answered, it may need calls between services and branches
        // of transactions. Then those.
        let drained = async {
            while outer.join_next().await.is_some() {}
            shard.core.outer_drained();
            inner_drain.cancelled().await;
            while inner.join_next().await.is_some() {}
        };
        if tokio::time::timeout(drain_max, drained).await.is_err() {
            tracing::warn!(?drain_max, "requests in flight were cut off at the end of the drain");
        }
    }
}

async fn keep_house<N: Net>(shard: Rc<Shard<N>>) {
    loop {
        tokio::select! {
            biased;
            () = shard.published() => { shard.compiled(); }
            () = tokio::time::sleep(HOUSEKEEPING) => shard.keep_house(),
        }
    }
}

/// Accepts until the drain; ends when the last connection has ended.
async fn accept<N: Net>(shard: Rc<Shard<N>>, id: ListenerId, listener: N::Listener, drain: Shutdown) {
    let options = &shard.core.options;
    let connections_max = (options.limits.connections_max / options.workers).max(1) as u64;
    let door = Rc::new(Door::new(id, &shard.counters));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
            accepted = shard.net.accept(&listener) => accepted,
            () = drain.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) if shard.counters.connections.get() >= connections_max => {
                shard.counters.connections_refused.add(1);
                clients.spawn_local(refuse(stream));
            }
            Ok((stream, peer)) => {
                let client = Client::new(shard.clone(), stream, peer.ip(), door.clone(), drain.clone());
                clients.spawn_local(client.serve());
            }
            Err(error) => {
                tracing::warn!(listener = %door.id, %error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while clients.join_next().await.is_some() {}
}

/// Says why, as far as it fits into the buffer of the socket, and closes.
async fn refuse<S: tokio::io::AsyncWrite + Unpin>(mut stream: S) {
    let mut out = Vec::new();
    Own { detail: Some("there are too many connections"), ..Own::new(Reason::Shed) }.write(&mut out);
    // A client that does not take it is closed all the same.
    let _ = tokio::time::timeout(Duration::from_secs(1), async {
        stream.write_all(&out).await?;
        stream.shutdown().await
    })
    .await;
}

/// Carries out the calls of the control plane. After the drain has begun it takes what is queued and no more.
async fn take_calls<N: Net>(shard: Rc<Shard<N>>, mut calls: mpsc::Receiver<Call>, drain: Shutdown) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(_) = running.join_next(), if !running.is_empty() => {}
            call = calls.recv() => match call {
                Some(call) => {
                    running.spawn_local(carry_out(shard.clone(), call));
                }
                None => break,
            },
            () = drain.cancelled(), if !calls.is_closed() => calls.close(),
        }
    }
    while running.join_next().await.is_some() {}
}
