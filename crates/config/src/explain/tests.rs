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
