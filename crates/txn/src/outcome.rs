//! What came of a branch call. The line that matters runs between *refused* and *unknown*: a refusal is a fact and
//! is acted upon, everything that is not known is asked again until it is.

use std::time::Duration;

/// Longest text of an error that is kept, in characters.
pub const ERROR_CHARS_MAX: usize = 200;

/// What came of one try of a branch call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect, now or at an earlier try.
    Done,
    /// The participant says definitely no. Never asked again.
    Refused {
        /// What it said.
        why: String,
    },
    /// The participant works on it: ask again at a fixed interval.
    InProgress,
    /// The participant asks for a pause. Whether the call took effect is not known.
    Retry {
        /// How long, where it said so.
        after: Option<Duration>,
        /// What it said.
        why: String,
    },
    /// Nobody knows: a timeout, a broken connection, an answer without meaning.
    Unknown {
        /// What was seen.
        why: String,
    },
}

impl Outcome {
    /// Reads an HTTP answer: 2xx is done; 409, or a body `{"result":"FAILURE"}`, a definite refusal; 425 in progress;
    /// 429 and 503 ask for a pause; everything else is unknown.
    ///
    /// `retry_after` is the header's text; only its form in seconds is understood.
    pub fn from_http(status: u16, retry_after: Option<&str>, body: &[u8]) -> Self {
        let answer: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(body).ok();
        let text = |name: &str| answer.as_ref().and_then(|a| a.get(name)).and_then(|v| v.as_str());
        let why = || {
            let said = text("why").or(text("message")).or(text("reason"));
            truncated(said.map_or_else(|| format!("status {status}"), |said| format!("status {status}: {said}")))
        };
        match status {
            _ if status == 409 || text("result") == Some("FAILURE") => Self::Refused { why: why() },
            200..=299 => Self::Done,
            425 => Self::InProgress,
            429 | 503 => Self::Retry {
                after: retry_after.and_then(|s| s.trim().parse().ok()).map(Duration::from_secs),
                why: why(),
            },
            _ => Self::Unknown { why: why() },
        }
    }
}

/// At most [`ERROR_CHARS_MAX`] characters of `text`.
pub(crate) fn truncated(text: String) -> String {
    match text.char_indices().nth(ERROR_CHARS_MAX) {
        Some((at, _)) => text[..at].to_string(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, retry_after: Option<&str>, body: &str, expected: &str) {
        let got = match Outcome::from_http(status, retry_after, body.as_bytes()) {
            Outcome::Done => "done".into(),
            Outcome::Refused { why } => format!("refused {why}"),
            Outcome::InProgress => "in progress".into(),
            Outcome::Retry { after, why } => format!("retry {after:?} {why}"),
            Outcome::Unknown { why } => format!("unknown {why}"),
        };
        assert_eq!(got, expected, "{status} {body}");
    }

    #[test]
    fn answers_are_read_by_the_table() {
        check(200, None, "", "done");
        check(204, None, "not json", "done");
        check(409, None, "", "refused status 409");
        check(409, None, r#"{"result":"FAILURE","why":"out of stock"}"#, "refused status 409: out of stock");
        check(200, None, r#"{"result":"FAILURE"}"#, "refused status 200");
        check(425, None, "", "in progress");
        check(429, Some("2"), "", "retry Some(2s) status 429");
        check(503, Some("soon"), "", "retry None status 503");
        check(500, None, r#"{"message":"boom"}"#, "unknown status 500: boom");
        check(404, None, "[]", "unknown status 404");
        check(302, None, "", "unknown status 302");
    }

    #[test]
    fn a_long_error_is_cut_at_a_character() {
        assert_eq!(truncated("ä".repeat(500)).chars().count(), ERROR_CHARS_MAX);
    }
}
