//! A toy system to drill: one HTTP service in this process, with faults that can be switched on and bugs that can be
//! built in, so that the drill itself can be put to the test.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_core::{Cause, Clock, Event, EventKind, Fault, FaultKind, LeaseId, ReplicaId, SystemClock, WallMs};
use mainstay_drill::{FinalState, Injector, Inspection, PortError, PortFuture, StateReader, TransactionState};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is wrong with the toy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// Every 20th order is acknowledged and forgotten.
    LosesOrders,
    /// A repeated request is charged again.
    ChargesTwice,
    /// An order that nobody sent appears.
    InventsOrders,
    /// Stock goes below zero.
    Oversells,
    /// Money disappears.
    LosesMoney,
    /// Transactions stay open.
    NeverEnds,
    /// A repeated request is answered in another way.
    AnswersDifferently,
    /// A refused order is carried out.
    ActsOnRefusal,
    /// Faults cannot be removed.
    KeepsFaults,
    /// A killed replica does not come back.
    StaysDead,
    /// Faults cannot be put in.
    RefusesFaults,
    /// Errors go on after the faults are removed.
    StaysSick,
}

#[derive(Default)]
struct State {
    orders: BTreeMap<String, &'static str>,
    charges: BTreeMap<String, u64>,
    transactions: BTreeMap<String, TransactionState>,
    sold: i64,
    leases: BTreeMap<String, FaultKind>,
    next_lease: u64,
    next_seq: u64,
    requests: u64,
    dead: Vec<ReplicaId>,
    sick: bool,
}

pub(crate) const STOCK: i64 = 100_000;

/// The toy, running.
pub(crate) struct Toy {
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

pub(crate) struct Shared {
    bug: Bug,
    state: Mutex<State>,
    events: mpsc::Sender<Event>,
}

impl Drop for Toy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Toy {
    pub(crate) async fn start(bug: Bug) -> (Self, mpsc::Receiver<Event>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (events, receiver) = mpsc::channel(1000);
        let shared = Arc::new(Shared { bug, state: Mutex::default(), events });
        let serving = shared.clone();
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let shared = serving.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(shared.clone(), request));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (Self { url, shared, server }, receiver)
    }

    pub(crate) fn ports(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// A fault that somebody else put in.
    pub(crate) fn leave_a_fault(&self) {
        let kind = FaultKind::Down { service: "payment".parse().unwrap() };
        self.shared.lock().leases.insert("old".into(), kind);
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let slow = shared.lock().leases.values().any(|kind| matches!(kind, FaultKind::Freeze { .. }));
    if slow {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, body) = if path == "/checkout" { shared.checkout(&body) } else { (404, json!({})) };
    let response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    Ok(response.body(Full::new(body.to_string().into())).unwrap())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn checkout(&self, body: &[u8]) -> (u16, Value) {
        let input: Value = serde_json::from_slice(body).unwrap();
        let key = input["order_id"].as_str().unwrap().to_owned();
        let refused = input["card"] == "empty";
        let mut state = self.lock();
        state.requests += 1;
        let count = state.requests;
        let down = state.leases.values().any(|kind| matches!(kind, FaultKind::Down { .. }));
        let spoilt = state.leases.values().any(|kind| match kind {
            FaultKind::Edge { share, .. } => share.hits((count * 7919 % 10_000) as u16),
            _ => false,
        });
        if down || spoilt || state.sick {
            return (503, json!({"why": "fault"}));
        }
        let again = state.orders.contains_key(&key);
        if again && self.bug == Bug::ChargesTwice {
            *state.charges.entry(key.clone()).or_default() += 1;
        }
        let status = if refused && self.bug != Bug::ActsOnRefusal { "compensated" } else { "completed" };
        let lost = self.bug == Bug::LosesOrders && count.is_multiple_of(20);
        if !again && !lost {
            state.orders.insert(key.clone(), status);
            if status == "completed" {
                state.charges.insert(key.clone(), 1);
                state.sold += 1;
            }
            self.keep_transaction(&mut state, &key, status);
        }
        let note = if again && self.bug == Bug::AnswersDifferently { count } else { 0 };
        (if refused { 409 } else { 200 }, json!({"key": key, "note": note}))
    }

    fn keep_transaction(&self, state: &mut State, key: &str, status: &str) {
        let now = SystemClock.wall_ms();
        let open = self.bug == Bug::NeverEnds;
        let transaction = TransactionState {
            id: format!("tx-{key}"),
            name: "checkout".into(),
            key: key.into(),
            status: if open { "running".into() } else { status.into() },
            started_ms: now,
            finished_ms: (!open).then_some(now + 3),
        };
        state.transactions.insert(key.into(), transaction);
    }

    fn publish(&self, kinds: Vec<EventKind>) {
        for kind in kinds {
            let seq = {
                let mut state = self.lock();
                state.next_seq += 1;
                state.next_seq
            };
            let _ = self.events.try_send(Event { seq, boot: 1, at: SystemClock.wall_ms(), kind });
        }
    }

    fn put_in(&self, fault: &FaultKind) -> String {
        let id = {
            let mut state = self.lock();
            state.next_lease += 1;
            let id = format!("lease-{}", state.next_lease);
            state.leases.insert(id.clone(), fault.clone());
            id
        };
        match fault {
            FaultKind::Kill { replica } => self.kill(replica),
            FaultKind::Freeze { replica } => self.publish(vec![EventKind::ProbeFailing {
                replica: replica.clone(),
                probe: "ready".into(),
                error: "no answer".into(),
            }]),
            FaultKind::Down { service } => {
                let gone = |index| EventKind::ReplicaNotReady {
                    replica: ReplicaId::new(service.clone(), index),
                    cause: Cause::Exit,
                };
                self.publish(vec![gone(1), gone(2)]);
            }
            FaultKind::Edge { .. } => {}
        }
        id
    }

    fn kill(&self, replica: &ReplicaId) {
        let replica = replica.clone();
        let gone = vec![
            EventKind::ReplicaExited { replica: replica.clone(), pid: 7, status: "signal 9".into() },
            EventKind::ReplicaNotReady { replica: replica.clone(), cause: Cause::Exit },
        ];
        self.publish(gone);
        if self.bug == Bug::StaysDead {
            self.lock().dead.push(replica);
            return;
        }
        let back = vec![
            EventKind::ReplicaStarting { replica: replica.clone(), pid: 8 },
            EventKind::ReplicaReady { replica, after_ms: 1 },
        ];
        self.publish(back);
    }

    fn take_out(&self, lease: &LeaseId) -> bool {
        if self.bug == Bug::KeepsFaults {
            return true;
        }
        let fault = self.lock().leases.remove(&lease.0);
        if let Some(FaultKind::Down { service }) = &fault {
            let back = |index| EventKind::ReplicaReady { replica: ReplicaId::new(service.clone(), index), after_ms: 1 };
            let dead = self.lock().dead.clone();
            let alive = |kind: &EventKind| kind.replica().is_some_and(|r| !dead.contains(r));
            self.publish([back(1), back(2)].into_iter().filter(alive).collect());
            if self.bug == Bug::StaysSick {
                self.lock().sick = true;
            }
        }
        fault.is_some()
    }
}

fn now<T: Send + 'static>(value: Result<T, PortError>) -> PortFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

impl Injector for Shared {
    fn inspect(&self) -> PortFuture<'_, Inspection> {
        let state = self.lock();
        let all = ["order-1", "inventory-1", "inventory-2", "payment-1", "payment-2"];
        let ready = all.iter().map(|r| r.parse().unwrap()).filter(|r| !state.dead.contains(r)).collect();
        now(Ok(Inspection { ready, leases: state.leases.keys().cloned().map(LeaseId).collect() }))
    }

    fn inject<'a>(&'a self, fault: &'a Fault) -> PortFuture<'a, LeaseId> {
        if self.bug == Bug::RefusesFaults {
            return now(Err(PortError("the toy is not to be hurt".into())));
        }
        now(Ok(LeaseId(self.put_in(&fault.kind))))
    }

    fn renew<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool> {
        now(Ok(self.lock().leases.contains_key(&lease.0)))
    }

    fn clear<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool> {
        now(Ok(self.take_out(lease)))
    }

    fn kill_mainstay(&self) -> PortFuture<'_, WallMs> {
        let at = SystemClock.wall_ms();
        self.publish(vec![EventKind::Started { app: "toy".into(), adopted: 5 }]);
        now(Ok(at))
    }
}

impl StateReader for Shared {
    fn open(&self) -> PortFuture<'_, u64> {
        let state = self.lock();
        now(Ok(state.transactions.values().filter(|t| t.finished_ms.is_none()).count() as u64))
    }

    fn read<'a>(&'a self, key_prefix: &'a str) -> PortFuture<'a, FinalState> {
        let mut state = self.lock();
        if self.bug == Bug::InventsOrders && !state.orders.is_empty() {
            state.orders.insert(format!("{key_prefix}999999"), "completed");
        }
        let charged: u64 = state.charges.values().sum();
        let available = if self.bug == Bug::Oversells { -1 } else { STOCK - state.sold };
        let captured = if self.bug == Bug::LosesMoney { charged.saturating_sub(1) } else { charged };
        let payment =
            json!({"effects": {"charges": state.charges}, "totals": {"charged": charged, "captured": captured}});
        let audits = BTreeMap::from([
            ("order".parse().unwrap(), json!({"orders": state.orders})),
            ("payment".parse().unwrap(), payment),
            ("inventory".parse().unwrap(), json!({"stock": {"anchor": {"available": available}}})),
        ]);
        let mine = state.transactions.values().filter(|t| t.key.starts_with(key_prefix));
        let transactions = mine.cloned().collect();
        now(Ok(FinalState { audits, transactions }))
    }
}
