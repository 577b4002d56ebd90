use super::*;
use crate::sample::{evidence, secs};
use crate::verdict::{Evidence, judge};

fn report(change: impl FnOnce(&mut Evidence)) -> Report {
    let mut evidence = evidence();
    change(&mut evidence);
    judge(evidence)
}

/// Two operations lost and hostile names everywhere.
fn hostile() -> Report {
    report(|e| {
        let evil = "<script>alert(1)</script>\"'&\x1b[31m";
        e.spec.name = evil.into();
        e.spec.app = evil.into();
        e.spec.replay = evil.into();
        e.spec.load.mix[0].path = evil.into();
        e.spec.invariants[0].name = evil.into();
        e.faults[0].1.error = Some(evil.into());
        e.history.operations[3].detail = Some(evil.into());
        e.history.operations[5].key = evil.into();
        e.residue = Ok(vec![mainstay_core::LeaseId(evil.into())]);
        let orders = e.final_state.as_mut().unwrap().audits.get_mut(&"order".parse().unwrap()).unwrap();
        orders["orders"].as_object_mut().unwrap().remove("d2a-1-000007");
    })
}

/// Every element that is opened is closed, in order, and no attribute or text breaks out.
fn check_well_formed(page: &str) {
    const VOID: [&str; 3] = ["meta", "link", "br"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a page begins with its type");
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').expect("every tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match tag.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None => {
                let name = tag.split(' ').next().unwrap();
                if !VOID.contains(&name) {
                    open.push(name);
                }
            }
        }
    }
    assert_eq!(open, [""; 0]);
}

fn keep(name: &str, report: &Report) {
    // For a look at the pages: DRILL_REPORT_DIR=/tmp/x cargo test -p mainstay-drill report
    if let Ok(folder) = std::env::var("DRILL_REPORT_DIR") {
        std::fs::write(format!("{folder}/{name}.html"), report.html()).unwrap();
        std::fs::write(format!("{folder}/{name}.txt"), report.text(true)).unwrap();
    }
}

#[test]
fn the_page_says_what_matters_and_needs_nothing_else() {
    let report = report(|_| {});
    keep("pass", &report);
    let page = report.html();
    check_well_formed(&page);
    for needed in [
        "PASS",
        "kill payment-2",
        "kill Mainstay itself",
        "masked",
        "no_lost_order",
        "0 lost",
        "fault 5",
        "(and 89 more)",
        "mainstay drill five-hurts --seed 42",
        "<svg",
        "prefers-color-scheme:dark",
        "width=device-width",
        "2026-11-23 20:06:27 UTC",
    ] {
        assert!(page.contains(needed), "{needed}");
    }
    for banned in ["<script", "http://", "https://", "url(", "@import", "src="] {
        assert!(!page.contains(banned), "{banned}");
    }
}

#[test]
fn nothing_that_is_put_in_breaks_out_of_the_page() {
    let report = hostile();
    keep("fail", &report);
    let page = report.html();
    check_well_formed(&page);
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;alert(1)"));
    assert!(page.contains("FAIL"));
}

#[test]
fn nothing_that_is_put_in_steers_the_terminal() {
    let text = hostile().text(false);
    assert!(!text.contains('\x1b'));
    let colored = hostile().text(true);
    assert!(!colored.contains("'&\x1b[31m"));
}

#[test]
fn a_report_of_nothing_is_a_report() {
    let nothing = judge(Evidence::nothing(&crate::sample::spec(), 0, "preflight: nobody answers".into()));
    keep("nothing", &nothing);
    assert_eq!((nothing.exit_code(), &nothing.residue), (2, &None), "nobody looked, so nobody knows");
    assert!(nothing.html().contains("not known"));
    check_well_formed(&nothing.html());
    assert!(nothing.text(false).contains("Nothing is proved: preflight: nobody answers"));
}

#[test]
fn the_terminal_shows_the_whole_story() {
    let text = report(|_| {}).text(false);
    for needed in ["PASS", "shop · five-hurts", "seed 42", "93.56 %", "masked", "no harm", "checked, 0 lost", "residue"]
    {
        assert!(text.contains(needed), "{needed} in\n{text}");
    }
    let widest = text.lines().map(|l| l.chars().count()).max().unwrap();
    assert!(widest <= 100, "{widest} columns:\n{text}");
}

#[test]
fn the_json_reads_back() {
    let report = report(|_| {});
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["verdict"], "PASS");
    assert_eq!(json["faults"][2]["detected"]["is"], "masked");
    assert_eq!(json["faults"][0]["detected"]["ms"], 8);
    assert_eq!(json["spec"]["seed"], 42);
    assert_eq!(json["series"].as_array().unwrap().len(), 180);
    let spec: Spec = serde_json::from_value(json["spec"].clone()).unwrap();
    assert_eq!(spec, report.spec);
}

#[test]
fn a_long_drill_still_fits_its_chart() {
    let long = report(|e| {
        e.ended = secs(3600.0);
        e.cleared = secs(3500.0);
    });
    assert_eq!(long.series.len(), 14_400);
    assert!(long.html().len() < 400_000);
}

#[test]
fn numbers_are_written_for_people() {
    use super::words;
    for (n, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(words::count(n), expected);
    }
    assert_eq!(words::percent(Some(0.999_99)), "99.99 %", "what is not whole is not shown as whole");
    assert_eq!(words::percent(Some(1.0)), "100 %");
    assert_eq!(words::gap(0), "< 1 ms");
    assert_eq!(words::gap(1250), "1.2 s");
}
