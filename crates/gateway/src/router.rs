//! Which route a request takes. At the ingress its path decides: an exact one, else the longest prefix; a route for
//! other methods does not count. At an edge the door decides.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use http::Method;
use mainstay_core::ServiceName;

use crate::counters::{OutcomeCounters, WorkerCounters};
use crate::snapshot::{ListenerId, RoutePolicy, RouteSpec, Target};

pub(crate) struct Route {
    pub(crate) target: Target,
    pub(crate) policy: RoutePolicy,
    pub(crate) counters: Arc<OutcomeCounters>,
    methods: Option<Vec<Method>>,
}

/// Where a connection came in.
pub(crate) struct Door {
    pub(crate) id: ListenerId,
    /// Behind the door of an edge there is only one way.
    pub(crate) edge: Option<Rc<Route>>,
}

impl Door {
    pub(crate) fn new(id: ListenerId, counters: &WorkerCounters) -> Self {
        let edge = match &id {
            ListenerId::Ingress => None,
            ListenerId::Edge { callee, .. } => Some(Rc::new(Route {
                target: Target::Service(callee.clone()),
                policy: RoutePolicy::default(),
                counters: counters.edge(&id),
                methods: None,
            })),
        };
        Self { id, edge }
    }
}

#[derive(Default)]
pub(crate) struct Router {
    exact: BTreeMap<String, Vec<Rc<Route>>>,
    /// Without the `/*`, longest first.
    prefixes: Vec<(String, Rc<Route>)>,
}

impl Router {
    pub(crate) fn new(routes: &[RouteSpec], counters: &WorkerCounters) -> Self {
        let mut router = Router::default();
        for spec in routes {
            let route = Rc::new(Route {
                target: spec.target.clone(),
                policy: spec.policy.clone(),
                counters: counters.route(&spec.pattern),
                methods: spec.methods.clone(),
            });
            match spec.pattern.strip_suffix("/*") {
                Some(prefix) => router.prefixes.push((prefix.to_owned(), route)),
                None => router.exact.entry(spec.pattern.clone()).or_default().push(route),
            }
        }
        // Stable: of equal prefixes the one that was written first wins.
        router.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        router
    }

    pub(crate) fn services(&self) -> impl Iterator<Item = &ServiceName> {
        let all = self.exact.values().flatten().chain(self.prefixes.iter().map(|(_, route)| route));
        all.filter_map(|route| match &route.target {
            Target::Service(name) => Some(name),
            Target::Local(_) => None,
        })
    }

    pub(crate) fn find(&self, method: &str, path: &str) -> Option<&Rc<Route>> {
        let exact = self.exact.get(path).into_iter().flatten();
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let prefixes = self.prefixes.iter().filter(|(prefix, _)| below(prefix)).map(|(_, route)| route);
        exact
            .chain(prefixes)
            .find(|route| route.methods.as_ref().is_none_or(|ms| ms.iter().any(|m| m.as_str() == method)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_wins_over_prefix_and_long_over_short() {
        let route = |pattern: &str, methods: Option<Vec<Method>>| RouteSpec {
            pattern: pattern.to_owned(),
            methods,
            target: Target::Service(ServiceName::new("x").unwrap()),
            policy: RoutePolicy::default(),
        };
        let specs = [
            route("/*", None),
            route("/orders/*", None),
            route("/orders/open", Some(vec![Method::GET])),
            route("/orders/eu/*", Some(vec![Method::POST, Method::PUT])),
            route("/exact", None),
        ];
        let counters = WorkerCounters::default();
        let without_default = Router::new(&specs[1..], &counters);
        let with_default = Router::new(&specs, &counters);
        let find = |router: &Router, method, path| {
            let found = router.find(method, path)?;
            specs.iter().find(|s| Arc::ptr_eq(&counters.route(&s.pattern), &found.counters)).map(|s| s.pattern.clone())
        };
        for (method, path, expected) in [
            ("GET", "/orders", "/orders/*"),
            ("GET", "/orders/7", "/orders/*"),
            ("GET", "/orders/open", "/orders/open"),
            ("POST", "/orders/open", "/orders/*"),
            ("PUT", "/orders/eu/7", "/orders/eu/*"),
            ("GET", "/orders/eu/7", "/orders/*"),
            ("GET", "/ordersx", ""),
            ("GET", "/exact/more", ""),
            ("GET", "/", ""),
        ] {
            assert_eq!(find(&without_default, method, path).unwrap_or_default(), expected, "{method} {path}");
            let expected = if expected.is_empty() { "/*" } else { expected };
            assert_eq!(find(&with_default, method, path).unwrap(), expected, "{method} {path}");
        }
    }
}
