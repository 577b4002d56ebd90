//! From what was written to what it means.
//!
//! Every section is resolved even when an earlier one failed, so that one run names everything that is wrong. What
//! could not be read has a placeholder in the half-made plan, which is thrown away as soon as one error was reported.

mod drill;
mod fault;
mod invariant;
mod lint;
mod needs;
mod policy;
mod route;
mod service;
mod transaction;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mainstay_core::ServiceName;

use crate::file::{File, Origin};
use crate::plan::{Call, Listen, Plan, Policy, Store};
use crate::reader::{At, Reader, nearest};
use crate::source::{Report, Spot};
use crate::table::APP;
use crate::tree::{Node, shown};
use crate::value;

/// What the sections need to know of each other: the names that exist, whether or not what they name is right.
pub(super) struct Context<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) dir: &'a Path,
    /// Every service and how many replicas it has.
    pub(super) services: BTreeMap<ServiceName, u16>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) transactions: Vec<String>,
}

impl Context<'_> {
    /// The service that `text` names; a stranger is reported.
    pub(super) fn service(&self, text: &str, spot: Spot) -> Option<ServiceName> {
        if let Some((name, _)) = self.services.iter().find(|(name, _)| name.as_str() == text) {
            return Some(name.clone());
        }
        let fix = match nearest(text, self.services.keys().map(ServiceName::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write one of the names under `services`".to_owned(),
        };
        self.report.error(spot, format!("there is no service `{}`", shown(text)), fix);
        None
    }

    /// The policy that `reader` names.
    pub(super) fn policy(&self, reader: &Reader<'_>) -> Option<Policy> {
        let name = reader.scalar("policy", |text| Ok(text.to_owned()))?;
        if let Some(policy) = self.policies.get(&name.value) {
            return Some(policy.clone());
        }
        let fix = match nearest(&name.value, self.policies.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add `{}: {{ … }}` under `policies`", shown(&name.value)),
        };
        self.report.error(name.spot, format!("there is no policy `{}`", shown(&name.value)), fix);
        None
    }

    /// The call under `key`.
    pub(super) fn call(&self, reader: &Reader<'_>, key: &str) -> Option<Call> {
        let At { value: (method, service, path), spot } = reader.scalar(key, value::call)?;
        Some(Call { method, service: self.service(&service, spot)?, path })
    }
}

/// Checks the names of the sections under `key`; the ones with bad names are left out.
pub(super) fn named<'n>(app: &'n Reader<'_>, key: &str) -> Vec<(At<String>, &'n Node)> {
    let sections = app.sections(key).into_iter().filter_map(|(name, node)| match value::name(&name.text) {
        Ok(value) => Some((At { value, spot: name.spot }, node)),
        Err(e) => {
            app.report.error(name.spot, e.message, e.fix);
            None
        }
    });
    sections.collect()
}

/// Resolves the whole file. The plan counts only if `report` holds no error.
pub(crate) fn resolve(file: &Arc<File>, root: &Node, dir: &Path, report: &Report<'_>) -> Option<Plan> {
    let app = Reader::open(&APP, Spot::default(), Some(root), None, report);
    let name = app.scalar("app", value::name).map(|at| at.value);
    let policies = policy::all(&app);
    let transactions = named(&app, "transactions").into_iter().map(|(name, _)| name.value).collect();
    let services = service::names(&app);
    let context = Context { report, dir, services, policies, transactions };

    let services = service::all(&context, &app);
    let routes = route::all(&context, &app, &services);
    let transactions = transaction::all(&context, &app);
    let invariants = invariant::all(&context, &app);
    let drills = drill::all(&context, &app, &routes, &transactions);
    lint::unused(&context, &app, &services, &routes);
    lint::amplification(&context, &app, &services);
    let listen = listen(&app);
    app.choice("store");
    let origin = Origin(Arc::clone(file));
    let Context { policies, .. } = context;
    Some(Plan {
        app: name?,
        dir: dir.to_owned(),
        listen: listen?,
        store: Store::Sqlite,
        services,
        policies,
        routes,
        transactions,
        invariants,
        drills,
        origin,
    })
}

fn listen(app: &Reader<'_>) -> Option<Listen> {
    let section = app.section("listen");
    let ingress = section.scalar("ingress", value::address)?;
    let console = section.scalar("console", value::address)?;
    let (a, b) = (ingress.value, console.value);
    let overlap = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    if a.port() == b.port() && a.port() != 0 && overlap {
        let spot = section.spot(if section.has("console") { "console" } else { "ingress" });
        app.report.error(
            spot,
            format!("`ingress` ({a}) and `console` ({b}) listen on one address"),
            "give one of them another port",
        );
    }
    if !b.ip().is_loopback() {
        app.report.warn(
            console.spot,
            "the console is open to other machines, and its token would cross the network in the clear",
            format!("write 127.0.0.1:{} and reach it through a tunnel", b.port()),
        );
    }
    Some(Listen { ingress: a, console: b })
}
