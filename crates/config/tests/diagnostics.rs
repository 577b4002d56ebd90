//! What is said of files that are wrong, word for word: `data/diagnostics.txt` holds the files and the answers.
//!
//! A changed message is looked at as a difference in that file: `MAINSTAY_BLESS=1 cargo test -p mainstay-config`
//! writes the answers anew.

use std::path::Path;

use mainstay_config::{Diagnostic, parse};

const CASES: &str = include_str!("data/diagnostics.txt");
const BETWEEN_CASES: &str = "\n=====\n";
const BEFORE_ANSWER: &str = "\n-----\n";

fn render(found: &[Diagnostic]) -> String {
    found.iter().map(ToString::to_string).collect()
}

/// What is said of `yaml`, warnings of a good file included.
fn answer(yaml: &str) -> String {
    let yaml = yaml.replace("<CR>", "\r").replace("<TAB>", "\t").replace("<BOM>", "\u{feff}");
    match parse("mainstay.yaml", &yaml, Path::new("/srv/shop")) {
        Ok((_, found)) => format!("fine\n{}", render(&found)),
        Err(found) => {
            assert!(!found.is_empty(), "refused without a word:\n{yaml}");
            render(&found)
        }
    }
}

fn check(yaml: &str, expected: &str) {
    assert_eq!(answer(yaml).trim_end(), expected.trim_end(), "\n{yaml}");
}

#[test]
fn every_mistake_is_named_with_its_place_and_its_fix() {
    let cases: Vec<(&str, &str)> = CASES
        .trim_end()
        .split(BETWEEN_CASES)
        .map(|case| case.split_once(BEFORE_ANSWER).unwrap_or((case, "")))
        .collect();
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        let blessed: Vec<_> =
            cases.iter().map(|(yaml, _)| format!("{yaml}{BEFORE_ANSWER}{}", answer(yaml).trim_end())).collect();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/diagnostics.txt");
        std::fs::write(path, blessed.join(BETWEEN_CASES) + "\n").unwrap();
        return;
    }
    for (yaml, expected) in cases {
        check(yaml, expected);
    }
}

#[test]
fn json_is_read_too() {
    check(r#"{"app":"shop","services":{"order":{"run":["./order"],"replicas":2}}}"#, "fine");
}

#[test]
fn colour_changes_no_word() {
    let found = parse("mainstay.yaml", "app: shop\nservces: {}\n", Path::new("/")).unwrap_err();
    let plain = found[0].render(false);
    let mut stripped = found[0].render(true);
    while let Some(start) = stripped.find('\u{1b}') {
        let end = start + stripped[start..].find('m').unwrap();
        stripped.replace_range(start..=end, "");
    }
    assert_eq!(plain, stripped);
    assert!(found[0].render(true).contains("\u{1b}[1;31merror"));
}

#[test]
fn the_same_as_json() {
    let found =
        parse("mainstay.yaml", "app: shop\nservices: { a: { run: ./a, replica: 2 } }\n", Path::new("/")).unwrap_err();
    assert_eq!(
        serde_json::to_value(&found[0]).unwrap(),
        serde_json::json!({
            "severity": "error", "file": "mainstay.yaml", "line": 2, "column": 28, "width": 7,
            "source_column": 28, "source": "services: { a: { run: ./a, replica: 2 } }",
            "message": "a service has no key `replica`", "fix": "did you mean `replicas`?",
        })
    );
}
