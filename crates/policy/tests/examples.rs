//! The examples run, and what they claim holds.

#[path = "../examples/axum.rs"]
mod axum_example;
#[path = "../examples/hyper.rs"]
mod hyper_example;

#[test]
fn axum() {
    axum_example::main().unwrap();
}

#[test]
fn hyper() {
    hyper_example::main().unwrap();
}
