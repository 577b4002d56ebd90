//! Where replicas take traffic. The runtime publishes immutable sets; the gateway reads them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::id::{ReplicaId, ServiceName};

/// What the runtime knows of an endpoint. Ejection is the gateway's own knowledge and is not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// Takes traffic: it passed its ready probe.
    Ready,
    /// Takes none: the default, until a ready probe has passed.
    NotReady,
    /// Takes no new requests; those in flight may finish.
    Draining,
}

/// One address of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Whose address it is.
    pub replica: ReplicaId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it takes traffic.
    pub state: EndpointState,
    /// Goes up with every start of the process, so that what is known of an older process is forgotten.
    pub incarnation: u64,
}

/// All endpoints of one service at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EndpointSet {
    /// In the order of their replica ids.
    pub endpoints: Vec<Endpoint>,
}

/// The endpoints of every service: one immutable snapshot, published by the runtime through a `tokio::sync::watch`.
pub type Endpoints = Arc<BTreeMap<ServiceName, Arc<EndpointSet>>>;
