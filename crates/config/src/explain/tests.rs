use std::path::Path;

use crate::{Plan, explain, parse};

const SHOP: &str = include_str!("../../tests/data/shop.yaml");
const SMALL: &str = "app: shop\nservices:\n  order: { run: ./order }\n";

fn plan(text: &str) -> Plan {
    match parse("mainstay.yaml", text, Path::new("/srv")) {
        Ok((plan, _)) => plan,
        Err(found) => panic!("{}\n{text}", found.iter().map(ToString::to_string).collect::<String>()),
    }
}

#[test]
fn what_is_explained_means_the_same() {
    for text in [SHOP, SMALL] {
        let first = plan(text);
        let again = plan(&explain(&first));
        assert_eq!(first, again);
        // Now everything is written, and it explains itself as the same values.
        let values = |text: &str| -> Vec<String> {
            text.lines().filter_map(|l| l.split(" # ").next()).map(|l| l.trim_end().to_owned()).skip(2).collect()
        };
        for (a, b) in values(&explain(&first)).iter().zip(values(&explain(&again))) {
            assert_eq!(*a, b);
        }
    }
}

/// The whole text for the smallest file, and the whole plan: every default of the project in one place.
#[test]
fn the_smallest_file_word_for_word() {
    check("explain-small.yaml", &explain(&plan(SMALL)));
    check("plan-small.txt", &format!("{:#?}\n", plan(SMALL)));
}

/// `MAINSTAY_BLESS=1 cargo test -p mainstay-config` writes the file anew.
fn check(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(file);
    if std::env::var_os("MAINSTAY_BLESS").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    assert_eq!(actual, std::fs::read_to_string(&path).unwrap(), "{file}");
}

#[test]
fn what_a_policy_leaves_open_comes_from_standard() {
    let plan = plan(SHOP);
    let careful = &plan.policies["careful"];
    // Written, from `standard`, built in: also within `retry`.
    assert_eq!((careful.timeout.as_secs(), careful.body_idle.as_secs()), (3, 60));
    let retry = careful.retry.unwrap();
    assert_eq!((retry.attempts, retry.budget.to_string(), retry.floor.per_second()), (3, "25%".to_owned(), 3.0));
    assert_eq!(plan.policies["plain"].timeout.as_secs(), 8);
    assert_eq!((plan.policies["plain"].retry, plan.policies["plain"].eject), (None, None));
    assert!(explain(&plan).contains("budget: 25%                                # from policy `standard`"));
}

#[test]
fn shares_of_a_mix_make_the_whole() {
    let plan = plan(SHOP);
    let shares: Vec<_> = plan.drills[0].load.mix.iter().map(|o| o.share.points()).collect();
    assert_eq!(shares, [7000, 1500, 1500]);
    let body = plan.drills[0].load.mix[0].body.as_deref().unwrap();
    assert_eq!(body, r#"{"order_id":"{key}","sku":"lamp","quantity":1,"card":"4242","amount_cents":1999}"#);
}
