//! What went wrong, whose decision it was, and whether sending it again is safe.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

macro_rules! reasons {
    ($($variant:ident $code:literal $help:literal;)+) => {
        /// Why a policy answered in place of the service: a closed list of stable codes.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $(#[doc = $help] $variant),+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The stable code, as in metrics and headers: `breaker_open`.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }
            /// One sentence for a person.
            pub const fn message(self) -> &'static str {
                match self { $(Reason::$variant => $help),+ }
            }
        }
    };
}

reasons! {
    BreakerOpen "breaker_open" "The breaker of the service is open.";
    BulkheadFull "bulkhead_full" "Too many requests to the service are in flight.";
    QueueTimeout "queue_timeout" "The request waited too long for its turn.";
    RateLimited "rate_limited" "The rate limit is used up.";
    Shed "shed" "Load was shed to protect what is more important.";
    Deadline "deadline" "The deadline of the caller has passed.";
    TimeoutTry "timeout_try" "The try got no answer in time.";
    TimeoutTotal "timeout_total" "All tries together took longer than the total timeout.";
    RetryBudget "retry_budget" "The request failed and the budget for retries is used up.";
    BodyTooLarge "body_too_large" "The body is over the limit.";
    FaultInjected "fault_injected" "A drill made this request fail.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Whether a request that failed may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetrySafety {
    /// Nobody has seen it: always.
    Safe,
    /// The other side may have acted: only what means the same twice.
    IfRepeatable,
    /// No: the answer is final, or retrying would feed the outage.
    No,
}

/// A policy's decision that ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// Which policy, and why.
    pub reason: Reason,
    /// Whether the request may be sent again.
    pub retry_safety: RetrySafety,
    /// When to come back at the earliest, where that is known.
    pub retry_after: Option<Duration>,
}

impl Rejection {
    /// The request was turned away before it was sent.
    pub const fn unsent(reason: Reason) -> Self {
        Self { reason, retry_safety: RetrySafety::Safe, retry_after: None }
    }

    /// The request had been sent, or may have been.
    pub const fn sent(reason: Reason) -> Self {
        Self { reason, retry_safety: RetrySafety::IfRepeatable, retry_after: None }
    }

    /// Nothing is gained by sending it again.
    pub const fn last(reason: Reason) -> Self {
        Self { reason, retry_safety: RetrySafety::No, retry_after: None }
    }

    /// The same, with when to come back.
    #[must_use]
    pub const fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.reason.message())?;
        match self.retry_after {
            Some(wait) => write!(f, " Try again in {wait:.1?}."),
            None => Ok(()),
        }
    }
}

impl StdError for Rejection {}

/// An error that a policy can make, and recognise when another made it.
///
/// Each layer alone asks this of its service's error, so that a stack of layers has one error type however high it
/// is. [`Error`] and [`BoxError`] have it; [`Adapt`](crate::Adapt) gives it to a service with any other error.
pub trait PolicyError: Sized {
    /// The error of a call that `rejection` ended.
    fn rejected(rejection: Rejection) -> Self;

    /// The decision, where this error is one.
    fn rejection(&self) -> Option<&Rejection>;

    /// The same error, with word to every layer above not to send again.
    #[must_use]
    fn without_retry(self, _reason: Reason) -> Self {
        self
    }

    /// Whether a layer below has said not to send again, and why.
    fn retry_forbidden(&self) -> Option<Reason> {
        None
    }
}

/// Any error, as Tower passes it around.
pub type BoxError = Box<dyn StdError + Send + Sync>;

impl PolicyError for BoxError {
    fn rejected(rejection: Rejection) -> Self {
        Box::new(rejection)
    }

    fn rejection(&self) -> Option<&Rejection> {
        self.downcast_ref()
    }

    fn without_retry(self, reason: Reason) -> Self {
        Box::new(NotAgain { error: self, reason })
    }

    fn retry_forbidden(&self) -> Option<Reason> {
        self.downcast_ref::<NotAgain>().map(|not_again| not_again.reason)
    }
}

/// An error of any type that must not be answered by sending the request again.
#[derive(Debug)]
struct NotAgain {
    error: BoxError,
    reason: Reason,
}

impl fmt::Display for NotAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (not tried again: {})", self.error, self.reason)
    }
}

impl StdError for NotAgain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.error)
    }
}

/// How a call through a stack of policies fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// A policy ended it.
    Rejected(Rejection),
    /// The service failed.
    Failed {
        /// Its own error.
        error: E,
        /// Why it must not be sent again, where a policy has said so: `retry_budget`.
        no_retry: Option<Reason>,
    },
}

impl<E> Error<E> {
    /// The policy that ended the call, where one did.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Rejected(rejection) => Some(rejection.reason),
            Self::Failed { no_retry, .. } => *no_retry,
        }
    }

    /// Whether the caller may send the request again. Of a failure of the service itself nothing more is known than
    /// that the request may have been seen.
    pub fn retry_safety(&self) -> RetrySafety {
        match self {
            Self::Rejected(rejection) => rejection.retry_safety,
            Self::Failed { no_retry: Some(_), .. } => RetrySafety::No,
            Self::Failed { no_retry: None, .. } => RetrySafety::IfRepeatable,
        }
    }

    /// When to come back at the earliest, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Rejected(rejection) => rejection.retry_after,
            Self::Failed { .. } => None,
        }
    }

    /// The service's own error, where it was the service that failed.
    pub fn into_failure(self) -> Option<E> {
        match self {
            Self::Rejected(_) => None,
            Self::Failed { error, .. } => Some(error),
        }
    }
}

impl<E> From<E> for Error<E> {
    fn from(error: E) -> Self {
        Self::Failed { error, no_retry: None }
    }
}

impl<E> PolicyError for Error<E> {
    fn rejected(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }

    fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed { .. } => None,
        }
    }

    fn without_retry(self, reason: Reason) -> Self {
        match self {
            Self::Rejected(rejection) => Self::Rejected(Rejection { retry_safety: RetrySafety::No, ..rejection }),
            Self::Failed { error, .. } => Self::Failed { error, no_retry: Some(reason) },
        }
    }

    fn retry_forbidden(&self) -> Option<Reason> {
        match self {
            Self::Rejected(Rejection { retry_safety: RetrySafety::No, reason, .. }) => Some(*reason),
            Self::Rejected(_) => None,
            Self::Failed { no_retry, .. } => *no_retry,
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => rejection.fmt(f),
            Self::Failed { error, no_retry: None } => error.fmt(f),
            Self::Failed { error, no_retry: Some(reason) } => write!(f, "{error} (not tried again: {})", reason.code()),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Failed { error, .. } => Some(error),
        }
    }
}
