//! `/metrics`: families collected at the scrape, in OpenMetrics 1.0 or Prometheus text 0.0.4.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::{EventBus, EventKind, Shutdown};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tokio::sync::broadcast::error::RecvError;

/// Names and values of labels, in the order in which they are written.
pub type Labels = Vec<(&'static str, String)>;

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Only goes up.
    Counter(u64),
    /// Goes up and down.
    Gauge(f64),
    /// How many fell under each bound, not cumulated; the last count is for those above all bounds.
    Histogram {
        /// Upper bounds, ascending.
        bounds: Vec<f64>,
        /// One more than `bounds`.
        counts: Vec<u64>,
        /// Of all values.
        sum: f64,
    },
}

/// All measurements of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Without the prefix `mainstay_` and without `_total`.
    pub name: &'static str,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// All of one kind.
    pub samples: Vec<(Labels, Value)>,
}

/// Where families come from at a scrape.
pub trait Source: Send + Sync + 'static {
    /// Everything there is now.
    fn families(&self) -> Vec<Family>;
}

/// How the answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4: what a scraper gets that asks for nothing else.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Chosen by the `Accept` header.
    pub fn accepted(accept: Option<&str>) -> Self {
        if accept.is_some_and(|a| a.contains("application/openmetrics-text")) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// The `Content-Type` of the answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The registry behind `/metrics`.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    events: Arc<EventCounts>,
}

impl Metrics {
    /// Collects from `source` at each scrape.
    pub fn new(source: Arc<dyn Source>) -> Self {
        let events = Arc::new(EventCounts::default());
        let mut registry = Registry::with_prefix("mainstay");
        registry.register_collector(Box::new(Collected(source)));
        registry.register_collector(Box::new(Collected(events.clone())));
        Self { registry: Arc::new(registry), events }
    }

    /// Counts events until `shutdown`.
    pub async fn count_events(self, bus: EventBus, shutdown: Shutdown) {
        let (past, mut live) = bus.subscribe_since(0);
        past.iter().for_each(|event| self.events.count(&event.kind));
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                event = live.recv() => match event {
                    Ok(event) => self.events.count(&event.kind),
                    Err(RecvError::Lagged(missed)) => self.events.missed(missed),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    /// The whole answer.
    pub fn render(&self, format: Format) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        match format {
            Format::OpenMetrics => text,
            Format::Prometheus => prometheus_text(&text),
        }
    }
}

/// Text 0.0.4 names a counter with its `_total` in HELP and TYPE, and knows neither UNIT nor EOF.
fn prometheus_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if line.starts_with("# HELP ") {
            help = Some(line);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let total = if kind == "counter" { "_total" } else { "" };
            let said =
                help.take().and_then(|h| h.strip_prefix("# HELP ")?.split_once(' ')).map_or("", |(_, said)| said);
            out.push_str(&format!("# HELP {name}{total} {said}\n# TYPE {name}{total} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Events counted by what they say.
#[derive(Default)]
struct EventCounts(Mutex<Counts>);

#[derive(Default)]
struct Counts {
    restarts: BTreeMap<(String, &'static str), u64>,
    ejections: BTreeMap<(String, &'static str), u64>,
    faults: BTreeMap<String, u64>,
    missed: u64,
}

impl EventCounts {
    fn count(&self, kind: &EventKind) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            EventKind::ReplicaRestarting { replica, cause, .. } => {
                *counts.restarts.entry((replica.service.to_string(), cause.code())).or_default() += 1;
            }
            EventKind::EndpointEjected { replica, cause, .. } => {
                *counts.ejections.entry((replica.service.to_string(), cause.code())).or_default() += 1;
            }
            EventKind::FaultInjected { service, .. } => *counts.faults.entry(service.to_string()).or_default() += 1,
            _ => {}
        }
    }

    fn missed(&self, missed: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).missed += missed;
    }
}

impl Source for EventCounts {
    fn families(&self) -> Vec<Family> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by_cause = |map: &BTreeMap<(String, &'static str), u64>| {
            map.iter()
                .map(|((service, cause), n)| {
                    (vec![("service", service.clone()), ("cause", (*cause).to_owned())], Value::Counter(*n))
                })
                .collect()
        };
        let faults = counts.faults.iter().map(|(s, n)| (vec![("service", s.clone())], Value::Counter(*n))).collect();
        vec![
            Family { name: "restarts", help: "Restarts of replicas", samples: by_cause(&counts.restarts) },
            Family {
                name: "ejections",
                help: "Endpoints taken out of rotation by the gateway",
                samples: by_cause(&counts.ejections),
            },
            Family { name: "faults_injected", help: "Faults that drills put in", samples: faults },
            Family {
                name: "telemetry_dropped",
                help: "Events that were not counted because the counter fell behind",
                samples: vec![(Vec::new(), Value::Counter(counts.missed))],
            },
        ]
    }
}

/// Any source as a collector of the registry.
struct Collected<S: ?Sized>(Arc<S>);

impl<S: ?Sized> fmt::Debug for Collected<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collected")
    }
}

impl<S: Source + ?Sized> Collector for Collected<S> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // A family without samples is left out: HELP and TYPE of nothing help nobody.
        self.0.families().iter().filter(|f| !f.samples.is_empty()).try_for_each(|family| encode(family, &mut encoder))
    }
}

fn encode(family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let kind = match family.samples.first() {
        Some((_, Value::Counter(_))) => MetricType::Counter,
        Some((_, Value::Histogram { .. })) => MetricType::Histogram,
        Some((_, Value::Gauge(_))) | None => MetricType::Gauge,
    };
    let mut metric = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    if let [(labels, value)] = family.samples.as_slice()
        && labels.is_empty()
    {
        return encode_value(value, metric);
    }
    family.samples.iter().try_for_each(|(labels, value)| encode_value(value, metric.encode_family(labels)?))
}

fn encode_value(value: &Value, mut metric: MetricEncoder<'_>) -> fmt::Result {
    match value {
        Value::Counter(n) => ConstCounter::new(*n).encode(metric),
        Value::Gauge(n) => ConstGauge::new(*n).encode(metric),
        Value::Histogram { bounds, counts, sum } => {
            let total = counts.iter().sum();
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
            metric.encode_histogram::<Labels>(*sum, total, &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Source for Fixed {
        fn families(&self) -> Vec<Family> {
            let labels = || vec![("service", "pay\"ment".to_owned())];
            vec![
                Family { name: "requests", help: "Requests", samples: vec![(labels(), Value::Counter(7))] },
                Family { name: "inflight_requests", help: "Now", samples: vec![(Vec::new(), Value::Gauge(1.5))] },
                Family {
                    name: "request_duration_seconds",
                    help: "Time",
                    samples: vec![(
                        labels(),
                        Value::Histogram { bounds: vec![0.1, 1.0], counts: vec![3, 2, 1], sum: 4.5 },
                    )],
                },
                Family { name: "nothing", help: "Nothing", samples: Vec::new() },
            ]
        }
    }

    #[test]
    fn prometheus_text_is_written_as_it_should_be() {
        let text = Metrics::new(Arc::new(Fixed)).render(Format::Prometheus);
        for line in [
            "# TYPE mainstay_requests_total counter",
            "mainstay_requests_total{service=\"pay\\\"ment\"} 7",
            "mainstay_inflight_requests 1.5",
            "mainstay_request_duration_seconds_bucket{le=\"0.1\",service=\"pay\\\"ment\"} 3",
            "mainstay_request_duration_seconds_bucket{le=\"1.0\",service=\"pay\\\"ment\"} 5",
            "mainstay_request_duration_seconds_bucket{le=\"+Inf\",service=\"pay\\\"ment\"} 6",
            "mainstay_request_duration_seconds_count{service=\"pay\\\"ment\"} 6",
            "mainstay_telemetry_dropped_total 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis missing in\n{text}");
        }
        assert!(!text.contains("EOF") && !text.contains("nothing"), "{text}");
    }

    #[test]
    fn open_metrics_ends_with_its_mark() {
        let text = Metrics::new(Arc::new(Fixed)).render(Format::OpenMetrics);
        assert!(text.ends_with("# EOF\n") && text.contains("# TYPE mainstay_requests counter\n"), "{text}");
    }

    #[test]
    fn the_format_is_negotiated() {
        assert_eq!(
            Format::accepted(Some("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")),
            Format::OpenMetrics
        );
        assert_eq!(Format::accepted(Some("text/plain")), Format::Prometheus);
        assert_eq!(Format::accepted(None), Format::Prometheus);
    }
}
