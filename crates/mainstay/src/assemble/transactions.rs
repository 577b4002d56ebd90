//! Plan → transactions: definitions, the calls of their branches through the gateway, and the routes that start them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use mainstay_api::Report;
use mainstay_config::{Call, JsonPath, Plan, Transaction};
use mainstay_core::Reason;
use mainstay_gateway::{Caller, LocalFuture, LocalHandler, LocalRequest, LocalResponse, Request};
use mainstay_txn::{BranchCall, CallTemplate, Definition, Handle, Outcome, Participant, Start, Step};
use serde_json::Value;

use crate::assemble::traffic::TransactionRoutes;

/// How long a client of a transaction route waits for the end before it gets 202 and the place to ask again.
const ROUTE_WAIT: Duration = Duration::from_secs(10);

/// Every transaction of the plan.
pub(crate) fn definitions(plan: &Plan) -> anyhow::Result<Vec<Definition>> {
    plan.transactions.iter().map(definition).collect()
}

fn definition(transaction: &Transaction) -> anyhow::Result<Definition> {
    let template = |call: &Call| call.to_string().parse::<CallTemplate>();
    let steps = transaction.steps.iter().map(|step| {
        let undo = step.undo.as_ref().map(template).transpose()?;
        Ok(Step { name: step.name.clone(), call: template(&step.call)?, undo, pivot: step.pivot })
    });
    let steps = steps.collect::<anyhow::Result<_>>()?;
    Ok(Definition::saga(&transaction.name, transaction.deadline, transaction.stuck_after, steps)?)
}

/// Calls branches through the gateway's own upstream stack, so that every policy applies to them.
pub(crate) struct ThroughGateway(pub(crate) Caller);

impl Participant for ThroughGateway {
    async fn call(&self, call: BranchCall) -> Outcome {
        let headers = call
            .headers
            .iter()
            .filter_map(|(name, value)| Some((HeaderName::from_static(name), HeaderValue::from_str(value).ok()?)));
        let request = Request {
            method: call.method,
            path: call.path,
            headers: headers.collect(),
            body: call.body,
            timeout: Some(call.timeout),
        };
        match self.0.call(&call.service, request).await {
            Ok(answer) => {
                let retry_after = answer.headers.get(header::RETRY_AFTER).and_then(|v| v.to_str().ok());
                Outcome::from_http(answer.status.as_u16(), retry_after, &answer.body)
            }
            Err(error) => Outcome::Unknown { why: error.to_string() },
        }
    }
}

/// A handler for the routes of every transaction of the plan.
pub(crate) fn handlers(plan: &Plan, handle: &Handle, api: SocketAddr) -> TransactionRoutes {
    let handler = |t: &Transaction| -> Arc<dyn LocalHandler> {
        Arc::new(Starts { name: t.name.clone(), key: t.key.clone(), handle: handle.clone(), api })
    };
    plan.transactions.iter().map(|t| (t.name.clone(), handler(t))).collect()
}

/// Starts transactions of one name from request bodies.
struct Starts {
    name: String,
    key: Option<JsonPath>,
    handle: Handle,
    /// Where a transaction that takes long can be asked for.
    api: SocketAddr,
}

impl LocalHandler for Starts {
    fn call(&self, request: LocalRequest) -> LocalFuture {
        let start = self.start(&request);
        let (handle, api) = (self.handle.clone(), self.api);
        Box::pin(async move {
            let result = match start {
                Ok(start) => run(&handle, start).await,
                Err(refusal) => Err(refusal),
            };
            match result {
                Ok(report) => answer(&report, api),
                Err((reason, message)) => refusal(reason, &message),
            }
        })
    }
}

type Refusal = (Reason, String);

impl Starts {
    fn start(&self, request: &LocalRequest) -> Result<Start, Refusal> {
        let bad = |message: String| (Reason::BadRequest, message);
        let input: Value =
            serde_json::from_slice(&request.body).map_err(|e| bad(format!("the body is not JSON: {e}")))?;
        let from_header = match request.headers.get("idempotency-key") {
            Some(value) => {
                Some(value.to_str().map_err(|_| bad("idempotency-key: use visible ASCII".into()))?.to_owned())
            }
            None => None,
        };
        let from_body = match &self.key {
            Some(path) => match path.find(&input) {
                Some(Value::String(text)) => Some(text.clone()),
                Some(Value::Number(number)) => Some(number.to_string()),
                Some(_) => return Err(bad(format!("{path}: the key must be a text or a number"))),
                None => return Err(bad(format!("{path}: the key is missing in the body"))),
            },
            None => None,
        };
        // The header may repeat the body's key, not contradict it: what is deduplicated must be one thing.
        if from_header.as_ref().is_some_and(|header| from_body.as_ref().is_some_and(|body| body != header)) {
            return Err(bad("the header idempotency-key and the key in the body differ; send one of them".into()));
        }
        Ok(Start { name: self.name.clone(), key: from_body.or(from_header), input })
    }
}

async fn run(handle: &Handle, start: Start) -> Result<Report, Refusal> {
    let started = handle.start(start).await.map_err(|e| (e.reason(), e.to_string()))?;
    let record = handle.wait(&started.id, ROUTE_WAIT).await;
    let record = record.map_err(|e| (Reason::Draining, e.to_string()))?;
    Ok(match &record {
        Some(record) => Report::of(record),
        None => Report { id: started.id, status: started.status, step: None, why: None },
    })
}

fn answer(report: &Report, api: SocketAddr) -> LocalResponse {
    let status = StatusCode::from_u16(report.http_status()).unwrap_or(StatusCode::ACCEPTED);
    let mut response = json_response(status, serde_json::to_string(report).unwrap_or_default());
    if status == StatusCode::ACCEPTED
        && let Some(place) = HeaderValue::from_str(&format!("http://{api}/v1/transactions/{}", report.id)).ok()
    {
        response.headers.insert(header::LOCATION, place);
    }
    response
}

fn refusal(reason: Reason, message: &str) -> LocalResponse {
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, reason.body(Some(message)));
    response.headers.insert("mainstay-reason", HeaderValue::from_static(reason.code()));
    response
}

fn json_response(status: StatusCode, body: String) -> LocalResponse {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    LocalResponse { status, headers, body: Bytes::from(body) }
}
