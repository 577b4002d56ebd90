//! Request policies as pure state machines: retries, budgets, back-off, ejection, balancing.
//!
//! Nothing here knows a runtime, a clock or a random source: time and randomness are arguments, so that the same
//! machines run in a proxy, in a Tower stack, under a paused clock and in a simulation that must repeat exactly.
//! Nothing here locks, and nothing allocates while requests flow.
//!
//! Time is a [`Moment`]: what has passed since a start that the caller chooses and never changes. It must not go
//! backwards; where it does, the machines take it as standing still.
//!
//! ```
//! use std::time::Duration;
//! use mainstay_policy::{Backoff, BudgetOptions, RetryBudget};
//!
//! let mut budget = RetryBudget::new(BudgetOptions::default());
//! let now = Duration::from_secs(1);
//! budget.begin(now); // a first attempt
//! let permit = budget.withdraw(now).expect("the floor allows it");
//! budget.settle(permit, now); // the retry ended
//! let wait = Backoff::default().delay(0, &mut fastrand::Rng::with_seed(7));
//! assert!(wait <= Duration::from_millis(25));
//! # budget.end();
//! ```

mod backoff;
mod balance;
mod budget;
mod outlier;
mod retry;

pub use backoff::Backoff;
pub use balance::{PeakEwma, pick_two};
pub use budget::{BudgetOptions, RetryBudget, RetryPermit};
pub use outlier::{Admission, Change, Failure, Outlier, OutlierOptions, Probe};
pub use retry::{Denied, Evidence, Repeatable, RetryClass, classify, status_may_be_retried};

/// What has passed since a start that the caller chooses.
pub type Moment = std::time::Duration;
