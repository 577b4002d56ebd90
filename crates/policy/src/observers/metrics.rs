//! For programs that use the `metrics` facade.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{EVENTS_HELP, Labels, Names, PANIC, PANIC_HELP, labels};
use crate::{Event, Observer, PolicyKind};

/// The facade knows nothing of endings.
const EVENTS_TOTAL: &str = "mainstay_policy_events_total";

/// Counts what policies decide, with whatever recorder of the `metrics` facade is installed.
///
/// ```
/// use std::sync::Arc;
/// use mainstay_policy::{Env, MetricsObserver};
///
/// let env = Env::new("payment").with_observer(Arc::new(MetricsObserver::new()));
/// ```
#[derive(Debug)]
pub struct MetricsObserver {
    names: Names,
}

impl MetricsObserver {
    /// Describes the metrics to the recorder that is installed now, and counts with the one that is installed then.
    pub fn new() -> Self {
        describe_counter!(EVENTS_TOTAL, EVENTS_HELP);
        describe_gauge!(PANIC, PANIC_HELP);
        Self { names: Names::default() }
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for MetricsObserver {
    fn event(&self, name: &str, kind: PolicyKind, event: &Event) {
        let Labels { policy, name, event: label, reason, enforced } = labels(&self.names, name, kind, event);
        let enforced = if enforced { "true" } else { "false" };
        if let Event::Panic { on, .. } = event {
            gauge!(PANIC, "name" => name.clone()).set(f64::from(u8::from(*on)));
        }
        counter!(
            EVENTS_TOTAL,
            "policy" => policy, "name" => name, "event" => label, "reason" => reason, "enforced" => enforced
        )
        .increment(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

    use super::*;
    use crate::observers::tests::{COUNTED, events};

    /// Keeps all numbers by name and labels.
    #[derive(Default)]
    struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Kept {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().unwrap().entry(format!("{}{{{}}}", key.name(), labels.join(","))).or_default().clone()
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn what_is_decided_can_be_read_back() {
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || events(&Arc::new(MetricsObserver::new())));
        let mut expected: BTreeMap<_, _> = COUNTED
            .iter()
            .map(|(policy, name, event, reason, enforced, n)| {
                let labels = format!("policy={policy},name={name},event={event},reason={reason},enforced={enforced}");
                (format!("mainstay_policy_events_total{{{labels}}}"), *n)
            })
            .collect();
        expected.insert("mainstay_policy_panic{name=order}".to_owned(), 0f64.to_bits());
        expected.insert("mainstay_policy_panic{name=stock}".to_owned(), 1f64.to_bits());
        let seen = kept.0.into_inner().unwrap();
        let seen: BTreeMap<_, _> = seen.into_iter().map(|(key, n)| (key, n.load(Ordering::Relaxed))).collect();
        assert_eq!(seen, expected);
    }
}
