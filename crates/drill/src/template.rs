//! Requests with holes: `{key}`, `{int:1..5}`, `{pick:a|b}`. Every other brace stands for itself, so that a JSON body
//! is written as it is.

use fastrand::Rng;

/// A text with holes, read once and filled many times.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Key,
    Int(i64, i64),
    Pick(Vec<String>),
}

/// A hole that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{{{hole}}}' cannot be filled: write {{key}}, {{int:1..5}} or {{pick:a|b}}")]
pub(crate) struct TemplateError {
    hole: String,
}

impl Template {
    /// Reads `text`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let inner = &from[1..];
            let is_hole = inner.starts_with("key}") || inner.starts_with("int:") || inner.starts_with("pick:");
            if !is_hole {
                plain.push('{');
                rest = inner;
                continue;
            }
            let Some((hole, after)) = inner.split_once('}') else {
                return Err(TemplateError { hole: inner.chars().take(40).collect() });
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(read_hole(hole).ok_or_else(|| TemplateError { hole: hole.into() })?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Fills the holes.
    pub(crate) fn fill(&self, key: &str, rng: &mut Rng) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Key => out.push_str(key),
                Piece::Int(from, to) => out.push_str(&rng.i64(*from..=*to).to_string()),
                Piece::Pick(words) => out.push_str(&words[rng.usize(0..words.len())]),
            }
        }
        out
    }
}

fn read_hole(hole: &str) -> Option<Piece> {
    if hole == "key" {
        return Some(Piece::Key);
    }
    if let Some(range) = hole.strip_prefix("int:") {
        let (from, to) = range.split_once("..")?;
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        return (from <= to).then_some(Piece::Int(from, to));
    }
    let words = hole.strip_prefix("pick:")?.split('|').map(str::to_owned).collect();
    Some(Piece::Pick(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let filled = Template::parse(text).map(|t| t.fill("k1", &mut Rng::with_seed(1)));
        match expected {
            Ok(expected) => assert_eq!(filled.as_deref(), Ok(expected)),
            Err(hole) => assert_eq!(filled, Err(TemplateError { hole: hole.into() })),
        }
    }

    #[test]
    fn holes_are_filled_and_other_braces_stay() {
        check("", Ok(""));
        check(r#"{"a":{"id":"{key}"},"n":{int:3..3}}"#, Ok(r#"{"a":{"id":"k1"},"n":3}"#));
        check("/x/{pick:only}/{keys}{", Ok("/x/only/{keys}{"));
        check("{int:5..1}", Err("int:5..1"));
        check("{int:a..b}", Err("int:a..b"));
        check("{pick:a|b", Err("pick:a|b"));
    }

    #[test]
    fn numbers_and_words_stay_within_what_was_asked_for() {
        let template = Template::parse("{int:-1..1} {pick:a|b}").unwrap();
        let mut rng = Rng::with_seed(7);
        let seen: std::collections::BTreeSet<_> = (0..500).map(|_| template.fill("", &mut rng)).collect();
        assert_eq!(seen.len(), 6, "{seen:?}");
    }
}
