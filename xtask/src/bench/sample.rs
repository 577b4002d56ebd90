//! What one window of load showed: written by the load generator, read by the bench.

use serde_json::{Value, json};

/// One proxy, one case, one round.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) requests: f64,
    pub(crate) seconds: f64,
    /// CPU time of the proxy per request, in µs; and the part outside the kernel.
    pub(crate) cpu_us: f64,
    pub(crate) user_us: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The share of the window in which the proxy ran.
    pub(crate) busy: f64,
    /// The share of the window in which others ran on the proxy's CPU.
    pub(crate) foreign: f64,
    pub(crate) errors: f64,
    pub(crate) first_error: String,
    /// Connections opened to the upstream: in the window, and since the load generator began.
    pub(crate) opened: f64,
    pub(crate) opened_before: f64,
}

impl Sample {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "requests": self.requests, "seconds": self.seconds, "cpu_us": self.cpu_us, "user_us": self.user_us,
            "p50_us": self.p50_us, "p99_us": self.p99_us, "busy": self.busy, "foreign": self.foreign,
            "errors": self.errors, "first_error": self.first_error,
            "opened": self.opened, "opened_before": self.opened_before,
        })
    }

    pub(crate) fn from_json(value: &Value) -> Option<Self> {
        let number = |name: &str| value[name].as_f64();
        Some(Self {
            requests: number("requests")?,
            seconds: number("seconds")?,
            cpu_us: number("cpu_us")?,
            user_us: number("user_us")?,
            p50_us: number("p50_us")?,
            p99_us: number("p99_us")?,
            busy: number("busy")?,
            foreign: number("foreign")?,
            errors: number("errors")?,
            first_error: value["first_error"].as_str()?.to_owned(),
            opened: number("opened")?,
            opened_before: number("opened_before")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_survives_the_pipe() {
        let sample = Sample {
            requests: 70_000.0,
            seconds: 2.0,
            cpu_us: 13.5,
            user_us: 1.6,
            p50_us: 900.0,
            p99_us: 1800.0,
            busy: 0.9,
            foreign: 0.01,
            errors: 1.0,
            first_error: "answered: HTTP/1.1 502".to_owned(),
            opened: 0.0,
            opened_before: 64.0,
        };
        assert_eq!(Sample::from_json(&sample.to_json()), Some(sample));
        assert_eq!(Sample::from_json(&json!({ "requests": 1.0 })), None);
    }
}
