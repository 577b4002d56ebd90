//! Poisson arrivals: what many users who do not know of each other make together.
//!
//! Not evenly spaced ones: those never queue at a service that is just fast enough, and real bursts are what queues,
//! pools and budgets exist for. The gap to the next arrival is exponential, `-ln(1 - u) / rate`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use crate::spec::{Load, Operation};
use crate::template::Template;

/// Requests per operation that may be repeated.
const RECENT_MAX: usize = 32;

/// A request, filled in.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) key: Arc<str>,
    pub(crate) method: http::Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// One arrival.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) index: u64,
    pub(crate) due: Duration,
    /// Position within the mix.
    pub(crate) operation: usize,
    pub(crate) request: Arc<Request>,
}

/// All arrivals of a drill, made one by one.
pub(crate) struct Arrivals {
    rng: Rng,
    rate: f64,
    key_prefix: String,
    kinds: Vec<Kind>,
    shares: u32,
    next_index: u64,
    now: f64,
}

struct Kind {
    operation: Operation,
    method: http::Method,
    path: Template,
    headers: Vec<(String, Template)>,
    body: Option<Template>,
    recent: VecDeque<Arc<Request>>,
}

impl Kind {
    /// The spec was checked: what cannot be read is replaced by the harmless.
    fn new(operation: &Operation) -> Self {
        let read = |text: &str| Template::parse(text).expect("the templates of a checked spec can be read");
        let headers = operation.headers.iter().map(|(name, value)| (name.clone(), read(value))).collect();
        Self {
            operation: operation.clone(),
            method: operation.method.parse().unwrap_or(http::Method::GET),
            path: read(&operation.path),
            headers,
            body: operation.body.as_deref().map(read),
            recent: VecDeque::new(),
        }
    }

    fn request(&self, key: &str, rng: &mut Rng) -> Request {
        let mut headers: Vec<_> = self.headers.iter().map(|(n, v)| (n.clone(), v.fill(key, rng))).collect();
        if self.body.is_some() && !headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type")) {
            headers.push(("content-type".into(), "application/json".into()));
        }
        let path = self.path.fill(key, rng);
        let body = self.body.as_ref().map_or_else(Bytes::new, |body| body.fill(key, rng).into());
        Request { key: key.into(), method: self.method.clone(), path, headers, body }
    }
}

impl Arrivals {
    /// The arrivals of a checked `load`.
    pub(crate) fn new(load: &Load, seed: u64, key_prefix: &str) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            rate: load.rate.per_second(),
            key_prefix: key_prefix.to_owned(),
            kinds: load.mix.iter().map(Kind::new).collect(),
            shares: load.mix.iter().map(|o| o.share).sum(),
            next_index: 0,
            now: 0.0,
        }
    }

    fn pick(&mut self) -> usize {
        let mut draw = self.rng.u32(0..self.shares.max(1));
        for (at, kind) in self.kinds.iter().enumerate() {
            if draw < kind.operation.share {
                return at;
            }
            draw -= kind.operation.share;
        }
        0
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        self.now += -(1.0 - self.rng.f64()).ln() / self.rate;
        let index = self.next_index;
        self.next_index += 1;
        let operation = self.pick();
        let kind = &mut self.kinds[operation];
        let again = kind.operation.resend.hits(self.rng.u16(0..10_000)) && !kind.recent.is_empty();
        let request = if again {
            kind.recent[self.rng.usize(0..kind.recent.len())].clone()
        } else {
            let key = format!("{}{index:06}", self.key_prefix);
            let request = Arc::new(kind.request(&key, &mut self.rng));
            if kind.recent.len() == RECENT_MAX {
                kind.recent.pop_front();
            }
            kind.recent.push_back(request.clone());
            request
        };
        Some(Arrival { index, due: Duration::from_secs_f64(self.now), operation, request })
    }
}
