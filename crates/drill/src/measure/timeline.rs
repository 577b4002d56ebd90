//! The service level over time, and when users are served well again.
//!
//! Users are served well from `t` on when the window that starts at `t`, and every later one until the hold is over,
//! has its share of good answers. A window without arrivals is not good: nobody was served. The hold reaches to the
//! end of the fault at least, so that a fault that bites late is not called harmless, and it is cut short by the next
//! fault, which is not this one's doing.

use std::time::Duration;

use super::SERIES_STEP;
use crate::history::Op;
use crate::report::Recovery;
use crate::spec::Windows;

/// When operations were due and whether they were good, for quick counting.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    due: Vec<Duration>,
    /// `good[n]`: the good ones among the first `n`.
    good: Vec<u64>,
}

impl Timeline {
    pub(crate) fn new(ops: &[Op]) -> Self {
        let mut pairs: Vec<(Duration, bool)> = ops.iter().map(|op| (op.due, op.good)).collect();
        pairs.sort();
        let mut good = Vec::with_capacity(pairs.len() + 1);
        good.push(0);
        for (_, is_good) in &pairs {
            good.push(good.last().copied().unwrap_or(0) + u64::from(*is_good));
        }
        Self { due: pairs.into_iter().map(|(due, _)| due).collect(), good }
    }

    /// Arrivals and good ones from `from` until just before `to`.
    pub(crate) fn count(&self, from: Duration, to: Duration) -> (u64, u64) {
        let first = self.due.partition_point(|due| *due < from);
        let last = self.due.partition_point(|due| *due < to).max(first);
        ((last - first) as u64, self.good[last] - self.good[first])
    }

    fn window_is_good(&self, from: Duration, windows: &Windows) -> bool {
        let (all, good) = self.count(from, from + windows.window.0);
        all > 0 && good * 10_000 >= all * u64::from(windows.good.points())
    }

    /// Whether every window within `from..to` is good.
    pub(crate) fn stays_good(&self, from: Duration, to: Duration, windows: &Windows) -> bool {
        self.first_bad(from, to.saturating_sub(windows.window.0), windows).is_none()
    }

    /// Start of the first bad window among those that start from `from` to `last`.
    fn first_bad(&self, from: Duration, last: Duration, windows: &Windows) -> Option<Duration> {
        let mut at = from;
        loop {
            if !self.window_is_good(at, windows) {
                return Some(at);
            }
            at += SERIES_STEP;
            if at > last {
                return None;
            }
        }
    }

    /// When users were served well after a fault at `from` that lasted until `until`, looking no further than
    /// `horizon`.
    pub(crate) fn recovery(&self, from: Duration, until: Duration, horizon: Duration, windows: &Windows) -> Recovery {
        if horizon < from + windows.window.0 {
            return Recovery::NotMeasured;
        }
        let latest = horizon - windows.window.0;
        let mut at = from;
        while at <= latest {
            let last = (at + windows.hold.0).max(until).min(latest);
            match self.first_bad(at, last, windows) {
                Some(bad) => at = bad + SERIES_STEP,
                None if at == from => return Recovery::NoHarm,
                None => return Recovery::After((at - from).as_millis() as u64),
            }
        }
        Recovery::NotRecovered
    }
}
