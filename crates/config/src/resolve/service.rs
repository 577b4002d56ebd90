//! Services: what is run, what it needs, how it is watched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mainstay_core::ServiceName;

use super::{Context, needs};
use crate::plan::{Check, Policy, Probe, Probes, Restart, Service, Stop};
use crate::reader::Reader;
use crate::table::{APP, Shape};
use crate::value;

/// Every service and its replicas; bad names are reported by [`all`].
pub(super) fn names(app: &Reader<'_>) -> BTreeMap<ServiceName, u16> {
    let entries = app.sections("services");
    let named = entries.iter().filter_map(|(name, node)| {
        let written = node.get("replicas").and_then(|(_, node)| node.as_scalar());
        let replicas = written.and_then(|text| text.parse().ok()).unwrap_or(1);
        ServiceName::new(&name.text).ok().map(|name| (name, replicas))
    });
    named.collect()
}

/// Every service, in the order of the file.
pub(super) fn all(context: &Context<'_>, app: &Reader<'_>) -> Vec<Service> {
    let Some(Shape::Sections(section)) = APP.key("services").map(|key| key.shape) else { return Vec::new() };
    let mut services = Vec::new();
    let mut edges = Vec::new();
    let entries = app.sections("services");
    if entries.is_empty() && app.has("services") {
        context.report.error(app.key_spot("services"), "there is no service", "add `order: { run: ./order }`");
    }
    for (name, node) in entries {
        let reader = Reader::open(section, name.spot, Some(node), None, context.report);
        let valid = match ServiceName::new(&name.text) {
            Ok(name) => Some(name),
            Err(e) => {
                let near = name.text.to_ascii_lowercase().replace(['_', ' ', '.'], "-");
                let fix = ServiceName::new(&near).map_or(String::new(), |near| format!("write `{near}`"));
                context.report.error(name.spot, e.to_string(), fix);
                None
            }
        };
        let needs = needs::of(context, &reader, valid.as_ref());
        let service = one(context, &reader, valid.clone());
        if let Some(name) = valid {
            edges.push((name, needs.clone()));
        }
        if let Some(mut service) = service {
            service.needs = needs.into_iter().map(|at| at.value).collect();
            services.push(service);
        }
    }
    needs::refuse_cycles(context, &edges);
    services
}

fn one(context: &Context<'_>, reader: &Reader<'_>, name: Option<ServiceName>) -> Option<Service> {
    let command = reader.words("run").map(|at| at.value);
    let policy = context.policy(reader);
    let replicas = reader.count_u16("replicas");
    let probes = probes(&reader.section("probes"));
    let (restart, stop) = (reader.section("restart"), reader.section("stop"));
    let restart = Restart { limit: restart.count_u32("limit"), within: restart.span("within") };
    let drain = stop.span("drain");
    let grace = stop.span("grace");
    if drain > grace {
        let spot = stop.spot(if stop.has("drain") { "drain" } else { "grace" });
        context.report.warn(
            spot,
            "`grace` counts from the first step, so KILL would come before `drain` is over",
            "make `grace` longer than `drain`",
        );
    }
    let dir =
        reader.scalar("dir", |text| Ok(text.to_owned())).map_or(PathBuf::new(), |at| join(context.dir, &at.value));
    let env = env(context, reader);
    if let Some(policy) = &policy {
        warn_of_idle_ejection(context, reader, policy, replicas);
    }
    let mut command = command?;
    if command[0].contains('/') {
        command[0] = join(context.dir, &command[0]).to_string_lossy().into_owned();
    }
    Some(Service {
        name: name?,
        command,
        dir,
        needs: Vec::new(),
        replicas,
        env,
        policy: policy?,
        probes: probes?,
        restart,
        stop: Stop { drain, grace },
    })
}

/// `path` seen from `dir`, without the `./` that people write.
fn join(dir: &Path, path: &str) -> PathBuf {
    match path.trim_start_matches("./") {
        "" | "." => dir.to_owned(),
        path => dir.join(path),
    }
}

fn env(context: &Context<'_>, reader: &Reader<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, text) in reader.pairs("env") {
        let good = !key.value.is_empty() && !key.value.contains(['=', '\0']);
        if !good || text.value.contains('\0') {
            context.report.error(
                key.spot,
                "this cannot stand in an environment",
                "use letters, digits and underscores",
            );
        } else if key.value == "PORT" {
            context.report.error(
                key.spot,
                "$PORT is chosen by Mainstay, a free one for each replica",
                "remove it and listen on $PORT",
            );
        } else {
            env.insert(key.value, text.value);
        }
    }
    env
}

/// An ejection cap that rounds down to nobody looks like protection and is none.
fn warn_of_idle_ejection(context: &Context<'_>, reader: &Reader<'_>, policy: &Policy, replicas: u16) {
    let Some(eject) = policy.eject.filter(|_| replicas > 1) else { return };
    if u32::from(replicas) * u32::from(eject.max.points()) < 10_000 {
        context.report.warn(
            if reader.has("policy") { reader.spot("policy") } else { reader.at },
            format!("policy `{}` never ejects: {} of {replicas} replicas is none", policy.name, eject.max),
            format!("write `max: {}%` or more, or `eject: off`", 100_u32.div_ceil(u32::from(replicas))),
        );
    }
}

fn probes(reader: &Reader<'_>) -> Option<Probes> {
    let startup = reader.maybe_section("startup").map(|section| probe(&section));
    let ready = reader.maybe_section("ready").and_then(|section| probe(&section));
    let live = reader.maybe_section("live").map(|section| probe(&section));
    if let (Some(ready), Some(Some(live))) = (&ready, &live) {
        let same = matches!(&live.check, Check::Http { .. } | Check::Exec { .. }) && live.check == ready.check;
        if same {
            reader.report.warn(
                reader.key_spot("live"),
                "`live` asks what `ready` asks: a failing dependency will restart healthy replicas",
                "ask for something that depends on nobody else, such as /live, or remove `live`",
            );
        }
    }
    // A probe that was written and could not be read has been reported.
    Some(Probes { startup: startup.flatten(), ready: ready?, live: live.flatten() })
}

fn probe(reader: &Reader<'_>) -> Option<Probe> {
    let http = reader.scalar("http", value::url_path).map(|at| Check::Http { path: at.value });
    let tcp = reader.scalar("tcp", value::only_true).map(|_| Check::Tcp);
    let exec = reader.words("exec").map(|at| Check::Exec { command: at.value });
    let every = reader.span("every");
    let timeout = reader.span("timeout");
    let (fail_after, ok_after) = (reader.count_u32("fail_after"), reader.count_u32("ok_after"));
    let delay = reader.span("delay");
    Some(Probe { check: http.or(tcp).or(exec)?, every, timeout, fail_after, ok_after, delay })
}
