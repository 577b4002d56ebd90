//! From counters to rates: what happened in each of the last seconds, and over the last few of them together.

use std::collections::{BTreeMap, VecDeque};

use mainstay_core::ServiceName;
use mainstay_gateway::{Histogram, LATENCY_BUCKETS_US, ListenerId, Outcomes, ServiceStats, Stats};

/// Seconds that are remembered: what a sparkline shows.
pub(crate) const SECONDS_KEPT_MAX: usize = 600;
/// Seconds that a rate is taken over.
const RATE_SECONDS: usize = 10;

/// What the requests of some time came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) requests: u64,
    /// Answered with 5xx, or not at all.
    pub(crate) failed: u64,
    pub(crate) attempts: u64,
    pub(crate) attempts_failed: u64,
    pub(crate) retries: u64,
    pub(crate) latency: Histogram,
}

impl Flow {
    fn add(&mut self, other: &Flow) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.attempts += other.attempts;
        self.attempts_failed += other.attempts_failed;
        self.retries += other.retries;
        self.latency.sum_us += other.latency.sum_us;
        for (mine, theirs) in self.latency.buckets.iter_mut().zip(&other.latency.buckets) {
            *mine += theirs;
        }
    }

    /// What came since `earlier`, which counted the same.
    fn since(&self, earlier: &Flow) -> Flow {
        let mut latency =
            Histogram { sum_us: self.latency.sum_us.saturating_sub(earlier.latency.sum_us), ..Histogram::default() };
        for (i, bucket) in latency.buckets.iter_mut().enumerate() {
            *bucket = self.latency.buckets[i].saturating_sub(earlier.latency.buckets[i]);
        }
        Flow {
            requests: self.requests.saturating_sub(earlier.requests),
            failed: self.failed.saturating_sub(earlier.failed),
            attempts: self.attempts.saturating_sub(earlier.attempts),
            attempts_failed: self.attempts_failed.saturating_sub(earlier.attempts_failed),
            retries: self.retries.saturating_sub(earlier.retries),
            latency,
        }
    }

    /// Share of requests that were answered well; none where there were none.
    pub(crate) fn success(&self) -> Option<f64> {
        share(self.requests, self.failed)
    }

    /// The same for single attempts, before retries.
    pub(crate) fn attempt_success(&self) -> Option<f64> {
        share(self.attempts, self.attempts_failed)
    }

    /// The latency in milliseconds below which `q` of the requests stayed, interpolated within its bucket.
    pub(crate) fn quantile_ms(&self, q: f64) -> Option<f64> {
        let total = self.latency.count();
        if total == 0 {
            return None;
        }
        let wanted = q * total as f64;
        let mut below = 0.0;
        for (i, count) in self.latency.buckets.iter().enumerate() {
            let count = *count as f64;
            if count > 0.0 && below + count >= wanted {
                let low = if i == 0 { 0.0 } else { LATENCY_BUCKETS_US[i - 1] as f64 };
                // The last bucket has no upper bound: it is said as its lower one.
                let high = LATENCY_BUCKETS_US.get(i).map_or(low, |us| *us as f64);
                return Some((low + (high - low) * (wanted - below) / count) / 1000.0);
            }
            below += count;
        }
        None
    }
}

fn share(all: u64, bad: u64) -> Option<f64> {
    (all > 0).then(|| 1.0 - bad as f64 / all as f64)
}

/// Where users come from, as a caller.
pub(crate) const INGRESS: &str = "ingress";
/// Who calls the branches of transactions.
pub(crate) const TRANSACTIONS: &str = "transactions";

/// The last seconds of every service, of who calls whom, and of the ingress.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// The pattern of each route and who answers: a service, or [`TRANSACTIONS`].
    routes: Vec<(String, String)>,
    services: BTreeMap<ServiceName, Series>,
    edges: BTreeMap<(String, String), Series>,
    ingress: Series,
}

impl Rates {
    pub(crate) fn new(routes: Vec<(String, String)>) -> Self {
        Self { routes, ..Self::default() }
    }

    /// Takes a reading, once a second.
    pub(crate) fn take(&mut self, stats: &Stats) {
        for (name, of) in &stats.services {
            let attempts = stats.replicas.iter().filter(|(id, _)| id.service == *name).map(|(_, r)| &r.attempts);
            let (attempts, bad) = attempts.fold((0, 0), |(all, bad), a| (all + a.total(), bad + a.total() - a.ok));
            let total = Flow { attempts, attempts_failed: bad, ..flow(of) };
            self.services.entry(name.clone()).or_default().take(total);
        }
        let mut ingress = Flow::default();
        stats.routes.values().for_each(|outcomes| ingress.add(&from(outcomes)));
        self.ingress.take(ingress);
        for (edge, flow) in self.edges_of(stats) {
            self.edges.entry(edge).or_default().take(flow);
        }
    }

    /// Who calls whom. What a service got by neither a route nor an edge came from transactions.
    fn edges_of(&self, stats: &Stats) -> BTreeMap<(String, String), Flow> {
        let mut edges: BTreeMap<(String, String), Flow> = BTreeMap::new();
        let mut add = |caller: &str, callee: &str, flow: &Flow| {
            edges.entry((caller.to_owned(), callee.to_owned())).or_default().add(flow);
        };
        let mut seen: Vec<&str> = Vec::new();
        for (pattern, callee) in &self.routes {
            // Routes of one pattern are counted together, and so for the first of them.
            if let Some(outcomes) = stats.routes.get(pattern).filter(|_| !seen.contains(&pattern.as_str())) {
                seen.push(pattern);
                add(INGRESS, callee, &from(outcomes));
            }
        }
        for (id, outcomes) in &stats.edges {
            if let ListenerId::Edge { callee, caller: Some(caller) } = id {
                add(caller.as_str(), callee.as_str(), &from(outcomes));
            }
        }
        let mut known: BTreeMap<String, Flow> = BTreeMap::new();
        for ((_, callee), flow) in &edges {
            known.entry(callee.clone()).or_default().add(flow);
        }
        for (name, of) in &stats.services {
            let rest = from(&of.outcomes).since(&known.remove(name.as_str()).unwrap_or_default());
            if rest.requests > 0 {
                edges.insert((TRANSACTIONS.to_owned(), name.to_string()), rest);
            }
        }
        edges
    }

    pub(crate) fn edge(&self, caller: &str, callee: &str) -> Option<&Series> {
        self.edges.get(&(caller.to_owned(), callee.to_owned()))
    }

    pub(crate) fn service(&self, name: &ServiceName) -> Option<&Series> {
        self.services.get(name)
    }

    pub(crate) fn ingress(&self) -> &Series {
        &self.ingress
    }
}

fn flow(of: &ServiceStats) -> Flow {
    Flow { retries: of.retries_unsent + of.retries_sent, ..from(&of.outcomes) }
}

fn from(outcomes: &Outcomes) -> Flow {
    Flow {
        requests: outcomes.total(),
        failed: outcomes.by_class[4],
        latency: outcomes.latency.clone(),
        ..Flow::default()
    }
}

/// One counter set, second by second.
#[derive(Debug, Default)]
pub(crate) struct Series {
    total: Flow,
    seconds: VecDeque<Flow>,
}

impl Series {
    fn take(&mut self, total: Flow) {
        if self.seconds.len() == SECONDS_KEPT_MAX {
            self.seconds.pop_front();
        }
        self.seconds.push_back(total.since(&self.total));
        self.total = total;
    }

    /// The last ten seconds together, and how many seconds they are.
    pub(crate) fn recent(&self) -> (Flow, f64) {
        let mut sum = Flow::default();
        let last = self.seconds.iter().rev().take(RATE_SECONDS);
        let count = last.clone().count().max(1);
        last.for_each(|second| sum.add(second));
        (sum, count as f64)
    }

    /// Everything that is remembered, together.
    pub(crate) fn kept(&self) -> Flow {
        let mut sum = Flow::default();
        self.seconds.iter().for_each(|second| sum.add(second));
        sum
    }

    /// Requests in each second, oldest first.
    pub(crate) fn requests(&self) -> impl Iterator<Item = u64> {
        self.seconds.iter().map(|second| second.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(requests: u64, failed: u64, bucket: usize) -> Flow {
        let mut flow = Flow { requests, failed, ..Flow::default() };
        flow.latency.buckets[bucket] = requests;
        flow
    }

    #[test]
    fn rates_are_differences_and_bounded() {
        let mut series = Series::default();
        for i in 1..=SECONDS_KEPT_MAX as u64 + 5 {
            series.take(reading(i * 10, i, 1));
        }
        assert_eq!(series.requests().count(), SECONDS_KEPT_MAX);
        let (recent, seconds) = series.recent();
        assert_eq!((recent.requests, recent.failed, seconds), (100, 10, 10.0));
        assert_eq!(recent.success(), Some(0.9));
    }

    #[test]
    fn what_came_by_no_door_came_from_transactions() {
        let counted = |n: u64| Outcomes { by_class: [0, n, 0, 0, 0], ..Outcomes::default() };
        let mut stats = Stats::default();
        stats.routes.insert("/stock/*".into(), counted(10));
        stats.routes.insert("/checkout".into(), counted(5));
        let (order, inventory) = (ServiceName::new("order").unwrap(), ServiceName::new("inventory").unwrap());
        stats.edges.insert(ListenerId::Edge { callee: inventory.clone(), caller: Some(order) }, counted(3));
        stats.services.insert(inventory, ServiceStats { outcomes: counted(18), ..ServiceStats::default() });
        let mut rates =
            Rates::new(vec![("/stock/*".into(), "inventory".into()), ("/checkout".into(), TRANSACTIONS.into())]);
        rates.take(&stats);
        let edges: Vec<_> = rates.edges.iter().map(|((a, b), s)| format!("{a} {b} {}", s.kept().requests)).collect();
        assert_eq!(
            edges,
            ["ingress inventory 10", "ingress transactions 5", "order inventory 3", "transactions inventory 5"]
        );
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let flow = reading(100, 0, 3);
        let p50 = flow.quantile_ms(0.5).unwrap();
        assert!((2.5..=5.0).contains(&p50), "{p50}");
        assert_eq!(Flow::default().quantile_ms(0.5), None);
        assert_eq!(Flow::default().success(), None);
    }
}
