use super::*;

fn sample(cpu_us: f64) -> Sample {
    Sample {
        requests: 1000.0,
        seconds: 2.0,
        cpu_us,
        user_us: cpu_us / 10.0,
        p50_us: 900.0,
        p99_us: 1800.0,
        busy: 0.9,
        foreign: 0.0,
        errors: 0.0,
        first_error: String::new(),
        opened: 0.0,
        opened_before: 64.0,
    }
}

fn series(proxy: Proxy, cpu_us: &[f64]) -> Series {
    Series { proxy, case: Case::Get1k, samples: cpu_us.iter().copied().map(sample).collect() }
}

#[test]
fn goals_are_judged_by_the_median_of_the_pairs() {
    let all = [
        series(Proxy::Ours, &[10.0, 20.0, 10.0]),
        series(Proxy::Nginx, &[12.0, 24.0, 9.0]),
        series(Proxy::Haproxy, &[12.0, 24.0, 12.0]),
    ];
    let goals = goals(&all);
    assert_eq!(goals[0], "nginx ÷ ours at GET 1 KiB ≥ 1.15: 1.20, holds");
    assert_eq!(goals[1], "haproxy ÷ ours at GET 1 KiB ≥ 1.30: 1.20, does not hold");
    assert_eq!(goals.len(), 2, "nothing is said about what was not there");
}

#[test]
fn the_table_shows_medians_and_spread() {
    let all = [series(Proxy::Ours, &[10.0, 12.0, 11.0]), series(Proxy::Nginx, &[20.0, 24.0, 22.0])];
    let table = table(&all);
    assert!(table.contains("11.0 (10.0–12.0)"), "{table}");
    assert!(table.contains("2.00 (2.00–2.00)"), "{table}");
    assert!(table.contains("64+0"), "{table}");
}

#[test]
fn errors_are_told_with_the_first_of_them() {
    let mut failing = series(Proxy::Nginx, &[10.0, 10.0]);
    failing.samples[1].errors = 3.0;
    failing.samples[1].first_error = "answered: HTTP/1.1 502 Bad Gateway".to_owned();
    assert_eq!(errors(&[series(Proxy::Ours, &[10.0])]), Vec::<String>::new());
    assert_eq!(errors(&[failing]), ["nginx, GET 1 KiB: 3 errors, the first: answered: HTTP/1.1 502 Bad Gateway"]);
}

#[test]
fn json_holds_every_round() {
    let all = [series(Proxy::Ours, &[10.0, 12.0, 11.0])];
    let json = json(&all);
    assert_eq!(json[0]["cpu_us"]["median"], 11.0);
    assert_eq!(json[0]["rounds"].as_array().map(Vec::len), Some(3));
}
