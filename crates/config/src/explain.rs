//! The file again, with nothing left unsaid: every default, its value and its reason.
//!
//! What is printed is a valid file that means the same, so it can be kept, cut down and used.

use crate::plan::Plan;
use crate::reader::default_node;
use crate::source::Spot;
use crate::table::{APP, Key, Otherwise, POLICY, Section, Shape};
use crate::tree::{Node, Value};

/// Where comments begin, unless the line is longer.
const COMMENT_COLUMN: usize = 48;
const WRITTEN: &str = "written";
const STANDARD: &str = "standard";
const HEAD: &str = "# Everything that Mainstay goes by. `written`: stands in the file. `default`: does not, and why it is so.\n\
                    # This is a valid file that means the same; whatever is a default may be deleted.\n";

/// The file again, with every default, its value and its reason.
pub fn explain(plan: &Plan) -> String {
    let mut out = Explained { text: HEAD.to_owned() };
    out.section(&APP, &Layer { own: Some(&plan.origin.0.root), below: None, note: None }, 0);
    out.text
}

/// What a section is made of, the nearest first.
#[derive(Clone, Copy, Default)]
struct Layer<'a> {
    own: Option<&'a Node>,
    /// The policy that this one builds upon.
    below: Option<&'a Node>,
    /// Said of everything in `own`, where it was not written by the user.
    note: Option<&'a str>,
}

fn under<'a>(node: Option<&'a Node>, key: &str) -> Option<&'a Node> {
    node.and_then(|node| node.get(key)).map(|(_, node)| node)
}

struct Explained {
    text: String,
}

impl Explained {
    fn line(&mut self, indent: usize, text: &str, comment: &str) {
        let text = format!("{}{text}", " ".repeat(indent));
        let width = COMMENT_COLUMN;
        match comment {
            "" => self.text.push_str(&text),
            _ => self.text.push_str(&format!("{text:<width$} # {comment}")),
        }
        self.text.push('\n');
    }

    fn section(&mut self, section: &'static Section, layer: &Layer<'_>, indent: usize) {
        for key in section.keys {
            let applies = key.beside.is_empty() || key.beside.iter().any(|other| under(layer.own, other).is_some());
            if !applies {
                continue;
            }
            let below = under(layer.below, key.name);
            match (under(layer.own, key.name), below, key.default) {
                (Some(own), _, _) => {
                    let note = layer.note.unwrap_or(WRITTEN);
                    self.value(key, &Layer { own: Some(own), below, note: layer.note }, note, indent);
                }
                (None, Some(below), _) => {
                    let note = "from policy `standard`";
                    self.value(key, &Layer { own: Some(below), below: None, note: Some(note) }, note, indent);
                }
                (None, None, Otherwise::Value(text, why)) => {
                    let node = default_node(text, Spot::default());
                    let note = format!("default: {why}");
                    self.value(key, &Layer { own: node.as_ref(), below: None, note: Some(&note) }, &note, indent);
                }
                (None, None, Otherwise::Inner) => self.value(key, &Layer::default(), "", indent),
                (None, None, Otherwise::None("") | Otherwise::Required) => {}
                (None, None, Otherwise::None(_)) if key.name == "policies" => {
                    self.value(key, &Layer::default(), "", indent);
                }
                (None, None, Otherwise::None(why)) => {
                    self.line(indent, &format!("# {}:", key.name), &format!("default: none; {why}"));
                }
            }
        }
    }

    fn value(&mut self, key: &Key, layer: &Layer<'_>, note: &str, indent: usize) {
        let head = format!("{}:", key.name);
        // An empty section is one of defaults.
        match (key.shape, layer.own.filter(|node| !node.is_null()).map(|node| &node.value)) {
            (Shape::Section(inner) | Shape::SectionOrOff(inner), None | Some(Value::Map(_))) => {
                self.line(indent, &head, "");
                self.section(inner, layer, indent + 2);
            }
            (Shape::Sections(inner), _) => {
                self.line(indent, &head, "");
                self.sections(inner, layer, indent + 2);
            }
            (Shape::List(inner), Some(Value::List(items))) => {
                self.line(indent, &head, "");
                for item in items {
                    let start = self.text.len();
                    self.section(inner, &Layer { own: Some(item), ..*layer }, indent + 4);
                    self.dash(start, indent + 4);
                }
            }
            (_, Some(_)) => {
                let text = layer.own.map(flow).unwrap_or_default();
                self.line(indent, &format!("{head} {text}"), note);
            }
            (_, None) => {}
        }
    }

    fn sections(&mut self, inner: &'static Section, layer: &Layer<'_>, indent: usize) {
        let is_policies = std::ptr::eq(inner, &raw const POLICY);
        let standard = under(layer.own, STANDARD).filter(|_| is_policies);
        if is_policies && standard.is_none() {
            self.line(indent, "standard:", "built in");
            self.section(inner, &Layer::default(), indent + 2);
        }
        let Some(Value::Map(entries)) = layer.own.map(|node| &node.value) else { return };
        for (name, node) in entries {
            self.line(indent, &format!("{}:", scalar(&name.text, false)), "");
            let below = standard.filter(|_| name.text != STANDARD);
            self.section(inner, &Layer { own: Some(node), below, note: layer.note }, indent + 2);
        }
    }

    /// Turns the first key since `start` into the beginning of a list entry.
    fn dash(&mut self, start: usize, indent: usize) {
        let mut at = start;
        for line in self.text[start..].lines() {
            if !line.trim_start().starts_with('#') {
                break;
            }
            at += line.len() + 1;
        }
        if at + indent <= self.text.len() {
            self.text.replace_range(at + indent - 2..at + indent, "- ");
        }
    }
}

/// A value in one line.
fn flow(node: &Node) -> String {
    match &node.value {
        Value::Scalar { .. } if node.is_null() => "null".to_owned(),
        Value::Scalar { text, quoted } => scalar(text, *quoted),
        Value::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Map(entries) => {
            let entries = entries.iter().map(|(name, node)| format!("{}: {}", scalar(&name.text, false), flow(node)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Plain where that is safe and was so, else in double quotes as JSON has them, which YAML reads too.
fn scalar(text: &str, quoted: bool) -> String {
    let safe = !text.is_empty()
        && !text.starts_with(|c: char| "-?:&*!|>'\"%@`#<~ ".contains(c))
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(|c: char| c.is_control() || ",[]{}".contains(c) || !c.is_ascii());
    // A negative number begins with a dash and would change its type in quotes.
    if !quoted && (safe || text.parse::<f64>().is_ok()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests;
