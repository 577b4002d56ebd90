//! Faults go where they can be done: processes are the supervisor's, calls the gateway's.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay_api::{FaultDesk, FaultRefused, LiveFault};
use mainstay_core::{EdgeEffect, EventBus, EventKind, FAULT_TTL_MAX, Fault, FaultKind, LeaseId, ServiceName, Shutdown};
use mainstay_gateway::EdgeFault;
use tokio::time::Instant;

/// How often it is looked whether a lease has run out. The gateway itself ignores an expired fault at once; this only
/// tells the world.
const EXPIRY_TICK: Duration = Duration::from_millis(100);

/// The desk where faults are handed in.
pub(crate) struct Faults {
    gateway: mainstay_gateway::Handle,
    runtime: mainstay_runtime::Handle,
    services: Vec<ServiceName>,
    bus: EventBus,
    boot: i64,
    next: AtomicU64,
    edge: Mutex<BTreeMap<LeaseId, (Fault, Instant)>>,
}

impl Faults {
    pub(crate) fn new(
        gateway: mainstay_gateway::Handle,
        runtime: mainstay_runtime::Handle,
        services: Vec<ServiceName>,
        bus: EventBus,
    ) -> Arc<Self> {
        let boot = bus.boot();
        Arc::new(Self { gateway, runtime, services, bus, boot, next: AtomicU64::new(1), edge: Mutex::default() })
    }

    /// Says when a fault on calls has run out.
    pub(crate) async fn watch(self: Arc<Self>, shutdown: Shutdown) {
        let mut tick = tokio::time::interval(EXPIRY_TICK);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            let expired: Vec<_> = self.edge().extract_if(.., |_, (_, until)| *until <= now).collect();
            for (lease, (fault, _)) in expired {
                self.gateway.clear(&lease);
                self.cleared(&lease, &fault, true);
            }
        }
    }

    fn edge(&self) -> std::sync::MutexGuard<'_, BTreeMap<LeaseId, (Fault, Instant)>> {
        self.edge.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn put_in(&self, fault: Fault) -> Result<LeaseId, FaultRefused> {
        self.check(&fault)?;
        // Named after the process too, so that a lease of a killed Mainstay is never mistaken for one of ours.
        let lease = LeaseId(format!("fault-{:x}-{}", self.boot, self.next.fetch_add(1, Ordering::Relaxed)));
        if let FaultKind::Edge { .. } = &fault.kind {
            let until = Instant::now() + fault.ttl.0;
            self.publish(&lease, &fault, until)?;
            self.edge().insert(lease.clone(), (fault.clone(), until));
            let (service, replica) = (fault.kind.service().clone(), fault.kind.replica().cloned());
            let injected =
                EventKind::FaultInjected { lease: lease.0.clone(), fault: fault.kind.to_string(), service, replica };
            self.bus.publish(injected);
        } else {
            self.runtime.inject(&fault, lease.clone()).await.map_err(|e| FaultRefused(e.to_string()))?;
        }
        Ok(lease)
    }

    fn check(&self, fault: &Fault) -> Result<(), FaultRefused> {
        let refuse = |why: String| Err(FaultRefused(why));
        if !self.services.contains(fault.kind.service()) {
            return refuse(format!("there is no service '{}'", fault.kind.service()));
        }
        if fault.ttl.0.is_zero() || fault.ttl.0 > FAULT_TTL_MAX {
            return refuse(format!("ttl: {} is not within 1ms to {}s", fault.ttl, FAULT_TTL_MAX.as_secs()));
        }
        match &fault.kind {
            FaultKind::Edge { effect: EdgeEffect::Error { status }, .. } if !(400..=599).contains(status) => {
                refuse(format!("status: {status} is no error; use 400 to 599"))
            }
            FaultKind::Edge { replica: Some(replica), service, .. } if replica.service != *service => {
                refuse(format!("replica: {replica} is not one of {service}"))
            }
            _ => Ok(()),
        }
    }

    /// A fault with a lease that is there already replaces it: that is how one is renewed.
    fn publish(&self, lease: &LeaseId, fault: &Fault, until: Instant) -> Result<(), FaultRefused> {
        let FaultKind::Edge { service, replica, share, effect } = &fault.kind else { return Ok(()) };
        let fault = EdgeFault {
            lease: lease.clone(),
            service: service.clone(),
            replica: replica.clone(),
            share: *share,
            effect: effect.clone(),
            until,
        };
        self.gateway.inject(fault).map_err(|e| FaultRefused(e.to_string()))
    }

    fn cleared(&self, lease: &LeaseId, fault: &Fault, expired: bool) {
        let (service, replica) = (fault.kind.service().clone(), fault.kind.replica().cloned());
        let fault = fault.kind.to_string();
        self.bus.publish(EventKind::FaultCleared { lease: lease.0.clone(), fault, service, replica, expired });
    }
}

impl FaultDesk for Faults {
    fn inject(&self, fault: Fault) -> Pin<Box<dyn Future<Output = Result<LeaseId, FaultRefused>> + Send + '_>> {
        Box::pin(self.put_in(fault))
    }

    fn renew(&self, lease: LeaseId) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            // Published under the lock, or a clear that comes between would be undone.
            let renewed = self.edge().get_mut(&lease).map(|(fault, until)| {
                *until = Instant::now() + fault.ttl.0;
                self.publish(&lease, fault, *until).is_ok()
            });
            match renewed {
                Some(renewed) => renewed,
                None => self.runtime.renew(&lease).await.is_ok(),
            }
        })
    }

    fn clear(&self, lease: LeaseId) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            let fault = self.edge().remove(&lease);
            match fault {
                Some((fault, _)) => {
                    self.gateway.clear(&lease);
                    self.cleared(&lease, &fault, false);
                    true
                }
                None => self.runtime.clear(&lease).await,
            }
        })
    }

    fn list(&self) -> Pin<Box<dyn Future<Output = Vec<LiveFault>> + Send + '_>> {
        Box::pin(async move {
            let edge = self
                .edge()
                .iter()
                .map(|(lease, (fault, _))| LiveFault { lease: lease.clone(), fault: fault.kind.to_string() })
                .collect::<Vec<_>>();
            let runtime = self.runtime.leases().await;
            let runtime = runtime.into_iter().map(|l| LiveFault { lease: l.id, fault: l.fault.kind.to_string() });
            edge.into_iter().chain(runtime).collect()
        })
    }
}
