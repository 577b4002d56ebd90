//! Why Mainstay itself answered a request: a closed list, a page of help for each.

use std::fmt;

use serde::Serialize;

macro_rules! reasons {
    ($($variant:ident $code:literal $status:literal $retryable:literal $help:literal;)+) => {
        /// The code in `mainstay-reason`, in metrics and on events.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant),+ }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant),+];

            /// The stable code: `no_endpoint`.
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code),+ }
            }
            /// The HTTP status of an answer with this reason.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status),+ }
            }
            /// Whether the same request may be sent again with hope.
            pub const fn retryable(self) -> bool {
                match self { $(Reason::$variant => $retryable),+ }
            }
            /// One sentence for a person.
            pub const fn message(self) -> &'static str {
                match self { $(Reason::$variant => $help),+ }
            }
        }
    };
}

reasons! {
    NoRoute "no_route" 404 false "No route matches the method and path.";
    NoEndpoint "no_endpoint" 503 true "No replica of the service is ready.";
    BreakerOpen "breaker_open" 503 true "The breaker of the service is open.";
    BulkheadFull "bulkhead_full" 503 true "Too many requests to the service are in flight.";
    QueueTimeout "queue_timeout" 503 true "The request waited too long for its turn.";
    RateLimited "rate_limited" 429 true "The rate limit is used up.";
    Shed "shed" 503 true "Load was shed to protect what is more important.";
    Deadline "deadline" 504 false "The deadline of the caller has passed.";
    TimeoutConnect "timeout_connect" 504 true "The replica did not accept a connection in time.";
    TimeoutTry "timeout_try" 504 true "The last try got no answer in time.";
    TimeoutTotal "timeout_total" 504 true "All tries together took longer than the total timeout.";
    ConnectFailed "connect_failed" 503 true "No connection to a replica could be made.";
    UpstreamReset "upstream_reset" 502 true "The replica closed the connection before it had answered.";
    UpstreamProtocol "upstream_protocol" 502 false "The replica answered with something that is not HTTP.";
    RetryBudget "retry_budget" 503 false "The request failed and the budget for retries is used up.";
    BodyTooLarge "body_too_large" 413 false "The body is over the limit.";
    BadRequest "bad_request" 400 false "The request is malformed.";
    HeaderTooLarge "header_too_large" 431 false "The head of the request is over the limit.";
    Draining "draining" 503 true "Mainstay is shutting down and takes no new requests.";
    FaultInjected "fault_injected" 503 true "A drill made this request fail.";
    IdempotencyConflict "idempotency_conflict" 409 false "The key was used before with another input.";
    IdempotencyInFlight "idempotency_in_flight" 409 true "The first request with this key is still running.";
    Unauthorized "unauthorized" 401 false "A valid token is needed.";
    Forbidden "forbidden" 403 false "The token does not allow this.";
    NeedsApproval "needs_approval" 403 false "Somebody else must approve this first.";
    Panic "panic" 500 false "Mainstay met a bug in itself while handling the request.";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.code())
    }
}

impl Reason {
    /// The JSON body of an answer that Mainstay makes itself: `{reason, message, retryable, docs}`.
    /// `detail` replaces the general message where more is known.
    pub fn body(self, detail: Option<&str>) -> String {
        serde_json::json!({
            "reason": self.code(),
            "message": detail.unwrap_or(self.message()),
            "retryable": self.retryable(),
            "docs": format!("docs/reasons/{}.md", self.code()),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_page_of_help() {
        for reason in Reason::ALL {
            let page = format!("{}/../../docs/reasons/{reason}.md", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{page}: {e}"));
            assert!(text.contains(&format!("# {reason}\n\nHTTP status {}.", reason.status())), "{page}");
        }
    }
}
