//! What the run measured: pure functions over the history, the faults and the events.

mod detect;
mod level;
mod timeline;

use std::time::Duration;

pub(crate) use detect::{Attribution, fault_report};
pub(crate) use level::{Parts, levels, load_report, series};
pub(crate) use timeline::Timeline;

/// Width of one sample of the service level curve, and how finely recovery is looked for.
pub const SERIES_STEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
