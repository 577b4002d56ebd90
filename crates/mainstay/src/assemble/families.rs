//! What the parts counted → metric families. Known combinations start at 0, so that a rate is right from the first scrape.

use std::sync::Arc;

use mainstay_core::{EndpointState, Reason};
use mainstay_gateway::{Histogram, LATENCY_BUCKETS_US, Outcomes, Stats};
use mainstay_observe::{Family, Labels, Source, Value};
use mainstay_runtime::ReplicaState;

/// Reads the handles of the parts at each scrape.
pub(crate) struct Families {
    pub(crate) gateway: mainstay_gateway::Handle,
    pub(crate) runtime: mainstay_runtime::Handle,
    pub(crate) transactions: mainstay_txn::Handle,
}

impl Source for Families {
    fn families(&self) -> Vec<Family> {
        let stats = self.gateway.stats();
        let mut families = traffic(&stats);
        families.extend(self.replicas());
        families.extend(self.transactions());
        families
    }
}

impl Families {
    /// As the collector of a registry.
    pub(crate) fn shared(self) -> Arc<dyn Source> {
        Arc::new(self)
    }

    fn replicas(&self) -> Vec<Family> {
        let mut states = Vec::new();
        let mut ready = Vec::new();
        for service in self.runtime.status() {
            ready.push((label("service", &service.name), Value::Gauge(f64::from(service.ready))));
            for replica in &service.replicas {
                let state = match replica.state {
                    ReplicaState::Ready => EndpointState::Ready,
                    ReplicaState::Draining => EndpointState::Draining,
                    _ => EndpointState::NotReady,
                };
                for (named, code) in [
                    (EndpointState::Ready, "ready"),
                    (EndpointState::NotReady, "not_ready"),
                    (EndpointState::Draining, "draining"),
                ] {
                    let mut labels = label("service", &service.name);
                    labels.push(("replica", replica.id.to_string()));
                    labels.push(("state", code.to_owned()));
                    states.push((labels, Value::Gauge(f64::from(u8::from(named == state)))));
                }
            }
        }
        vec![
            Family { name: "endpoints_ready", help: "Replicas that take traffic", samples: ready },
            Family { name: "endpoint_state", help: "1 for the state that a replica is in", samples: states },
        ]
    }

    fn transactions(&self) -> Vec<Family> {
        let counts = self.transactions.counts();
        let ended = [("committed", counts.committed), ("rolled_back", counts.rolled_back)];
        let open = [("running", counts.running), ("compensating", counts.compensating), ("stuck", counts.stuck)];
        vec![
            Family {
                name: "transactions",
                help: "Transactions that came to an end, earlier processes included",
                samples: ended.map(|(result, n)| (label("result", &result), Value::Counter(n))).into(),
            },
            Family {
                name: "transactions_open",
                help: "Transactions that are not over",
                samples: open.map(|(state, n)| (label("state", &state), Value::Gauge(n as f64))).into(),
            },
        ]
    }
}

fn label(name: &'static str, value: &impl ToString) -> Labels {
    vec![(name, value.to_string())]
}

fn traffic(stats: &Stats) -> Vec<Family> {
    let mut requests = Vec::new();
    let mut durations = Vec::new();
    for (route, outcomes) in &stats.routes {
        requests.extend(by_outcome(&label("route", route), outcomes));
        durations.push((label("route", route), histogram(&outcomes.latency)));
    }
    requests.extend(by_outcome(&label("route", &"none"), &stats.unrouted));
    let mut calls = Vec::new();
    let mut in_flight = Vec::new();
    let mut retries = Vec::new();
    let mut budget = Vec::new();
    for (service, of) in &stats.services {
        let service = label("service", service);
        calls.extend(by_outcome(&service, &of.outcomes));
        in_flight.push((service.clone(), Value::Gauge(of.in_flight as f64)));
        for (class, n) in [("unsent", of.retries_unsent), ("sent", of.retries_sent), ("withheld", of.retries_withheld)]
        {
            let mut labels = service.clone();
            labels.push(("kind", class.to_owned()));
            retries.push((labels, Value::Counter(n)));
        }
        budget.push((service, Value::Gauge(of.budget_milli as f64 / 1000.0)));
    }
    let mut attempts = Vec::new();
    let mut attempt_durations = Vec::new();
    let mut ejected = Vec::new();
    for (replica, of) in &stats.replicas {
        let mut labels = label("service", &replica.service);
        labels.push(("replica", replica.to_string()));
        let failed: u64 = of.attempts.failed.values().sum();
        for (outcome, n) in [("ok", of.attempts.ok), ("server_error", of.attempts.status_5xx), ("failed", failed)] {
            let mut labels = labels.clone();
            labels.push(("outcome", outcome.to_owned()));
            attempts.push((labels, Value::Counter(n)));
        }
        attempt_durations.push((labels.clone(), histogram(&of.latency)));
        ejected.push((labels, Value::Gauge(f64::from(u8::from(of.ejected)))));
    }
    vec![
        Family { name: "requests", help: "Requests at the ingress by how they ended", samples: requests },
        Family {
            name: "request_duration_seconds",
            help: "From the head of a request to the end of its answer",
            samples: durations,
        },
        Family {
            name: "upstream_requests",
            help: "Requests to a service by any door, retries not counted",
            samples: calls,
        },
        Family { name: "inflight_requests", help: "Requests to a service that are under way", samples: in_flight },
        Family {
            name: "retries",
            help: "Attempts after the first, and those that the budget withheld",
            samples: retries,
        },
        Family { name: "retry_budget_remaining", help: "Retries that the budget allows now", samples: budget },
        Family { name: "attempts", help: "Single attempts by how they ended", samples: attempts },
        Family {
            name: "attempt_duration_seconds",
            help: "From sending an attempt to the head of its answer",
            samples: attempt_durations,
        },
        Family { name: "endpoint_ejected", help: "1 while the gateway sends a replica no traffic", samples: ejected },
        Family {
            name: "connections",
            help: "Client connections that are open",
            samples: vec![(Labels::new(), Value::Gauge(stats.connections as f64))],
        },
        Family {
            name: "panics",
            help: "Requests in which Mainstay met a bug of its own",
            samples: vec![(Labels::new(), Value::Counter(stats.panics))],
        },
        Family {
            name: "faulty_attempts",
            help: "Attempts that a drill spoilt",
            samples: vec![(Labels::new(), Value::Counter(stats.faults_injected))],
        },
    ]
}

/// The closed list of `outcome`.
const OUTCOMES: [&str; 11] = [
    "ok",
    "client_error",
    "server_error",
    "timeout",
    "connect_error",
    "reset",
    "rate_limited",
    "shed",
    "no_endpoint",
    "injected",
    "cancelled",
];

fn outcome_of(reason: Reason) -> &'static str {
    match reason {
        Reason::TimeoutConnect | Reason::TimeoutTry | Reason::TimeoutTotal | Reason::Deadline => "timeout",
        Reason::ConnectFailed => "connect_error",
        Reason::UpstreamReset | Reason::UpstreamProtocol => "reset",
        Reason::RateLimited => "rate_limited",
        Reason::Shed | Reason::BulkheadFull | Reason::QueueTimeout => "shed",
        Reason::NoEndpoint => "no_endpoint",
        Reason::FaultInjected => "injected",
        other if other.status() < 500 => "client_error",
        _ => "server_error",
    }
}

fn by_outcome(labels: &Labels, outcomes: &Outcomes) -> Vec<(Labels, Value)> {
    let [informational, good, redirects, client, server] = outcomes.by_class;
    let own =
        |wanted: &str| outcomes.own.iter().filter(|(r, _)| outcome_of(**r) == wanted).map(|(_, n)| n).sum::<u64>();
    let own_in =
        |class: u16| outcomes.own.iter().filter(|(r, _)| r.status() / 100 == class).map(|(_, n)| n).sum::<u64>();
    let count = |outcome: &str| match outcome {
        "ok" => informational + good + redirects,
        // What is ours stands under its own outcome; the rest came from the service.
        "client_error" => client.saturating_sub(own_in(4)) + own("client_error"),
        "server_error" => server.saturating_sub(own_in(5)) + own("server_error"),
        "cancelled" => outcomes.cancelled,
        other => own(other),
    };
    let sample = |outcome: &str| {
        let mut labels = labels.clone();
        labels.push(("outcome", outcome.to_owned()));
        (labels, Value::Counter(count(outcome)))
    };
    OUTCOMES.into_iter().map(sample).collect()
}

fn histogram(of: &Histogram) -> Value {
    Value::Histogram {
        bounds: LATENCY_BUCKETS_US.iter().map(|us| *us as f64 / 1e6).collect(),
        counts: of.buckets.to_vec(),
        sum: of.sum_us as f64 / 1e6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_has_exactly_one_outcome() {
        let mut outcomes = Outcomes { by_class: [0, 90, 2, 5, 7], cancelled: 3, ..Outcomes::default() };
        outcomes.own.insert(Reason::BadRequest, 2);
        outcomes.own.insert(Reason::RateLimited, 1);
        outcomes.own.insert(Reason::NoEndpoint, 3);
        outcomes.own.insert(Reason::Panic, 1);
        let samples = by_outcome(&Labels::new(), &outcomes);
        let count =
            |wanted: &str| samples.iter().find(|(labels, _)| labels[0].1 == wanted).map(|(_, value)| value.clone());
        assert_eq!(count("ok"), Some(Value::Counter(92)));
        assert_eq!(count("client_error"), Some(Value::Counter(4)));
        assert_eq!(count("rate_limited"), Some(Value::Counter(1)));
        assert_eq!(count("no_endpoint"), Some(Value::Counter(3)));
        assert_eq!(count("server_error"), Some(Value::Counter(4)));
        let all: u64 = samples.iter().map(|(_, v)| if let Value::Counter(n) = v { *n } else { 0 }).sum();
        assert_eq!(all, outcomes.total() + outcomes.cancelled);
    }
}
