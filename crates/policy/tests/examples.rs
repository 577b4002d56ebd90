//! The examples run, and what they claim holds.

#[path = "../examples/axum.rs"]
mod axum_example;
#[path = "../examples/hyper.rs"]
mod hyper_example;
#[path = "../examples/reqwest.rs"]
mod reqwest_example;
#[path = "../examples/tonic.rs"]
mod tonic_example;

#[test]
fn axum() {
    axum_example::main().unwrap();
}

#[test]
fn hyper() {
    hyper_example::main().unwrap();
}

#[test]
fn reqwest() {
    reqwest_example::main().unwrap();
}

#[test]
fn tonic() {
    tonic_example::main().unwrap();
}
