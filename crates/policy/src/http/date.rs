//! When to come back, as an answer says it.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::profile::digits;

/// `Retry-After`: seconds, or a date.
///
/// A date is read against the `Date` of the same answer: the difference is what the server meant, whatever our clock
/// thinks of the day, and no wall time is needed. Without a `Date` it says nothing.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = digits(value.as_bytes()) {
        return Some(Duration::from_secs(seconds));
    }
    let date = |value: &http::HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let then = date(value)?;
    let now = date(headers.get(DATE)?)?;
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(after: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, after.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers)
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(read("120", None), Some(Duration::from_secs(120)));
        assert_eq!(read("0", None), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999", None), Some(Duration::from_secs(u64::MAX)));
    }

    #[test]
    fn dates_are_read_against_the_date_of_the_answer() {
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let ten = Some(Duration::from_secs(10));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT", now), ten);
        assert_eq!(read("Sunday, 06-Nov-94 08:49:47 GMT", now), ten);
        assert_eq!(read("Sun Nov  6 08:49:47 1994", now), ten);
        assert_eq!(read("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT", None), None);
        assert_eq!(read("Sun, 06 Nov 1994 08:49:47 GMT", Some("yesterday")), None);
    }

    #[test]
    fn what_is_neither_says_nothing() {
        for text in ["", "-1", "1.5", "soon", "1s", "10 "] {
            assert_eq!(read(text, Some("Sun, 06 Nov 1994 08:49:37 GMT")), None, "{text}");
        }
    }
}
