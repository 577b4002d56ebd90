//! YAML (and so JSON) as a tree in which everything knows where it stands.
//!
//! The tree is made from the events of the parser that serde-saphyr is built on, and not through serde: a derived
//! reader stops at the first thing that it does not like and forgets where the others were. The tree keeps the text of
//! a scalar as it was written, so that `1.0`, `010` and `yes` mean what the key that they stand under says.
//!
//! Aliases are copied in place, and both the copies and the depth are bounded: nine lines of YAML can otherwise ask
//! for a billion nodes.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle};

use crate::source::{Report, Spot};

/// Deepest nesting; the deepest sensible file needs eight levels.
pub(crate) const DEPTH_MAX: usize = 32;
/// Most nodes, those copied by aliases included.
pub(crate) const NODES_MAX: usize = 100_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) spot: Spot,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
}

/// A key and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) spot: Spot,
}

impl Node {
    /// Nothing was written: `key:`, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null"))
    }

    pub(crate) fn as_scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// In words, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a plain value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The node under `key` of a mapping.
    pub(crate) fn get(&self, key: &str) -> Option<(&Name, &Node)> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(name, node)| (name, node)),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::size).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| 1 + node.size()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Scalar { .. } => 0,
            Value::List(items) => items.iter().map(Node::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }

    /// As JSON, by the rules of YAML's core schema for plain scalars.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Scalar { text, quoted: true } => text.as_str().into(),
            Value::Scalar { text, .. } => match text.as_str() {
                _ if self.is_null() => serde_json::Value::Null,
                "true" => true.into(),
                "false" => false.into(),
                other => match other.parse::<serde_json::Number>() {
                    Ok(number) => number.into(),
                    Err(_) => other.into(),
                },
            },
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries.iter().map(|(name, node)| (name.text.clone(), node.to_json())).collect(),
        }
    }
}

/// The key of the value that comes next.
enum Key {
    None,
    Good(Name),
    /// It was reported; its value is dropped.
    Bad,
}

/// A list or mapping that is still open.
struct Open {
    node: Node,
    /// What waits for its value.
    key: Key,
    anchor: usize,
    /// Keys of a mapping so far.
    seen: HashMap<String, Spot>,
}

/// Reads the one document of `text`. None: something was reported that leaves no tree to look at.
pub(crate) fn compose(text: &str, report: &Report<'_>) -> Option<Node> {
    Composer { report, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None }.run(text)
}

struct Composer<'a, 'r> {
    report: &'a Report<'r>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Composer<'_, '_> {
    fn run(mut self, text: &str) -> Option<Node> {
        let mut options = Options::default();
        options.emit_unresolved_aliases = true;
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(e) => {
                    let start = e.marker().byte_offset().unwrap_or(0);
                    if matches!(e.kind(), ErrorKind::RecursionLimitExceeded) {
                        return self.too_deep(Spot { start, end: start + 1 });
                    }
                    let fix = match text.get(..start).and_then(|t| t.rsplit('\n').next()) {
                        Some(indent) if indent.contains('\t') || text[start..].starts_with('\t') => {
                            "indent with spaces, never with tabs"
                        }
                        _ => "",
                    };
                    self.report.error(Spot { start, end: start + 1 }, format!("this is not YAML: {}", e.info()), fix);
                    return None;
                }
            };
            let start = span.start.byte_offset().unwrap_or(0);
            let spot = Spot { start, end: span.end.byte_offset().unwrap_or(start).max(start + 1) };
            if event.tag().is_some() {
                self.report.error(spot, "tags (`!…`) mean nothing here", "remove the tag");
            }
            self.nodes += 1;
            let done = match event {
                Event::DocumentStart(..) => {
                    documents += 1;
                    if documents > 1 {
                        self.report.error(spot, "a second document begins here", "one file holds one app");
                        return None;
                    }
                    continue;
                }
                Event::Scalar(text, style, anchor, _) => {
                    let quoted = !matches!(style, ScalarStyle::Plain);
                    (Node { spot, value: Value::Scalar { text: text.into_owned(), quoted } }, anchor)
                }
                Event::SequenceStart(_, anchor, _) => {
                    self.push(Node { spot, value: Value::List(Vec::new()) }, anchor)?;
                    continue;
                }
                Event::MappingStart(_, anchor, _) => {
                    self.push(Node { spot, value: Value::Map(Vec::new()) }, anchor)?;
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                    Some(open) => (open.node, open.anchor),
                    None => continue,
                },
                Event::Alias(id) => match self.anchors.get(&id).cloned() {
                    Some(mut node) => {
                        self.nodes += node.size();
                        if node.depth() + self.open.len() > DEPTH_MAX {
                            return self.too_deep(spot);
                        }
                        node.spot = spot;
                        (node, 0)
                    }
                    None => {
                        self.report.error(spot, "this alias stands within its own anchor", "write the value out");
                        return None;
                    }
                },
                Event::UnresolvedAlias(name) => {
                    let fix = format!("put `&{name}` before the value that is meant, further up, or quote the text");
                    self.report.error(spot, format!("`*{name}` refers to nothing"), fix);
                    (Node { spot, value: Value::Scalar { text: String::new(), quoted: true } }, 0)
                }
                _ => continue,
            };
            if self.nodes > NODES_MAX {
                self.report.error(spot, format!("more than {NODES_MAX} values"), "write fewer aliases");
                return None;
            }
            self.place(done.0, done.1);
        }
        match self.root {
            Some(root) if !root.is_null() => Some(root),
            _ => {
                self.report.error(
                    Spot::default(),
                    "the file is empty",
                    "`mainstay init` writes a small one that works",
                );
                None
            }
        }
    }

    fn too_deep(&self, spot: Spot) -> Option<Node> {
        self.report.error(spot, format!("nested deeper than {DEPTH_MAX} levels"), "");
        None
    }

    fn push(&mut self, node: Node, anchor: usize) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            self.too_deep(node.spot);
            return None;
        }
        self.open.push(Open { node, key: Key::None, anchor, seen: HashMap::new() });
        Some(())
    }

    /// Puts a finished node where it belongs.
    fn place(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.node.value, std::mem::replace(&mut open.key, Key::None)) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(_), Key::Bad) => {}
            (Value::Map(entries), Key::Good(key)) => {
                if let Some(first) = open.seen.insert(key.text.clone(), key.spot) {
                    let line = self.report.line(first);
                    self.report.error(
                        key.spot,
                        format!("`{}` stands here a second time", shown(&key.text)),
                        format!("remove one; the first is in line {line}"),
                    );
                } else if key.text == "<<" {
                    self.report.error(key.spot, "merge keys (`<<`) are not read", "write the keys out");
                } else {
                    entries.push((key, node));
                }
            }
            (Value::Map(_), Key::None) => {
                open.key = match node.value {
                    Value::Scalar { text, .. } => Key::Good(Name { text, spot: node.spot }),
                    _ => {
                        self.report.error(node.spot, "a key must be plain text", "quote it if it begins with { or [");
                        Key::Bad
                    }
                };
            }
            (Value::Scalar { .. }, _) => {}
        }
    }
}

/// `text`, shortened for a message.
pub(crate) fn shown(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    match text.chars().nth(CHARS_MAX) {
        None => text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""),
        Some(_) => format!("{}…", text.chars().take(CHARS_MAX).collect::<String>().escape_debug()),
    }
}
