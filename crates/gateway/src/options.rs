//! How the data plane as a whole is set up: how many workers, which limits, how long a drain may take.

use std::time::Duration;

/// What [`Options`] may not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("gateway option {option}: {why}")]
pub struct OptionsError {
    /// The field.
    pub option: &'static str,
    /// What is wrong and what is right.
    pub why: &'static str,
}

/// Most worker threads.
const WORKERS_MAX: usize = 256;

/// The data plane's own settings. `Options::default()` is right for one machine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Worker threads, each with its own runtime, listeners, pools and counters.
    pub workers: usize,
    /// What a client may ask of us.
    pub limits: Limits,
    /// How long requests in flight may go on after the shutdown has begun.
    pub drain_max: Duration,
    /// Seeds every random decision; worker `i` draws from `seed + i`.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            limits: Limits::default(),
            drain_max: Duration::from_secs(30),
            seed: 0x6d61_696e_7374_6179,
        }
    }
}

impl Options {
    /// Checks what the types cannot say.
    pub fn validated(self) -> Result<Self, OptionsError> {
        let refuse = |option, why| Err(OptionsError { option, why });
        if self.workers == 0 || self.workers > WORKERS_MAX {
            return refuse("workers", "1 to 256");
        }
        if !(1024..=65_536).contains(&self.limits.head_bytes_max) {
            return refuse("limits.head_bytes_max", "1 KiB to 64 KiB");
        }
        if !(8..=HEADERS_CAPACITY).contains(&self.limits.headers_max) {
            return refuse("limits.headers_max", "8 to 128");
        }
        if self.limits.connections_max < self.workers {
            return refuse("limits.connections_max", "at least one for each worker");
        }
        if self.limits.head_timeout.is_zero() || self.limits.idle_timeout.is_zero() {
            return refuse("limits.head_timeout, limits.idle_timeout", "more than 0s");
        }
        Ok(self)
    }
}

/// Room for headers on the stack of the parser; `headers_max` stays below it.
pub(crate) const HEADERS_CAPACITY: usize = 128;

/// What a client may ask of us.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest request head, request line and headers together.
    pub head_bytes_max: usize,
    /// Most headers of one request.
    pub headers_max: usize,
    /// Longest request body.
    pub body_bytes_max: u64,
    /// Longest time from the first byte of a head to its last.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Most client connections at once, over all workers.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 16 * 1024,
            headers_max: 100,
            body_bytes_max: 1024 * 1024 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            connections_max: 16_384,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert!(Options::default().validated().is_ok());
        assert!(Options { workers: 0, ..Options::default() }.validated().is_err());
        let limits = Limits { headers_max: 1000, ..Limits::default() };
        assert_eq!(Options { limits, ..Options::default() }.validated().unwrap_err().option, "limits.headers_max");
    }
}
