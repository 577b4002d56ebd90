//! Observers that count: what was decided becomes a counter, in whichever library a program has.
//!
//! One counter says all: `mainstay_policy_events_total` with the labels `policy`, `name`, `event`, `reason` and
//! `enforced`. Detected and enforced stand side by side: a policy in shadow mode counts where `enforced` is `false`
//! what it would have done. Every label is of a closed list, but for `name`, which is what the program calls its
//! services; of those the first [`NAMES_MAX`] are told apart, so that whoever names a service after a user does not
//! fill the memory.
//!
//! Panic is a state and not only an event, so it has a gauge, too: `mainstay_policy_panic`, 1 while it lasts.

#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "prometheus-client")]
mod prometheus;

#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "prometheus-client")]
pub use self::prometheus::PrometheusObserver;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sync::{Mutex, lock};

/// Names that are told apart.
const NAMES_MAX: usize = 1000;
/// All others.
const OTHER: &str = "other";

/// What an event counts under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "prometheus-client", derive(prometheus_client::encoding::EncodeLabelSet))]
struct Labels {
    policy: &'static str,
    name: Arc<str>,
    event: &'static str,
    reason: &'static str,
    enforced: bool,
}

/// The names that were heard.
#[derive(Debug, Default)]
struct Names(Mutex<BTreeSet<Arc<str>>>);

impl Names {
    /// `name`, or [`OTHER`] where there are too many.
    fn known(&self, name: &str) -> Arc<str> {
        let mut names = lock(&self.0);
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        if names.len() >= NAMES_MAX {
            return OTHER.into();
        }
        let known: Arc<str> = name.into();
        names.insert(known.clone());
        known
    }
}

/// What both count: in one place, so that they cannot differ.
fn labels(names: &Names, name: &str, policy: crate::PolicyKind, event: &crate::Event) -> Labels {
    Labels {
        policy: policy.label(),
        name: names.known(name),
        event: event.label(),
        reason: event.reason(),
        enforced: event.enforced(),
    }
}

/// The name of the counter, without the `_total` that it ends with.
const EVENTS: &str = "mainstay_policy_events";
const EVENTS_HELP: &str = "What the request policies decided; not enforced is what they only would have done";
const PANIC: &str = "mainstay_policy_panic";
const PANIC_HELP: &str = "1 while too few endpoints of a service are usable";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Breaker, BreakerSettings, Clock, Env, Event, Health, Mode, Observer, PolicyKind, Reason};

    /// Ten failures open a breaker and two calls are turned away; in shadow mode they only would be. An endpoint is
    /// ejected, and there is panic.
    pub(super) fn events(observer: &Arc<impl Observer>) {
        for mode in [Mode::Enforce, Mode::Shadow] {
            let env = Env::new("payment").with_clock(Clock::manual().0).with_observer(observer.clone());
            let breaker = Breaker::new(BreakerSettings { mode, ..BreakerSettings::default() }, &env).unwrap();
            (0..10).for_each(|_| breaker.try_acquire().unwrap().record(Health::Failed));
            (0..2).for_each(|_| drop(breaker.try_acquire()));
        }
        let ejected = Event::Ejected { cause: "latency", length: Duration::from_secs(10), enforced: false };
        observer.event("stock", PolicyKind::Outlier, &ejected);
        observer.event("stock", PolicyKind::Outlier, &Event::Panic { on: true, enforced: true });
        observer.event("order", PolicyKind::Outlier, &Event::Panic { on: true, enforced: true });
        observer.event("order", PolicyKind::Outlier, &Event::Panic { on: false, enforced: true });
    }

    /// What must be read back: policy, name, event, reason, enforced, count.
    pub(super) const COUNTED: [(&str, &str, &str, &str, bool, u64); 8] = [
        ("breaker", "payment", "rejected", "breaker_open", false, 2),
        ("breaker", "payment", "rejected", "breaker_open", true, 2),
        ("breaker", "payment", "state", "open", false, 1),
        ("breaker", "payment", "state", "open", true, 1),
        ("eject", "order", "panic", "off", true, 1),
        ("eject", "order", "panic", "on", true, 1),
        ("eject", "stock", "ejected", "latency", false, 1),
        ("eject", "stock", "panic", "on", true, 1),
    ];

    #[test]
    fn names_without_end_share_one() {
        let names = Names::default();
        for n in 0..NAMES_MAX {
            assert_eq!(*names.known(&n.to_string()), *n.to_string());
        }
        assert_eq!(&*names.known("one more"), OTHER);
        assert_eq!(&*names.known("7"), "7");
    }

    #[test]
    fn reasons_are_codes() {
        let rejected = Event::Rejected { reason: Reason::Shed, enforced: true };
        assert_eq!((rejected.reason(), rejected.enforced()), ("shed", true));
        assert_eq!(Event::NotRetried { why: "unsafe" }.reason(), "unsafe");
        assert_eq!((Event::HedgeWon.reason(), Event::HedgeWon.enforced()), ("", true));
    }
}
