//! What the policies must know of requests and outcomes, whatever their types are.
//!
//! A retry must know whether a request means the same twice, a breaker what counts as a failure, a shedder what is
//! important. For `http` types the `http` feature knows; for others say it once: a [`Profile`] for the requests, and
//! a [`Judge`] (any function will do) for the outcomes.

use std::time::Duration;

use crate::{Moment, PolicyError, Reason, Repeatable, RetrySafety};

/// How important a request is. More important requests are shed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Goes first when there is too much: prefetching, reports.
    pub const LOWEST: Self = Self(0);
    /// What nobody has said anything about.
    pub const NORMAL: Self = Self(2);
    /// The most that a caller can claim.
    pub const HIGHEST: Self = Self(4);
    /// Reserved for what keeps the system right: health checks, commits, compensations. Never shed.
    pub const CRITICAL: Self = Self(5);

    /// What a caller claims, 0 to 4; more than that is 4, for nobody outside may claim to be critical.
    pub const fn claimed(level: u8) -> Self {
        if level > Self::HIGHEST.0 { Self::HIGHEST } else { Self(level) }
    }

    /// 0 to 5.
    pub const fn level(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::NORMAL
    }
}

/// What one layer tells those below it about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallContext {
    /// When the caller stops waiting, or may wait no longer.
    pub deadline: Option<Moment>,
    /// Whether the deadline is what the callee allows in all, and not what the caller has said.
    pub allowed: bool,
    /// How important the call is.
    pub priority: Priority,
    /// Whose call it is: any hash of the tenant's name; 0 where there are no tenants.
    pub tenant: u64,
    /// 0 for the first attempt.
    pub attempt: u8,
    /// Whether no attempt comes after this one: nothing is gained by cutting it short. Said by the layer that retries.
    pub last: bool,
    /// Whether this is the second, hedged copy of a call that still runs.
    pub hedged: bool,
}

impl CallContext {
    /// A first attempt of which nothing is known.
    pub const FIRST: Self = Self {
        deadline: None,
        allowed: false,
        priority: Priority::NORMAL,
        tenant: 0,
        attempt: 0,
        last: false,
        hedged: false,
    };

    /// What remains until the deadline; `None` where there is none.
    pub fn remaining(&self, now: Moment) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }
}

impl Default for CallContext {
    fn default() -> Self {
        Self::FIRST
    }
}

/// What the policies ask of a request.
///
/// Every method has an answer that is safe when nothing is known: not repeatable, not to be duplicated, no deadline.
pub trait Profile<Req>: Clone {
    /// Whether sending it twice means the same as sending it once.
    fn repeatable(&self, _request: &Req) -> Repeatable {
        Repeatable::No
    }

    /// Whether two copies may run at the same time. By default, what means the same twice by itself; what does so by a
    /// key only is told apart by the other side, and two at once are in the way of each other there.
    fn hedgeable(&self, request: &Req) -> bool {
        matches!(self.repeatable(request), Repeatable::ByMethod | Repeatable::ByDeclaration)
    }

    /// A copy to send later, if there can be one. It must mean exactly the same.
    fn duplicate(&self, _request: &Req) -> Option<Req> {
        None
    }

    /// What the request says of itself or a layer above has said of it.
    fn context(&self, _request: &Req) -> CallContext {
        CallContext::default()
    }

    /// Passes `context` on to the layers below, where the request has room for it.
    fn stamp(&self, _request: &mut Req, _context: &CallContext) {}
}

/// Health of the other side, as one outcome shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It did its work, even if the answer is "no such thing".
    Good,
    /// It lives and has enough: 429.
    Busy,
    /// It failed: transport error, timeout, 5xx.
    Failed,
    /// It had no part in this: the caller went away, or one of our own policies ended the call.
    Unknown,
}

/// What an outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// For breakers, ejection and adaptive limits.
    pub health: Health,
    /// For retries.
    pub retry_safety: RetrySafety,
    /// What the answer said about when to come back.
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// All is well.
    pub const GOOD: Self = Self { health: Health::Good, retry_safety: RetrySafety::No, retry_after: None };
    /// A failure after which the request may have been seen.
    pub const FAILED: Self =
        Self { health: Health::Failed, retry_safety: RetrySafety::IfRepeatable, retry_after: None };
    /// A failure before anything was sent.
    pub const UNSENT: Self = Self { health: Health::Failed, retry_safety: RetrySafety::Safe, retry_after: None };
    /// Counts nowhere and is not repeated.
    pub const ASIDE: Self = Self { health: Health::Unknown, retry_safety: RetrySafety::No, retry_after: None };
}

/// Says what an outcome means. Any `Fn(Result<&Res, &Err>) -> Verdict` is one.
///
/// Errors that a policy made are not shown to judges: what they mean is known.
pub trait Judge<Res, Err>: Clone {
    /// The meaning of one outcome.
    fn judge(&self, outcome: Result<&Res, &Err>) -> Verdict;

    /// Marks an answer so that no layer above, here or in the caller, sends the request again.
    fn forbid_retry(&self, _response: &mut Res, _reason: Reason) {}
}

impl<Res, Err, F> Judge<Res, Err> for F
where
    F: Fn(Result<&Res, &Err>) -> Verdict + Clone,
{
    fn judge(&self, outcome: Result<&Res, &Err>) -> Verdict {
        self(outcome)
    }
}

/// Judges an outcome, whoever made it.
pub(crate) fn verdict<Res, Err: PolicyError>(judge: &impl Judge<Res, Err>, outcome: &Result<Res, Err>) -> Verdict {
    let Err(error) = outcome else { return judge.judge(outcome.as_ref()) };
    let own = match error.rejection() {
        Some(rejection) => {
            let health = match rejection.reason {
                // The service was asked and did not answer; a fault stands for a failure of the service.
                Reason::TimeoutTry | Reason::FaultInjected => Health::Failed,
                Reason::TimeoutTotal | Reason::Deadline if rejection.retry_safety != RetrySafety::Safe => {
                    Health::Failed
                }
                _ => Health::Unknown,
            };
            Verdict { health, retry_safety: rejection.retry_safety, retry_after: rejection.retry_after }
        }
        None => judge.judge(outcome.as_ref()),
    };
    match error.retry_forbidden() {
        Some(_) => Verdict { retry_safety: RetrySafety::No, ..own },
        None => own,
    }
}

/// Knows nothing of a request but how to copy it, and takes every `Err` as a failure.
///
/// With [`Plain::repeatable`] all requests are declared to mean the same twice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain {
    repeatable: bool,
}

impl Plain {
    /// Requests of which nothing is known: repeated only when they were never sent.
    pub const fn new() -> Self {
        Self { repeatable: false }
    }

    /// Requests that may be sent twice.
    pub const fn repeatable() -> Self {
        Self { repeatable: true }
    }
}

impl<Req: Clone> Profile<Req> for Plain {
    fn repeatable(&self, _request: &Req) -> Repeatable {
        if self.repeatable { Repeatable::ByDeclaration } else { Repeatable::No }
    }

    fn duplicate(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }
}

impl<Res, Err> Judge<Res, Err> for Plain {
    fn judge(&self, outcome: Result<&Res, &Err>) -> Verdict {
        match outcome {
            Ok(_) => Verdict::GOOD,
            Err(_) => Verdict::FAILED,
        }
    }
}
