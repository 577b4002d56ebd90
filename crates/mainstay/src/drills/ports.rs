//! The drill's ports over HTTP: faults and events by the API, audits straight from the replicas, so that what is
//! judged is not asked through the one who is judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use hyper::Method;
use mainstay_core::{Event, Fault, LeaseId, ReplicaId, ServiceName, Shutdown, WallMs};
use mainstay_drill::{FinalState, Injector, Inspection, PortError, PortFuture, StateReader, TransactionState};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::client::Client;
use crate::commands::look::event_lines;
use crate::drills::child::Mainstay;

/// Pause before a lost stream of events is opened again.
const RECONNECT_EVERY: Duration = Duration::from_millis(50);

fn port<'a, T>(work: impl Future<Output = anyhow::Result<T>> + Send + 'a) -> PortFuture<'a, T> {
    Box::pin(async { work.await.map_err(|e| PortError(format!("{e:#}"))) })
}

impl Injector for Mainstay {
    fn inspect(&self) -> PortFuture<'_, Inspection> {
        port(async {
            let client = self.client()?;
            let status: Value = client.get("/v1/status").await?;
            let ready = replicas(&status).filter(|r| r["state"] == "ready").filter_map(id).collect();
            let faults: Value = client.get("/v1/faults").await?;
            let leases = faults["faults"].as_array().into_iter().flatten();
            let leases = leases.filter_map(|f| Some(LeaseId(f["lease"].as_str()?.to_owned()))).collect();
            Ok(Inspection { ready, leases })
        })
    }

    fn inject<'a>(&'a self, fault: &'a Fault) -> PortFuture<'a, LeaseId> {
        port(async move {
            let answer = self.client()?.send(Method::POST, "/v1/faults", &json!(fault)).await?;
            Ok(LeaseId(answer["lease"].as_str().context("the answer names a lease")?.to_owned()))
        })
    }

    fn renew<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool> {
        port(async move {
            let path = format!("/v1/faults/{lease}/renew");
            self.client()?.exists(Method::POST, &path).await
        })
    }

    fn clear<'a>(&'a self, lease: &'a LeaseId) -> PortFuture<'a, bool> {
        port(async move {
            let path = format!("/v1/faults/{lease}");
            self.client()?.exists(Method::DELETE, &path).await
        })
    }

    fn kill_mainstay(&self) -> PortFuture<'_, WallMs> {
        port(self.kill_and_restart())
    }
}

fn replicas(status: &Value) -> impl Iterator<Item = &Value> {
    let services = status["services"].as_array().into_iter().flatten();
    services.flat_map(|s| s["replicas"].as_array().into_iter().flatten())
}

fn id(replica: &Value) -> Option<ReplicaId> {
    replica["id"].as_str()?.parse().ok()
}

/// Reads what the system holds.
pub(crate) struct Reader {
    pub(crate) mainstay: Arc<Mainstay>,
    /// The path of each service's audit.
    pub(crate) audits: BTreeMap<ServiceName, String>,
}

impl StateReader for Reader {
    fn open(&self) -> PortFuture<'_, u64> {
        port(async {
            let status: Value = self.mainstay.client()?.get("/v1/status").await?;
            let count = |name: &str| status["transactions"][name].as_u64().context("the status counts transactions");
            Ok(count("running")? + count("compensating")?)
        })
    }

    fn read<'a>(&'a self, key_prefix: &'a str) -> PortFuture<'a, FinalState> {
        port(async move {
            let client = self.mainstay.client()?;
            let status: Value = client.get("/v1/status").await?;
            let mut state =
                FinalState { transactions: transactions(&client, key_prefix).await?, ..FinalState::default() };
            for (service, path) in &self.audits {
                if let Some(audit) = audit(&status, service, path).await {
                    state.audits.insert(service.clone(), audit);
                }
            }
            Ok(state)
        })
    }
}

/// From any replica that answers.
async fn audit(status: &Value, service: &ServiceName, path: &str) -> Option<Value> {
    for replica in replicas(status).filter(|r| id(r).is_some_and(|id| id.service == *service)) {
        let Some(address) = replica["addr"].as_str().and_then(|a| a.parse().ok()) else { continue };
        if let Ok(answer) = Client::at(address, String::new()).get(path).await {
            return Some(answer);
        }
    }
    None
}

async fn transactions(client: &Client, key_prefix: &str) -> anyhow::Result<Vec<TransactionState>> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: Value = client.get(&format!("/v1/transactions?limit=500{cursor}")).await?;
        let records = page["transactions"].as_array().context("the answer lists transactions")?;
        found.extend(records.iter().filter_map(transaction).filter(|t| t.key.starts_with(key_prefix)));
        match page["next"].as_i64() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

fn transaction(record: &Value) -> Option<TransactionState> {
    let text = |name: &str| record[name].as_str().map(str::to_owned);
    let status = text("status")?;
    let over = matches!(status.as_str(), "committed" | "rolled_back");
    Some(TransactionState {
        id: text("id")?,
        name: text("name")?,
        key: text("key")?,
        started_ms: record["started_ms"].as_i64()?,
        finished_ms: if over { record["updated_ms"].as_i64() } else { None },
        status,
    })
}

/// Hands on the events of whichever process is up, for as long as the drill lasts.
pub(crate) async fn follow(mainstay: Arc<Mainstay>, events: mpsc::Sender<Event>, over: Shutdown) {
    let work = async {
        // A new process counts from 1 again, so it is asked for everything; the same one only for what is new.
        let (mut boot, mut seen) = (0, 0);
        loop {
            if let Ok(client) = mainstay.client()
                && let Ok(mut stream) = event_lines(&client, 0).await
            {
                while let Some(event) = stream.next().await {
                    if event.boot == boot && event.seq <= seen {
                        continue;
                    }
                    (boot, seen) = (event.boot, event.seq);
                    if events.send(event).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(RECONNECT_EVERY).await;
        }
    };
    tokio::select! { () = work => {}, () = over.cancelled() => {} }
}
