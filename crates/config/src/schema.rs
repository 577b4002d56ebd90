//! JSON Schema of the file, made from the table of keys: editors complete and check with it.

use serde_json::{Map, Value, json};

use crate::reader::default_node;
use crate::source::Spot;
use crate::table::{APP, Key, Otherwise, Section, Shape};

/// JSON Schema (2020-12) of the file.
pub fn schema() -> Value {
    let mut defs = Map::new();
    let mut root = section(&APP, &mut defs);
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    root.insert("title".to_owned(), json!("mainstay.yaml"));
    root.insert("$defs".to_owned(), Value::Object(defs));
    Value::Object(root)
}

/// The name of a section among the definitions.
fn def_name(section: &Section) -> String {
    let what = section.what.trim_start_matches("an ").trim_start_matches("a ").trim_matches('`');
    what.replace(' ', "-")
}

fn reference(inner: &'static Section, defs: &mut Map<String, Value>) -> Value {
    let name = def_name(inner);
    if !defs.contains_key(&name) {
        // Holds the place, so that the order is that of the file.
        defs.insert(name.clone(), Value::Null);
        let made = section(inner, defs);
        defs.insert(name.clone(), Value::Object(made));
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn section(section: &'static Section, defs: &mut Map<String, Value>) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut required_beside: Map<String, Value> = Map::new();
    let mut only_beside = Map::new();
    for key in section.keys {
        properties.insert(key.name.to_owned(), property(key, defs));
        let is_required = matches!(key.default, Otherwise::Required);
        if is_required && key.beside.is_empty() {
            required.push(key.name);
        }
        if key.beside.is_empty() {
            continue;
        }
        let any: Vec<_> = key.beside.iter().map(|other| json!({ "required": [other] })).collect();
        only_beside.insert(key.name.to_owned(), json!({ "anyOf": any }));
        for other in key.beside.iter().filter(|_| is_required) {
            let list = required_beside.entry((*other).to_owned()).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(json!(key.name));
            }
        }
    }
    let mut made = Map::new();
    made.insert("type".to_owned(), json!("object"));
    made.insert("additionalProperties".to_owned(), json!(false));
    made.insert("properties".to_owned(), Value::Object(properties));
    if !required.is_empty() {
        made.insert("required".to_owned(), json!(required));
    }
    if !section.one_of.is_empty() {
        let one: Vec<_> = section.one_of.iter().map(|name| json!({ "required": [name] })).collect();
        made.insert("oneOf".to_owned(), json!(one));
    }
    if !required_beside.is_empty() {
        made.insert("dependentRequired".to_owned(), Value::Object(required_beside));
    }
    if !only_beside.is_empty() {
        made.insert("dependentSchemas".to_owned(), Value::Object(only_beside));
    }
    made
}

fn property(key: &Key, defs: &mut Map<String, Value>) -> Value {
    let Value::Object(mut made) = shape(&key.shape, defs) else { return Value::Bool(true) };
    let mut doc = key.doc.to_owned();
    match key.default {
        Otherwise::Value(text, why) => {
            if let Some(node) = default_node(text, Spot::default()) {
                made.insert("default".to_owned(), node.to_json());
            }
            doc = format!("{doc} Default {text}: {why}.");
        }
        Otherwise::None(why) if !why.is_empty() => doc = format!("{doc} Default none: {why}."),
        _ => {}
    }
    made.insert("description".to_owned(), json!(doc));
    Value::Object(made)
}

/// Names of policies, transactions, steps, invariants and drills.
const NAME_PATTERN: &str = "^[A-Za-z0-9_-]{1,64}$";

fn shape(shape: &Shape, defs: &mut Map<String, Value>) -> Value {
    let plain = json!(["string", "number", "boolean"]);
    match shape {
        Shape::Count { min, max: u64::MAX } => json!({ "type": "integer", "minimum": min }),
        Shape::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::True => json!({ "const": true }),
        Shape::Choice(known, _) => json!({ "enum": known }),
        Shape::Words => json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": plain }, "minItems": 1 },
        ] }),
        Shape::ServiceNames => {
            json!({ "type": "array", "items": { "type": "string", "pattern": shape.pattern() }, "uniqueItems": true })
        }
        Shape::Names => json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }),
        Shape::Texts => json!({ "type": "object", "additionalProperties": { "type": plain } }),
        Shape::SumPairs => json!({ "type": "object", "additionalProperties": { "type": ["string", "number"] } }),
        Shape::SumFloors => json!({ "type": "object", "additionalProperties": { "type": "number" } }),
        Shape::Json => json!({}),
        Shape::Section(inner) => reference(inner, defs),
        Shape::SectionOrOff(inner) => json!({ "anyOf": [reference(inner, defs), { "enum": ["off", false] }] }),
        Shape::Sections(inner) => json!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": reference(inner, defs),
        }),
        Shape::List(inner) => json!({ "type": "array", "items": reference(inner, defs) }),
        _ => match shape.pattern() {
            Some(pattern) => json!({ "type": "string", "pattern": pattern }),
            None => json!({ "type": "string" }),
        },
    }
}

#[cfg(test)]
mod tests;
