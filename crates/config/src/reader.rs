//! Reads a section against the table of keys: what is there is checked, what is not gets its default.
//!
//! A reader never stops. What cannot be read is reported and replaced by its default, so that everything after it is
//! still looked at; whoever asked for a plan gets none as long as one error was reported.

use std::borrow::Cow;
use std::time::Duration;

use mainstay_core::{Rate, Share};

use crate::plan::JsonPath;
use crate::source::{Report, Spot};
use crate::table::{Key, Otherwise, Section, Shape};
use crate::tree::{Name, Node, Value, shown};
use crate::value::{self, Read, Wrong};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) spot: Spot,
}

/// One section of the file, checked against its keys.
pub(crate) struct Reader<'a> {
    section: &'static Section,
    /// None: nothing of it was written.
    node: Option<Cow<'a, Node>>,
    /// Where to look before the default: the policy that this one builds upon.
    below: Option<&'a Node>,
    /// Where the section's name stands.
    pub(crate) at: Spot,
    pub(crate) report: &'a Report<'a>,
}

/// The nearest of `names`, if one is near.
pub(crate) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    const LIKENESS_MIN: f64 = 0.75;
    let name: String = name.chars().take(64).collect::<String>().to_ascii_lowercase();
    let like = |other: &'n str| (strsim::jaro_winkler(&name, other), other);
    let best = names.into_iter().map(like).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= LIKENESS_MIN).then_some(best.1)
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl<'a> Reader<'a> {
    /// Opens `node` as `section`; whatever does not belong there is reported.
    pub(crate) fn open(
        section: &'static Section,
        at: Spot,
        node: Option<&'a Node>,
        below: Option<&'a Node>,
        report: &'a Report<'a>,
    ) -> Self {
        let node = match node {
            Some(node) if matches!(node.value, Value::Map(_)) => {
                check_keys(section, at, node, report);
                Some(Cow::Borrowed(node))
            }
            Some(node) if node.is_null() => {
                let empty = Node { spot: node.spot, value: Value::Map(Vec::new()) };
                check_keys(section, at, &empty, report);
                Some(Cow::Owned(empty))
            }
            Some(node) => {
                let example = section.keys.first().map_or("", |key| key.name);
                let fix = format!("write a mapping: {example}: …");
                report.error(node.spot, format!("{} must be a mapping, not {}", section.what, node.kind()), fix);
                None
            }
            None => None,
        };
        Self { section, node, below, at, report }
    }

    /// A section that consists of its default, as it stands in the table.
    fn open_default(section: &'static Section, at: Spot, text: &str, report: &'a Report<'a>) -> Self {
        Self { section, node: default_node(text, at).map(Cow::Owned), below: None, at, report }
    }

    fn key(&self, name: &str) -> &'static Key {
        self.section.key(name).unwrap_or_else(|| panic!("{} has no key {name}", self.section.what))
    }

    /// What was written under `name`, here or in the policy below.
    fn written(&self, name: &str) -> Option<(Spot, &Node)> {
        let own = self.node.as_deref().and_then(|node| node.get(name));
        let found = own.or_else(|| self.below.and_then(|below| below.get(name)));
        found.map(|(key, node)| (key.spot, node))
    }

    /// Whether it stands in this very section.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.node.as_ref().is_some_and(|node| node.get(name).is_some())
    }

    /// Where the value of `name` stands, or else the section.
    pub(crate) fn spot(&self, name: &str) -> Spot {
        self.written(name).map_or(self.at, |(_, node)| node.spot)
    }

    /// Where the key `name` stands, or else the section.
    pub(crate) fn key_spot(&self, name: &str) -> Spot {
        self.written(name).map_or(self.at, |(spot, _)| spot)
    }

    fn wrong(&self, spot: Spot, name: &str, wrong: &Wrong) {
        self.report.error(spot, format!("`{name}`: {}", wrong.message), wrong.fix.clone());
    }

    /// The plain value under `name`, else its default, else none.
    pub(crate) fn scalar<T>(&self, name: &str, read: impl Fn(&str) -> Read<T>) -> Option<At<T>> {
        if let Some((_, node)) = self.written(name) {
            match node.as_scalar() {
                Some(_) if node.is_null() => {
                    self.report.error(node.spot, format!("`{name}` is empty"), "write its value, or remove the key");
                }
                Some(text) => match read(text) {
                    Ok(value) => return Some(At { value, spot: node.spot }),
                    Err(e) => self.wrong(node.spot, name, &e),
                },
                None => {
                    let message = format!("`{name}` must be {}, not {}", self.key(name).shape.words(), node.kind());
                    self.report.error(node.spot, message, "");
                }
            }
        }
        match self.key(name).default {
            Otherwise::Value(text, _) => read(text).ok().map(|value| At { value, spot: self.at }),
            _ => None,
        }
    }

    pub(crate) fn maybe_span(&self, name: &str) -> Option<Duration> {
        let zero = matches!(self.key(name).shape, Shape::SpanOrZero);
        self.scalar(name, if zero { value::span_or_zero } else { value::span }).map(|at| at.value)
    }

    /// Nothing only where an error was reported.
    pub(crate) fn span(&self, name: &str) -> Duration {
        self.maybe_span(name).unwrap_or_default()
    }

    pub(crate) fn maybe_share(&self, name: &str) -> Option<At<Share>> {
        self.scalar(name, value::share)
    }

    pub(crate) fn share(&self, name: &str) -> Share {
        self.maybe_share(name).map_or(Share::ZERO, |at| at.value)
    }

    pub(crate) fn rate(&self, name: &str) -> Rate {
        const PLACEHOLDER: f64 = 1.0;
        let rate = self.scalar(name, value::rate).map(|at| at.value);
        rate.or_else(|| Rate::new(PLACEHOLDER)).expect("one per second is a rate")
    }

    pub(crate) fn maybe_count(&self, name: &str) -> Option<At<u64>> {
        let (min, max) = match self.key(name).shape {
            Shape::Count { min, max } => (min, max),
            _ => (0, u64::MAX),
        };
        self.scalar(name, |text| value::count(text, min, max))
    }

    pub(crate) fn count_u16(&self, name: &str) -> u16 {
        self.maybe_count(name).map_or(1, |at| u16::try_from(at.value).unwrap_or(u16::MAX))
    }

    pub(crate) fn count_u32(&self, name: &str) -> u32 {
        self.maybe_count(name).map_or(1, |at| u32::try_from(at.value).unwrap_or(u32::MAX))
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.scalar(name, value::flag).is_some_and(|at| at.value)
    }

    pub(crate) fn json_path(&self, name: &str) -> Option<JsonPath> {
        self.scalar(name, value::json_path).map(|at| at.value)
    }

    /// Reports a choice that is unknown or not built yet.
    pub(crate) fn choice(&self, name: &str) {
        let Shape::Choice(known, unbuilt) = self.key(name).shape else { return };
        let fix = if known.len() == 1 { format!("write {}", known[0]) } else { format!("one of {}", known.join(", ")) };
        self.scalar(name, |text| match text {
            text if known.contains(&text) => Ok(()),
            text if unbuilt.contains(&text) => {
                Err(Wrong { message: format!("`{text}` is not built yet"), fix: fix.clone() })
            }
            text => Err(Wrong { message: format!("`{}` is not known", shown(text)), fix: fix.clone() }),
        });
    }

    /// A command as a line or a list; none after an error.
    pub(crate) fn words(&self, name: &str) -> Option<At<Vec<String>>> {
        match self.written(name) {
            Some((_, Node { value: Value::List(items), spot })) => {
                let words: Vec<String> = items.iter().filter_map(|item| self.item(name, item)).collect();
                if words.len() != items.len() {
                    return None;
                }
                if words.first().is_none_or(String::is_empty) {
                    self.report.error(*spot, format!("`{name}`: no program is named"), "write [./program, argument]");
                    return None;
                }
                Some(At { value: words, spot: items.first().map_or(*spot, |item| item.spot) })
            }
            _ => self.scalar(name, value::words),
        }
    }

    fn item(&self, name: &str, item: &Node) -> Option<String> {
        let text = item.as_scalar().filter(|text| !item.is_null() && !text.contains('\0')).map(str::to_owned);
        if text.is_none() {
            self.report.error(item.spot, format!("`{name}` holds plain values, not {}", item.kind()), "");
        }
        text
    }

    /// A list of plain values. A single plain value is not one: the mistake would stay unseen.
    pub(crate) fn list(&self, name: &str) -> Vec<At<String>> {
        match self.written(name) {
            Some((_, Node { value: Value::List(items), .. })) => items
                .iter()
                .filter_map(|item| self.item(name, item).map(|value| At { value, spot: item.spot }))
                .collect(),
            Some((_, node)) => {
                let fix = match node.as_scalar() {
                    Some(text) if !node.is_null() => format!("write `{name}: [{}]`", shown(text)),
                    _ => format!("write `{name}: [a, b]`"),
                };
                self.report.error(node.spot, format!("`{name}` must be a list, not {}", node.kind()), fix);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Entries of a mapping from text to plain text.
    pub(crate) fn pairs(&self, name: &str) -> Vec<(At<String>, At<String>)> {
        match self.written(name) {
            Some((_, Node { value: Value::Map(entries), .. })) => entries
                .iter()
                .filter_map(|(key, node)| {
                    let Some(text) = node.as_scalar() else {
                        let message = format!("`{}` must be plain text, not {}", shown(&key.text), node.kind());
                        self.report.error(node.spot, message, "");
                        return None;
                    };
                    let text = if node.is_null() { "" } else { text };
                    Some((at(&key.text, key.spot), at(text, node.spot)))
                })
                .collect(),
            Some((_, node)) => {
                let message = format!("`{name}` must be a mapping, not {}", node.kind());
                self.report.error(node.spot, message, format!("write `{name}: {{ key: value }}`"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Whatever stands under `name`.
    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.written(name).map(|(_, node)| node)
    }

    /// The section under `name`, which may be unwritten: then it consists of defaults.
    pub(crate) fn section(&self, name: &str) -> Reader<'_> {
        let (Shape::Section(section) | Shape::SectionOrOff(section)) = self.key(name).shape else {
            panic!("{name} is no section");
        };
        // What a policy leaves open within `retry` comes from the policy below, key by key; an `off` there is no base.
        let below = self.below.and_then(|below| below.get(name)).map(|(_, node)| node);
        match (self.node.as_deref().and_then(|node| node.get(name)), self.key(name).default) {
            (Some((key, node)), _) => Reader::open(section, key.spot, Some(node), below, self.report),
            (None, Otherwise::Value(text, _)) => Reader::open_default(section, self.at, text, self.report),
            (None, _) => Reader { section, node: None, below, at: self.at, report: self.report },
        }
    }

    /// The section under `name` if it was written or has a default of its own.
    pub(crate) fn maybe_section(&self, name: &str) -> Option<Reader<'_>> {
        let present = self.written(name).is_some() || matches!(self.key(name).default, Otherwise::Value(..));
        present.then(|| self.section(name))
    }

    /// Whether `off` is written under `name`.
    pub(crate) fn is_off(&self, name: &str) -> bool {
        self.written(name).is_some_and(|(_, node)| matches!(node.as_scalar(), Some("off" | "false")))
    }

    /// The named sections under `name`, in their order.
    pub(crate) fn sections(&self, name: &str) -> Vec<(&Name, &Node)> {
        match self.written(name) {
            Some((_, Node { value: Value::Map(entries), .. })) => {
                entries.iter().map(|(name, node)| (name, node)).collect()
            }
            Some((_, node)) if node.is_null() => Vec::new(),
            Some((_, node)) => {
                let message = format!("`{name}` must be a mapping from names, not {}", node.kind());
                self.report.error(node.spot, message, format!("write `{name}: {{ a-name: {{ … }} }}`"));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// The sections of the list under `name`, in their order.
    pub(crate) fn items(&self, name: &str) -> Vec<Reader<'_>> {
        let Shape::List(section) = self.key(name).shape else { panic!("{name} is no list") };
        match self.written(name) {
            Some((_, Node { value: Value::List(items), .. })) => {
                items.iter().map(|node| Reader::open(section, node.spot, Some(node), None, self.report)).collect()
            }
            Some((_, node)) => {
                let message = format!("`{name}` must be a list, not {}", node.kind());
                self.report.error(node.spot, message, "begin each entry with `- `");
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

fn at(text: &str, spot: Spot) -> At<String> {
    At { value: text.to_owned(), spot }
}

/// A default of the table as a node that stands at `at`.
pub(crate) fn default_node(text: &str, at: Spot) -> Option<Node> {
    fn move_to(node: &mut Node, at: Spot) {
        node.spot = at;
        match &mut node.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| move_to(item, at)),
            Value::Map(entries) => entries.iter_mut().for_each(|(name, node)| {
                name.spot = at;
                move_to(node, at);
            }),
        }
    }
    let source = crate::source::Source::new("default", text);
    let mut node = crate::tree::compose(text, &Report::new(&source))?;
    move_to(&mut node, at);
    Some(node)
}

fn check_keys(section: &'static Section, at: Spot, node: &Node, report: &Report<'_>) {
    let Value::Map(entries) = &node.value else { return };
    let has = |name: &str| node.get(name).is_some();
    for (name, _) in entries {
        let text = name.text.as_str();
        match section.key(text) {
            Some(key) if !key.beside.is_empty() && !key.beside.iter().any(|other| has(other)) => {
                let others = key.beside.iter().map(|other| format!("`{other}`")).collect::<Vec<_>>().join(" or ");
                report.error(name.spot, format!("`{text}` means something only beside {others}"), "remove it");
            }
            Some(_) => {}
            None if section.unbuilt.contains(&text) => {
                report.error(name.spot, format!("`{text}` is not built yet"), format!("remove `{text}`"));
            }
            None => {
                let known = section.keys.iter().map(|key| key.name);
                let fix = match nearest(text, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        let names: Vec<_> = section.keys.iter().map(|key| key.name).collect();
                        format!("{} has the keys {}", section.what, quoted(&names))
                    }
                };
                report.error(name.spot, format!("{} has no key `{}`", section.what, shown(text)), fix);
            }
        }
    }
    let chosen: Vec<_> = entries.iter().filter(|(name, _)| section.one_of.contains(&name.text.as_str())).collect();
    match chosen.as_slice() {
        // A misspelt or planned one was named, and has been reported.
        [] if entries.iter().any(|(name, _)| section.key(&name.text).is_none()) => {}
        [] if !section.one_of.is_empty() => {
            let fix = format!("write one of {}", quoted(section.one_of));
            report.error(at, format!("{} must say what it is", section.what), fix);
        }
        [(first, _), (second, _), ..] => {
            let message = format!("`{}` and `{}` exclude each other", first.text, second.text);
            report.error(second.spot, message, "write one of them; two need two entries");
        }
        _ => {}
    }
    for key in section.keys {
        let applies = key.beside.is_empty() || key.beside.iter().any(|other| has(other));
        if matches!(key.default, Otherwise::Required) && applies && !has(key.name) {
            let fix = format!("add `{}: {}`", key.name, key.shape.example());
            report.error(at, format!("{} needs `{}`", section.what, key.name), fix);
        }
    }
}
