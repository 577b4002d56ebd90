//! The schema is held against real files by a small judge of our own: it knows the keywords that the schema uses, and
//! refuses to judge by any other, so that a new keyword cannot go unchecked.

use serde_json::{Value, json};

use super::schema;
use crate::source::{Report, Source};
use crate::table::{APP, Otherwise, Section, Shape};
use crate::tree::compose;

/// Why `value` does not fit `schema`, if so.
fn judge(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Value::Object(keywords) = schema else {
        return if *schema == json!(true) { Ok(()) } else { Err(format!("{at}: nothing fits")) };
    };
    let fits = |schema: &Value| judge(root, schema, value, at).is_ok();
    for (keyword, rule) in keywords {
        let list = || rule.as_array().unwrap();
        let object = value.as_object();
        let good = match keyword.as_str() {
            "$schema" | "title" | "$defs" | "description" | "default" => true,
            "$ref" => {
                judge(root, root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap(), value, at)?;
                true
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_u64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("type {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is))
            }
            "enum" => list().contains(value),
            "const" => rule == value,
            "anyOf" => list().iter().any(fits),
            "oneOf" => list().iter().filter(|schema| fits(schema)).count() == 1,
            "required" => list().iter().all(|key| object.is_none_or(|o| o.contains_key(key.as_str().unwrap()))),
            "minimum" => value.as_f64().is_none_or(|n| n >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= rule.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|s| s.len() as u64 >= rule.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|a| a.len() as u64 >= rule.as_u64().unwrap()),
            "uniqueItems" | "pattern" | "propertyNames" => true,
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    judge(root, rule, item, at)?;
                }
                true
            }
            "properties" => {
                for (key, schema) in rule.as_object().unwrap() {
                    if let Some(inner) = value.get(key) {
                        judge(root, schema, inner, &format!("{at}/{key}"))?;
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = keywords.get("properties").and_then(Value::as_object);
                for (key, inner) in object.into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(key)) {
                        let at = format!("{at}/{key}");
                        match rule {
                            Value::Bool(false) => return Err(format!("{at} is not known")),
                            schema => judge(root, schema, inner, &at)?,
                        }
                    }
                }
                true
            }
            "dependentRequired" => {
                let written = |key: &str| value.get(key).is_some();
                let needs = rule.as_object().unwrap().iter().filter(|(key, _)| written(key));
                needs.flat_map(|(_, keys)| keys.as_array().unwrap()).all(|key| written(key.as_str().unwrap()))
            }
            "dependentSchemas" => {
                rule.as_object().unwrap().iter().all(|(key, schema)| value.get(key).is_none() || fits(schema))
            }
            other => panic!("the judge does not know {other}"),
        };
        if !good {
            return Err(format!("{at}: {keyword} {rule}, but {value}"));
        }
    }
    Ok(())
}

fn value(yaml: &str) -> Value {
    let source = Source::new("test", yaml);
    let report = Report::new(&source);
    compose(yaml, &report).unwrap().to_json()
}

fn check(yaml: &str, expected: Result<(), &str>) {
    let schema = schema();
    let verdict = judge(&schema, &schema, &value(yaml), "");
    match (verdict, expected) {
        (Ok(()), Ok(())) => {}
        (Err(why), Err(expected)) => assert!(why.contains(expected), "{why}"),
        (verdict, _) => panic!("{verdict:?}\n{yaml}"),
    }
}

#[test]
fn good_files_fit() {
    check(include_str!("../../tests/data/shop.yaml"), Ok(()));
    check("{ app: shop, services: { order: { run: [./order, 7] } }, policies: { p: { retry: off } } }", Ok(()));
    check(&crate::init_file("shop"), Ok(()));
}

#[test]
fn wrong_files_do_not() {
    check("{ app: shop }", Err("required"));
    check("{ app: shop, services: { a: { run: ./a, port: 1 } } }", Err("/services/a/port is not known"));
    check("{ app: shop, services: { a: { run: ./a, replicas: 0 } } }", Err("minimum"));
    let routes = |route: &str| format!("{{ app: shop, services: {{}}, routes: [{route}] }}");
    check(&routes("{ match: /x }"), Err("oneOf"));
    check(&routes("{ match: /x, transaction: t, policy: p }"), Err("dependentSchemas"));
    let faults = |fault: &str| {
        format!("{{ app: s, services: {{}}, drills: {{ d: {{ load: {{ route: x }}, faults: [{fault}] }} }} }}")
    };
    check(&faults("{ at: 1s, freeze: a }"), Err("dependentRequired"));
}

/// Every default is what its own reader and its own schema take.
#[test]
fn every_default_fits_its_own_schema() {
    fn walk(section: &'static Section, root: &Value, schema: &Value) {
        for key in section.keys {
            let property = &schema["properties"][key.name];
            if let Otherwise::Value(text, why) = key.default {
                assert!(!why.is_empty(), "{}", key.name);
                judge(root, property, &value(text), key.name).unwrap();
                assert_eq!(property["default"], value(text));
            }
            assert!(key.doc.ends_with('.') || key.doc.ends_with('…'), "{}: {}", key.name, key.doc);
            assert!(!section.unbuilt.contains(&key.name), "{} is both known and planned", key.name);
            if let Shape::Section(inner) | Shape::SectionOrOff(inner) | Shape::Sections(inner) | Shape::List(inner) =
                key.shape
            {
                let schema = &root["$defs"][super::def_name(inner)];
                walk(inner, root, schema);
            }
        }
    }
    let schema = schema();
    walk(&APP, &schema, &schema);
}

/// Every section has a name of its own among the definitions.
#[test]
fn definitions_are_not_mixed_up() {
    fn names(section: &'static Section, out: &mut Vec<(String, *const Section)>) {
        out.push((super::def_name(section), section));
        for key in section.keys {
            if let Shape::Section(inner) | Shape::SectionOrOff(inner) | Shape::Sections(inner) | Shape::List(inner) =
                key.shape
            {
                names(inner, out);
            }
        }
    }
    let mut all = Vec::new();
    names(&APP, &mut all);
    for (name, section) in &all {
        assert!(all.iter().all(|(other, s)| other != name || std::ptr::eq(*s, *section)), "{name}");
    }
}

/// `MAINSTAY_BLESS=1 cargo test -p mainstay-config` writes the file anew.
#[test]
fn the_whole_of_it_word_for_word() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schema.json");
    let actual = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap());
}
