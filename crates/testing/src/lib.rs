//! Mock upstreams, waiting, seeds, tools and a browser: what the tests of several crates need alike.
//!
//! Everything is started by the test that uses it, on a free port of 127.0.0.1, and ends when its handle is dropped.
//! Helpers panic where a test would: a failed helper is a failed test, with the place of the caller where that helps.

mod chrome;
mod eventually;
mod seeds;
mod tools;
mod upstream;

pub use chrome::Chrome;
pub use eventually::{eventually, eventually_some};
pub use seeds::{SEED_VARIABLE, seeds};
pub use tools::{REQUIRE_VARIABLE, require};
pub use upstream::{Recorded, Reply, Upstream, Wire};
