use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn settings(failures: u32, successes: u32) -> Settings {
    Settings { failure_threshold: failures, success_threshold: successes, ..Settings::default() }
}

/// `samples`: `+` success, `-` failure, `?` error of the prober.
/// `verdicts`: after each sample `S`, `F` or `U`, in capitals where it has just changed.
#[track_caller]
fn check(kind: Kind, failures: u32, successes: u32, samples: &str, verdicts: &str) {
    let mut probe = Probe::new(kind, settings(failures, successes));
    let mut seen = String::new();
    for sample in samples.chars() {
        let changed = probe.observe(sample_of(sample));
        if let Some(verdict) = changed {
            assert_eq!(verdict, probe.verdict(), "the answer and the state agree");
        }
        let letter = match probe.verdict() {
            Verdict::Success => 's',
            Verdict::Failure => 'f',
            Verdict::Unknown => 'u',
        };
        seen.push(if changed.is_some() { letter.to_ascii_uppercase() } else { letter });
    }
    assert_eq!(seen, verdicts, "{kind:?} {samples}");
}

fn sample_of(letter: char) -> Sample {
    match letter {
        '+' => Sample::Success,
        '-' => Sample::Failure,
        '?' => Sample::ProberError,
        other => panic!("no sample is written {other}"),
    }
}

#[test]
fn a_verdict_changes_only_after_a_row() {
    use Kind::{Live, Ready, Startup};
    // Ready starts as failed and turns with the first success.
    check(Ready, 3, 1, "+", "S");
    check(Ready, 3, 1, "----", "ffff");
    check(Ready, 3, 1, "+--+---+", "SsssssFS");
    check(Ready, 3, 2, "+-++", "fffS");
    check(Ready, 1, 3, "+++-+++", "ffSFffS");
    // Live starts as succeeded, and its row starts anew after a failure.
    check(Live, 3, 1, "--", "ss");
    check(Live, 3, 1, "---", "ssF");
    check(Live, 3, 1, "--+---", "sssssF");
    check(Live, 2, 1, "--+--", "sFSsF");
    check(Live, 1, 1, "-", "F");
    // Startup starts as unknown.
    check(Startup, 3, 1, "--+", "uuS");
    check(Startup, 3, 1, "---", "uuF");
}

#[test]
fn an_error_of_the_prober_neither_counts_nor_breaks_a_row() {
    check(Kind::Live, 3, 1, "-?-?-", "ssssF");
    check(Kind::Live, 3, 1, "?????", "sssss");
    check(Kind::Ready, 3, 2, "+?+", "ffS");
    check(Kind::Startup, 3, 1, "??-?", "uuuu");
}

#[test]
fn failures_in_a_row_are_told() {
    let mut probe = Probe::new(Kind::Ready, settings(3, 1));
    let rows: Vec<u32> = "--?-+-"
        .chars()
        .map(|c| {
            probe.observe(sample_of(c));
            probe.failures_in_row()
        })
        .collect();
    assert_eq!(rows, [1, 2, 2, 3, 0, 1]);
    probe.reset();
    assert_eq!(probe, Probe::new(Kind::Ready, settings(3, 1)));
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let ok = Settings::default();
    let refused = |kind, s: Settings| s.validate(kind).map_err(|e| e.to_string());
    for kind in Kind::ALL {
        assert_eq!(ok.validate(kind), Ok(()));
        assert!(refused(kind, Settings { period: Duration::ZERO, ..ok }).is_err());
        assert!(refused(kind, Settings { timeout: Duration::ZERO, ..ok }).is_err());
        assert!(refused(kind, Settings { timeout: Duration::from_secs(3601), ..ok }).is_err());
        assert!(refused(kind, Settings { failure_threshold: 0, ..ok }).is_err());
    }
    assert_eq!(settings(3, 2).validate(Kind::Ready), Ok(()));
    assert_eq!(
        refused(Kind::Live, settings(3, 2)).unwrap_err(),
        "live probe: success_threshold must be 1; only a ready probe may ask for more"
    );
}

#[test]
fn the_first_probe_of_an_adopted_process_is_jittered_within_a_period() {
    let s = Settings { initial_delay: Duration::from_secs(5), ..Settings::default() };
    let ms = Duration::from_millis;
    for (age, spread, draw, expected) in [
        (ms(0), ms(0), 0.9, ms(5000)),
        (ms(2000), ms(0), 0.9, ms(3000)),
        (ms(9000), ms(0), 0.9, ms(0)),
        (ms(9000), ms(1000), 0.5, ms(500)),
        (ms(9000), ms(60_000), 1.0, ms(1000)),
    ] {
        assert_eq!(s.first_after(age, spread, draw), expected, "{age:?} {spread:?} {draw}");
    }
}

fn any_sample() -> impl Strategy<Value = Sample> {
    prop_oneof![3 => Just(Sample::Success), 3 => Just(Sample::Failure), 1 => Just(Sample::ProberError)]
}

proptest! {
    /// The machine against the rule as one would say it: the verdict is that of the last row long enough.
    #[test]
    fn the_machine_does_what_the_sentence_says(
        samples in prop::collection::vec(any_sample(), 0..60),
        failures in 1u32..5,
        successes in 1u32..5,
    ) {
        let mut probe = Probe::new(Kind::Ready, settings(failures, successes));
        let mut counted: Vec<Sample> = Vec::new();
        let mut expected = Verdict::Failure;
        for sample in samples {
            probe.observe(sample);
            if sample != Sample::ProberError {
                counted.push(sample);
                let row = counted.iter().rev().take_while(|s| **s == sample).count() as u32;
                match sample {
                    Sample::Success if row >= successes => expected = Verdict::Success,
                    Sample::Failure if row >= failures => expected = Verdict::Failure,
                    _ => {}
                }
            }
            prop_assert_eq!(probe.verdict(), expected);
        }
    }

    /// Without a row of failures as long as the threshold nothing is ever restarted.
    #[test]
    fn live_never_fails_without_a_full_row(samples in prop::collection::vec(any_sample(), 0..200)) {
        let mut probe = Probe::new(Kind::Live, settings(3, 1));
        let mut row = 0;
        for sample in samples {
            row = match sample { Sample::Failure => row + 1, Sample::Success => 0, Sample::ProberError => row };
            if probe.observe(sample) == Some(Verdict::Failure) {
                prop_assert!(row >= 3);
            }
        }
    }
}
