//! Whatever the bytes are: an answer with words, never a panic, never without end.

use std::path::Path;

use mainstay_config::{FILE_BYTES_MAX, explain, load, parse};

const SHOP: &str = include_str!("data/shop.yaml");
const ROUNDS: usize = 1200;
const SEED: u64 = 0x5eed;

/// What is spliced into good files.
const SPLICES: &[&str] = &[
    "",
    " ",
    "\n",
    "\t",
    "\r\n",
    ":",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "*a",
    "&a ",
    "!!str ",
    "<<: ",
    "\"",
    "'",
    "#",
    "|\n",
    "\0",
    "\u{feff}",
    "é",
    "🦀",
    "null",
    "~",
    "0",
    "-1",
    "1e400",
    "99999999999999999999",
    "10",
    "0s",
    "1000d",
    "1001d",
    "0%",
    "101%",
    "1..2",
    "$.",
    "$",
    "{key}",
    "/",
    "/*",
    "off",
    "true",
    "---\n",
    "...\n",
    "app",
    "order",
    "payment",
    "standard",
];

fn mutate(text: &str, rng: &mut fastrand::Rng) -> String {
    let mut text = text.to_owned();
    for _ in 0..rng.usize(1..6) {
        let ends: Vec<usize> = text.char_indices().map(|(i, _)| i).chain([text.len()]).collect();
        let (a, b) = (ends[rng.usize(..ends.len())], ends[rng.usize(..ends.len())]);
        let (a, b) = (a.min(b), a.max(b).min(a.min(b) + 40));
        let b = (a..=b).rev().find(|b| text.is_char_boundary(*b)).unwrap_or(a);
        let splice = SPLICES[rng.usize(..SPLICES.len())];
        match rng.u8(..4) {
            0 => text.replace_range(a..b, splice),
            1 => text.insert_str(a, splice),
            2 => text.replace_range(a..b, ""),
            _ => {
                // Whole lines wander.
                let mut lines: Vec<&str> = text.lines().collect();
                if lines.len() > 1 {
                    let (from, to) = (rng.usize(..lines.len()), rng.usize(..lines.len()));
                    let line = lines[from];
                    lines.insert(to, line);
                }
                text = lines.join("\n");
            }
        }
    }
    text
}

fn judge(text: &str) -> bool {
    match parse("mainstay.yaml", text, Path::new("/srv")) {
        Ok((plan, found)) => {
            found.iter().for_each(|d| drop(d.render(true)));
            let explained = explain(&plan);
            match parse("explained.yaml", &explained, Path::new("/srv")) {
                Ok((again, _)) => assert_eq!(plan, again, "{text}\n{explained}"),
                Err(found) => panic!("{}\n{text}\n{explained}", found[0]),
            }
            true
        }
        Err(found) => {
            assert!(!found.is_empty(), "refused without a word:\n{text}");
            for d in &found {
                let _ = d.render(true);
                assert!(d.message.chars().count() < 500, "{d}");
                assert!(d.line == 0 || text.lines().count() + 1 >= d.line, "{d}");
            }
            false
        }
    }
}

#[test]
fn no_mutation_makes_it_panic_and_what_passes_explains_itself() {
    let mut rng = fastrand::Rng::with_seed(SEED);
    let good = (0..ROUNDS).filter(|_| judge(&mutate(SHOP, &mut rng))).count();
    // Both outcomes must be met, or the mutations prove nothing.
    assert!(good > ROUNDS / 100 && good < ROUNDS, "{good} of {ROUNDS} were fine");
}

fn refused(text: &str, expected: &str) {
    let Err(found) = parse("mainstay.yaml", text, Path::new("/srv")) else { panic!("fine: {expected}") };
    assert!(found.iter().any(|d| d.to_string().contains(expected)), "{}", found[0]);
}

#[test]
fn limits_have_names_and_hold() {
    refused(&"#".repeat(FILE_BYTES_MAX + 1), "at most 1048576 are read");
    refused(&"[".repeat(10_000), "deeper than 32 levels");
    refused(&"- ".repeat(10_000), "deeper than 32 levels");
    refused("app: a\0b", "NUL");
    let bomb: String =
        (1..12).map(|i| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "))).collect();
    refused(&format!("a0: &a0 x\n{bomb}"), "more than 100000 values");
    let wide: String = (0..60_000).map(|i| format!("k{i}: 1\n")).collect();
    refused(&wide, "more than 100000 values");
    let wrong: String = (0..1000).map(|i| format!("k{i}: 1\n")).collect();
    refused(&format!("app: a\nservices: {{ a: {{ run: ./a }} }}\n{wrong}"), "900 more findings are not shown");
}

#[test]
fn a_file_is_looked_at_where_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mainstay.yaml");
    let said = |path: &Path| load(path).unwrap_err()[0].message.clone();
    assert_eq!(said(&path), "there is no such file");
    std::fs::write(&path, b"app: shop\nx: \xff\xfe\n").unwrap();
    assert_eq!(said(&path), "line 2 is not UTF-8 (byte 0xff)");
    assert!(said(dir.path()).starts_with("cannot be read"));
    assert_eq!(said(&dir.path().join("mainstay.toml")), "TOML is not read yet");

    std::fs::write(dir.path().join("notes"), "text").unwrap();
    std::fs::write(
        &path,
        "app: shop\nservices:\n  a: { run: ./notes }\n  b: { run: ./gone, dir: nowhere }\n  c: { run: sh -c true }\n  d: { run: no-such-program-anywhere }\nroutes: []\n",
    )
    .unwrap();
    let (plan, warnings) = load(&path).unwrap();
    let root = dir.path().canonicalize().unwrap();
    assert_eq!(plan.services[1].dir, root.join("nowhere"));
    assert_eq!(plan.services[2].command, ["sh", "-c", "true"]);
    let places: Vec<_> = plan.missing_programs().iter().map(|d| (d.line, d.message.clone())).collect();
    let root = root.display();
    assert_eq!(
        places,
        [
            (3, format!("`{root}/notes` may not be run")),
            (4, format!("there is no program `{root}/gone`")),
            (4, format!("there is no folder `{root}/nowhere`")),
            (6, "there is no program `no-such-program-anywhere` in $PATH".to_owned()),
        ]
    );
    assert_eq!(warnings.len(), places.len());
}

#[test]
fn the_first_file_works() {
    for app in ["shop", "My Shop!", "", "…", "1e5", "null"] {
        let text = mainstay_config::init_file(app);
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(judge(&text), "{text}");
    }
}
