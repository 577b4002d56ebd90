//! How many retries there may be, so that a service in trouble is not buried by those who try to help themselves.
//!
//! **The problem.** Retries heal single failures and feed outages: when everything fails, two retries each make three
//! times the load, and that at the worst moment. A limit per request cannot help, because it does not know of others.
//!
//! **The rule.** Every first attempt deposits a share of a token (0.2) and every retry or hedge takes a whole one,
//! both remembered for ten seconds; a floor (3 a second) lets services with little traffic retry at all. So in a total
//! outage a service sees at most 1.2 times its load. Besides, at most a share of the requests that are active *now*
//! may be retries, those that wait in back-off included: tokens saved in quiet seconds must not all be spent in one
//! bad moment. There is one budget for each service, shared by all who send to it.
//!
//! **When it is used up** no retry is sent, the answer that would have been retried goes back as it is, and it says
//! that no layer above shall retry either. **It recovers** as withdrawals are forgotten, second by second. **Cold
//! start**: the floor is there from the beginning.
//!
//! **Three ways in which others went wrong**, and which are tested here: a share kept as a float reciprocal became
//! 100 % on its way (tower#857), so everything is counted in thousandths; retries that deposit let a budget feed
//! itself, and budgets that count only what succeeds shrink when requests fail together (envoy-mobile#811), so first
//! attempts deposit when they begin, and nothing else does; back-off that is counted at one end only leaks
//! (envoy#30205), so a retry is counted from the decision until its [`RetryPermit`] is dropped. What turned out never
//! to have been sent is given back.
//!
//! **What it costs.** Nearly all requests begin and end and never retry, so these two only count, each thread on its
//! own cache line, and do not look at the clock: most deposits have no date. Whoever does look (every withdrawal, and
//! each thread once in a while) and finds that a new second has begun adds up what the threads have counted and dates
//! it: all that was not dated before belongs to a second that has passed, and is taken to be as old as it can be.
//! So the budget is never larger than if every deposit had its date. How often a thread looks follows from its
//! traffic: at every request where requests are rare, at every 64th where they are many, but never after more
//! requests than it has had since it last saw a new second. So it is smaller by at most 63 deposits for each thread.

mod ledger;
mod settings;

use std::fmt;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use self::ledger::Ledger;
pub use self::settings::BudgetSettings;
use crate::observe::Env;
use crate::stripe::{Held, Shared, Striped, Writers};
use crate::sync::{AtomicU64, Mutex, Ordering, lock};
use crate::{Clock, SettingsError, Share};

/// Requests that a thread begins at most before it looks at the clock again.
const STRIDE_MAX: u64 = 64;

/// The budget for the retries and hedges of one service. Clones are the same budget.
#[derive(Clone)]
pub struct RetryBudget(Shared<Core>);

struct Core {
    clock: Clock,
    tallies: Striped<Tally>,
    // The second that the ledger has reached, to see without the lock that a new one has begun.
    second: AtomicU64,
    // On lines of its own, so that who withdraws does not slow down who begins.
    ledger: CachePadded<Mutex<Ledger>>,
}

/// What one thread has counted.
#[derive(Debug, Default)]
struct Tally {
    begun: AtomicU64,
    ended: AtomicU64,
    /// The number of begun requests at which it looks at the clock.
    look_at: AtomicU64,
    stride: AtomicU64,
    looked: AtomicU64,
}

/// Counts requests. Every `begin` has its `end`.
pub(crate) struct Tallies(Arc<Core>);

impl Tallies {
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.begin();
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.0.end();
    }
}

/// A request that runs, with all its attempts. Dropped, it has ended.
#[must_use = "a request that is dropped at once has ended at once"]
pub struct Active(Held<Core>);

/// A retry that was allowed. It counts as running until it is dropped.
#[must_use = "a permit that is dropped at once allows nothing and costs a token"]
pub struct RetryPermit {
    core: Held<Core>,
    second: u64,
    sent: bool,
}

impl RetryBudget {
    /// A budget that has seen nothing yet: the floor is there from the start.
    pub fn new(settings: BudgetSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let ledger = Ledger::new(settings);
        Ok(Self(Shared::new(Core {
            clock: env.clock().clone(),
            tallies: Striped::new(Tally::default),
            second: AtomicU64::new(0),
            ledger: CachePadded::new(Mutex::new(ledger)),
        })))
    }

    /// Other figures from now on, also for what was counted before.
    pub fn set_settings(&self, settings: BudgetSettings) -> Result<(), SettingsError> {
        settings.check()?;
        lock(&self.0.ledger).set_settings(settings);
        Ok(())
    }

    /// A request begins with its first attempt, which deposits. A request is begun once, by whoever sees it first.
    #[inline]
    pub fn begin(&self) -> Active {
        let core = self.0.hold();
        core.begin();
        Active(core)
    }

    /// For one who keeps the budget alive by himself, and so needs no [`Active`].
    pub(crate) fn tallies(&self) -> Tallies {
        Tallies(self.0.keep())
    }

    /// Asks for a retry or a hedge, at the moment of the decision, before any back-off.
    pub fn try_withdraw(&self) -> Option<RetryPermit> {
        let core = &*self.0;
        let active = core.active();
        core.with_ledger(|ledger| ledger.withdraw(active)).map(|second| RetryPermit {
            core: self.0.hold(),
            second,
            sent: true,
        })
    }

    /// What may be retried now, in thousandths of a retry.
    pub fn remaining_milli(&self) -> u64 {
        self.0.with_ledger(|ledger| ledger.remaining_milli())
    }

    /// What remains of what there would be if nothing had been withdrawn. Of nothing, nothing.
    pub fn level(&self) -> Share {
        self.0.with_ledger(|ledger| ledger.level())
    }

    /// Retries and hedges that were allowed and have not ended.
    pub fn retrying(&self) -> u32 {
        lock(&self.0.ledger).retrying()
    }

    /// Requests that have begun and not ended.
    pub fn active(&self) -> u64 {
        self.0.active()
    }
}

impl Core {
    #[inline]
    fn begin(&self) {
        let (tally, writers) = self.tallies.mine();
        if tally.begun.load(Ordering::Relaxed) >= tally.look_at.load(Ordering::Relaxed) {
            // Before it is counted, so that this deposit has its own date.
            self.look(tally);
        }
        count(&tally.begun, writers);
    }

    #[inline]
    fn end(&self) {
        let (tally, writers) = self.tallies.mine();
        count(&tally.ended, writers);
    }

    /// Looks at the clock, and decides when this thread looks again.
    #[cold]
    fn look(&self, tally: &Tally) {
        let second = self.clock.now().as_secs();
        if second > self.second.load(Ordering::Relaxed) {
            self.with_ledger_at(second, |_| ());
        }
        let stride = match tally.looked.swap(second, Ordering::Relaxed) {
            before if before < second => 1,
            _ => (tally.stride.load(Ordering::Relaxed) * 2).clamp(1, STRIDE_MAX),
        };
        tally.stride.store(stride, Ordering::Relaxed);
        tally.look_at.store(tally.begun.load(Ordering::Relaxed) + stride, Ordering::Relaxed);
    }

    fn with_ledger<T>(&self, then: impl FnOnce(&mut Ledger) -> T) -> T {
        self.with_ledger_at(self.clock.now().as_secs(), then)
    }

    /// The ledger, in `second`, with all that was begun until now.
    fn with_ledger_at<T>(&self, second: u64, then: impl FnOnce(&mut Ledger) -> T) -> T {
        let mut ledger = lock(&self.ledger);
        let begun = self.tallies.iter().map(|tally| tally.begun.load(Ordering::Relaxed)).sum();
        ledger.turn(second, begun);
        self.second.store(ledger.second(), Ordering::Relaxed);
        then(&mut ledger)
    }

    fn active(&self) -> u64 {
        active(|| self.tallies.iter())
    }
}

/// Ends are read before beginnings: what has ended had begun, so there are never more of them.
fn active<'t, I: Iterator<Item = &'t Tally>>(tallies: impl Fn() -> I) -> u64 {
    let ended: u64 = tallies().map(|tally| tally.ended.load(Ordering::Acquire)).sum();
    let begun: u64 = tallies().map(|tally| tally.begun.load(Ordering::Acquire)).sum();
    begun.saturating_sub(ended)
}

/// Release, because an end must not be seen before its beginning.
#[inline]
fn count(counter: &AtomicU64, writers: Writers) {
    match writers {
        Writers::Sole => counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release),
        Writers::Many => {
            counter.fetch_add(1, Ordering::Release);
        }
    }
}

impl Drop for Active {
    #[inline]
    fn drop(&mut self) {
        self.0.end();
    }
}

impl RetryPermit {
    /// Not a byte of the retry was sent: its token comes back.
    pub fn refund(mut self) {
        self.sent = false;
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        let (second, sent) = (self.second, self.sent);
        if sent {
            lock(&self.core.ledger).settle();
        } else {
            self.core.with_ledger(|ledger| ledger.refund(second));
        }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("remaining_milli", &self.remaining_milli())
            .field("retrying", &self.retrying())
            .field("active", &self.active())
            .finish()
    }
}

impl fmt::Debug for Active {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Active")
    }
}

impl fmt::Debug for RetryPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPermit").field("second", &self.second).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

#[cfg(all(test, mainstay_loom))]
mod models {
    use super::*;
    use loom::sync::Arc;

    #[test]
    fn no_request_is_seen_to_end_before_it_begins() {
        loom::model(|| {
            let tallies: Arc<[Tally; 2]> = Arc::new([Tally::default(), Tally::default()]);
            let other = tallies.clone();
            let thread = loom::thread::spawn(move || {
                // Begun on one thread, ended on another.
                count(&other[0].begun, Writers::Sole);
                let others = other.clone();
                loom::thread::spawn(move || count(&others[1].ended, Writers::Many)).join().unwrap();
            });
            let ended: u64 = tallies.iter().map(|tally| tally.ended.load(Ordering::Acquire)).sum();
            let begun: u64 = tallies.iter().map(|tally| tally.begun.load(Ordering::Acquire)).sum();
            assert!(ended <= begun, "{ended} of {begun}");
            thread.join().unwrap();
            assert_eq!(active(|| tallies.iter()), 0);
        });
    }
}
