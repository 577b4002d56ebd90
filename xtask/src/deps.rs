//! Who may depend on whom, and on what: the direction of the house, and the licences and bans of `deny.toml`.
//!
//! `cargo deny` says more (advisories) where it is installed, and is then run too; what is checked here needs nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::run;

/// What each crate of ours may use of ours, outside tests. What is not listed may be used by nobody.
const MAY_USE: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("policy", &[]),
    ("shop", &[]),
    ("detect", &["core"]),
    ("txn", &["core"]),
    ("config", &["core"]),
    ("drill", &["core"]),
    ("observe", &["core"]),
    ("gateway", &["core", "policy"]),
    ("runtime", &["core", "detect"]),
    ("store", &["core", "txn"]),
    ("api", &["core", "txn", "observe"]),
    ("console", &["core"]),
    ("testing", &[]),
    (
        "mainstay",
        &[
            "core", "config", "detect", "txn", "gateway", "runtime", "drill", "observe", "store", "api", "console",
            "shop",
        ],
    ),
    ("xtask", &[]),
];

/// Third-party crates that belong to one crate of ours, so that a heavy dependency stays in its room.
const BELONGS_TO: &[(&str, &[&str])] = &[
    ("rusqlite", &["store", "shop"]),
    ("granit-parser", &["config"]),
    ("httparse", &["gateway", "testing"]),
    ("maud", &["console", "drill"]),
    ("prometheus-client", &["observe", "policy"]),
    ("clap", &["mainstay", "xtask"]),
    ("anyhow", &["mainstay", "shop", "xtask"]),
];

/// Says everything that is wrong, not just the first.
pub(crate) fn check() -> anyhow::Result<()> {
    let metadata: Value =
        serde_json::from_slice(&run::cargo_output(&["metadata", "--format-version", "1", "--locked"])?)?;
    let deny = std::fs::read_to_string(run::root().join("deny.toml")).context("deny.toml lies at the root")?;
    let mut wrong = direction(&metadata);
    wrong.extend(licences(&metadata, &listed(&deny, "allow")));
    wrong.extend(bans(&metadata, &listed(&deny, "deny")));
    if !wrong.is_empty() {
        bail!("dependencies:\n  {}", wrong.join("\n  "));
    }
    if run::which("cargo-deny").is_some() {
        run::cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"])?;
    }
    Ok(())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn short(name: &str) -> &str {
    name.strip_prefix("mainstay-").unwrap_or(name)
}

fn ours(metadata: &Value) -> BTreeMap<&str, &Value> {
    packages(metadata).filter(|p| p["source"].is_null()).filter_map(|p| Some((short(p["name"].as_str()?), p))).collect()
}

fn direction(metadata: &Value) -> Vec<String> {
    let ours = ours(metadata);
    let mut wrong = Vec::new();
    for (name, package) in &ours {
        let Some((_, allowed)) = MAY_USE.iter().find(|(n, _)| n == name) else {
            wrong.push(format!("{name}: not in the list of xtask/src/deps.rs; say what it may use"));
            continue;
        };
        let used = package["dependencies"].as_array().into_iter().flatten();
        // Tests may use anything: they stand above all of it.
        for dependency in used.filter(|d| d["kind"].as_str() != Some("dev")) {
            let other = dependency["name"].as_str().unwrap_or_default();
            if ours.contains_key(short(other)) && !allowed.contains(&short(other)) {
                wrong.push(format!("{name} must not depend on {}", short(other)));
            }
            if BELONGS_TO.iter().any(|(dep, owners)| *dep == other && !owners.contains(name)) {
                wrong.push(format!("{name} must not depend on {other}: it belongs to another crate"));
            }
        }
    }
    wrong
}

/// An SPDX expression is fine when each `AND` part has an allowed `OR` alternative.
fn licence_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let flat = expression.replace('/', " OR ").replace(['(', ')'], "");
    flat.split(" AND ").all(|part| part.split(" OR ").any(|name| allowed.contains(name.trim())))
}

fn licences(metadata: &Value, allowed: &BTreeSet<String>) -> Vec<String> {
    packages(metadata)
        .filter_map(|p| {
            let expression = p["license"].as_str().unwrap_or("no licence");
            (!licence_allowed(expression, allowed))
                .then(|| format!("{}: licence {expression} is not in deny.toml", p["name"]))
        })
        .collect()
}

fn bans(metadata: &Value, banned: &BTreeSet<String>) -> Vec<String> {
    packages(metadata)
        .filter_map(|p| p["name"].as_str())
        .filter(|name| banned.contains(*name))
        .map(|name| format!("{name} is banned by deny.toml"))
        .collect()
}

/// The quoted strings of the list `key = [ … ]`.
fn listed(toml: &str, key: &str) -> BTreeSet<String> {
    let start = toml
        .lines()
        .position(|line| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('=')));
    let lines = toml.lines().skip(start.unwrap_or(usize::MAX));
    let body: String =
        lines.take_while(|line| line.trim() != "]").map(|line| line.split('#').next().unwrap_or("")).collect();
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<Value> = uses.iter().map(|(n, kind)| json!({ "name": n, "kind": kind })).collect();
        json!({ "name": name, "source": null, "license": "MIT", "dependencies": dependencies })
    }

    #[test]
    fn an_edge_against_the_direction_is_named() {
        let metadata = json!({ "packages": [
            package("mainstay-core", &[]),
            package("mainstay-txn", &[("mainstay-core", None), ("mainstay-store", Some("dev"))]),
            package("mainstay-store", &[("mainstay-txn", None), ("rusqlite", None)]),
            package("mainstay-gateway", &[("mainstay-txn", None), ("rusqlite", None)]),
        ]});
        assert_eq!(
            direction(&metadata),
            ["gateway must not depend on txn", "gateway must not depend on rusqlite: it belongs to another crate"]
        );
    }

    #[test]
    fn the_tree_as_it_stands_keeps_the_direction() {
        let output = run::cargo_output(&["metadata", "--format-version", "1", "--offline", "--no-deps"]).unwrap();
        assert_eq!(direction(&serde_json::from_slice(&output).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn licences_are_read_as_expressions() {
        let allowed = BTreeSet::from(["MIT".to_owned(), "Apache-2.0".to_owned()]);
        for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Zlib) AND Apache-2.0"] {
            assert!(licence_allowed(good, &allowed), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "no licence"] {
            assert!(!licence_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn the_lists_of_deny_toml_are_found() {
        let deny = std::fs::read_to_string(run::root().join("deny.toml")).unwrap();
        assert!(listed(&deny, "allow").contains("MIT"));
        assert!(listed(&deny, "deny").contains("serde_yaml"));
        assert!(listed(&deny, "nothing").is_empty());
    }
}
