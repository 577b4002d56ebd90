//! For programs that have a registry of `prometheus-client`.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{EVENTS, EVENTS_HELP, Labels, Names, PANIC, PANIC_HELP, labels};
use crate::{Event, Observer, PolicyKind};

/// Counts what policies decide, in a registry of `prometheus-client`.
///
/// ```
/// use std::sync::Arc;
/// use mainstay_policy::{Env, PrometheusObserver};
/// use prometheus_client::registry::Registry;
///
/// let mut registry = Registry::default();
/// let observer = Arc::new(PrometheusObserver::register(&mut registry));
/// let env = Env::new("payment").with_observer(observer);
/// ```
#[derive(Debug)]
pub struct PrometheusObserver {
    names: Names,
    events: Family<Labels, Counter>,
    panic: Family<OfName, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfName {
    name: Arc<str>,
}

impl PrometheusObserver {
    /// Puts the metrics into `registry`. Once for each registry: one observer may serve any number of policies.
    pub fn register(registry: &mut Registry) -> Self {
        let observer = Self { names: Names::default(), events: Family::default(), panic: Family::default() };
        registry.register(EVENTS, EVENTS_HELP, observer.events.clone());
        registry.register(PANIC, PANIC_HELP, observer.panic.clone());
        observer
    }
}

impl Observer for PrometheusObserver {
    fn event(&self, name: &str, policy: PolicyKind, event: &Event) {
        let labels = labels(&self.names, name, policy, event);
        if let Event::Panic { on, .. } = event {
            self.panic.get_or_create(&OfName { name: labels.name.clone() }).set(i64::from(*on));
        }
        self.events.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observers::tests::{COUNTED, events};

    #[test]
    fn what_is_decided_can_be_read_back() {
        let mut registry = Registry::default();
        let observer = Arc::new(PrometheusObserver::register(&mut registry));
        events(&observer);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let mut seen: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        seen.sort_unstable();
        let counted = COUNTED.iter().map(|(policy, name, event, reason, enforced, n)| {
            format!(
                "mainstay_policy_events_total{{policy=\"{policy}\",name=\"{name}\",event=\"{event}\",\
                 reason=\"{reason}\",enforced=\"{enforced}\"}} {n}"
            )
        });
        let panics =
            [("order", 0), ("stock", 1)].map(|(name, n)| format!("mainstay_policy_panic{{name=\"{name}\"}} {n}"));
        let mut expected: Vec<_> = counted.chain(panics).collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }
}
