//! Whether a failed attempt may be repeated: by evidence of what the other side can have done.

use crate::RetrySafety;

/// What is known of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// No byte of the request left: connect failure, refused stream, a rejection of our own.
    NeverSent,
    /// Some of it left, and no head of an answer came.
    Sent,
    /// An answer came with this status; none of it has been passed on.
    Answered(u16),
    /// The answer has begun to reach the client.
    ResponseStarted,
}

/// Why a request means the same twice, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeatable {
    /// GET, HEAD, OPTIONS, TRACE, PUT, DELETE.
    ByMethod,
    /// Its route was declared idempotent.
    ByDeclaration,
    /// It carries an idempotency key, and the route honours keys.
    ByKey,
    /// It does not, as far as anybody knows.
    No,
}

impl Repeatable {
    /// Judges a request. Methods are case-sensitive, so an unknown spelling is not safe.
    pub fn of(method: &str, declared: bool, keyed: bool) -> Self {
        match method {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE" => Self::ByMethod,
            _ if declared => Self::ByDeclaration,
            "POST" | "PATCH" if keyed => Self::ByKey,
            _ => Self::No,
        }
    }
}

/// Which kind of retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// Never sent.
    A,
    /// Sent, and harmless to send again.
    B,
}

/// Why there is no retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denied {
    /// The other side may have acted, and acting twice may do harm.
    Unsafe,
    /// The answer is a final one, or somebody has said that it must not be repeated.
    Final,
    /// Too late: the client has a part of the answer.
    Started,
    /// There have been as many attempts as there may be.
    Attempts,
    /// The wait would last longer than the caller does.
    Deadline,
    /// A policy of our own will turn it away for longer than any back-off.
    Later,
    /// There is no copy of the request: its body is too large, or is gone.
    NoCopy,
    /// The budget for retries is used up.
    Budget,
    /// The policy is off, or only looks on.
    Mode,
}

impl Denied {
    /// As in events and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unsafe => "unsafe",
            Self::Final => "final",
            Self::Started => "started",
            Self::Attempts => "attempts",
            Self::Deadline => "deadline",
            Self::Later => "later",
            Self::NoCopy => "no_copy",
            Self::Budget => "retry_budget",
            Self::Mode => "mode",
        }
    }
}

/// Whether a status says "not now" rather than "no".
pub const fn status_may_be_retried(status: u16) -> bool {
    matches!(status, 502..=504)
}

impl Evidence {
    /// What the evidence allows.
    pub const fn retry_safety(self) -> RetrySafety {
        match self {
            Self::NeverSent => RetrySafety::Safe,
            Self::Sent => RetrySafety::IfRepeatable,
            Self::Answered(status) if status_may_be_retried(status) => RetrySafety::IfRepeatable,
            Self::Answered(_) | Self::ResponseStarted => RetrySafety::No,
        }
    }
}

/// Judges a failed attempt.
pub const fn classify(evidence: Evidence, repeatable: Repeatable) -> Result<RetryClass, Denied> {
    match evidence {
        Evidence::ResponseStarted => Err(Denied::Started),
        _ => class_of(evidence.retry_safety(), repeatable),
    }
}

/// The rule, which is one for the gateway and for the layer.
pub(super) const fn class_of(safety: RetrySafety, repeatable: Repeatable) -> Result<RetryClass, Denied> {
    match (safety, repeatable) {
        (RetrySafety::Safe, _) => Ok(RetryClass::A),
        (RetrySafety::No, _) => Err(Denied::Final),
        (RetrySafety::IfRepeatable, Repeatable::No) => Err(Denied::Unsafe),
        (RetrySafety::IfRepeatable, _) => Ok(RetryClass::B),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_the_declaration_or_the_key_make_a_request_repeatable() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert_eq!(Repeatable::of(method, false, false), Repeatable::ByMethod, "{method}");
        }
        for method in ["POST", "PATCH", "get", "PURGE", ""] {
            assert_eq!(Repeatable::of(method, false, false), Repeatable::No, "{method}");
            assert_eq!(Repeatable::of(method, true, false), Repeatable::ByDeclaration, "{method}");
        }
        assert_eq!(Repeatable::of("POST", false, true), Repeatable::ByKey);
        assert_eq!(Repeatable::of("PURGE", false, true), Repeatable::No);
    }

    #[test]
    fn a_post_is_not_repeated_because_of_a_status() {
        for status in [500, 502, 503, 504] {
            assert!(classify(Evidence::Answered(status), Repeatable::No).is_err(), "{status}");
        }
        assert_eq!(classify(Evidence::Sent, Repeatable::No), Err(Denied::Unsafe));
        assert_eq!(classify(Evidence::NeverSent, Repeatable::No), Ok(RetryClass::A));
    }

    #[test]
    fn what_is_repeatable_is_repeated_until_the_answer_has_started() {
        for repeatable in [Repeatable::ByMethod, Repeatable::ByDeclaration, Repeatable::ByKey] {
            assert_eq!(classify(Evidence::Sent, repeatable), Ok(RetryClass::B));
            for status in 100..600 {
                let expected = if (502..=504).contains(&status) { Ok(RetryClass::B) } else { Err(Denied::Final) };
                assert_eq!(classify(Evidence::Answered(status), repeatable), expected, "{status}");
            }
            assert_eq!(classify(Evidence::ResponseStarted, repeatable), Err(Denied::Started));
        }
    }
}
