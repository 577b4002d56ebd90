//! What can be set about the engine.

use std::time::Duration;

/// Largest input, in bytes of compact JSON.
pub const INPUT_BYTES_MAX: usize = 64 * 1024;
/// Most transactions that may be open at once.
pub const OPEN_MAX: u64 = 1_000_000;

/// What was set wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OptionsError(pub(crate) String);

/// What can be set about the engine.
#[derive(Debug, Clone)]
pub struct Options {
    /// Seeds ids and jitter. Give every process another one; a simulation gives a fixed one.
    pub seed: u64,
    /// How long a participant may take for one try.
    pub call_timeout: Duration,
    /// Calls in flight to one service, from all transactions together.
    pub calls_per_service_max: usize,
    /// Transactions open at once; at most [`OPEN_MAX`].
    pub open_max: u64,
    /// How long calls in flight may still take at shutdown.
    pub shutdown_grace: Duration,
    /// Test only, for mutation proofs: `false` leaves what was open at start alone.
    pub recovery: bool,
    /// Test only, for mutation proofs: `false` gives every try a fresh idempotency key and every start a new
    /// transaction.
    pub stable_keys: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            call_timeout: Duration::from_secs(5),
            calls_per_service_max: 128,
            open_max: OPEN_MAX,
            shutdown_grace: Duration::from_secs(5),
            recovery: true,
            stable_keys: true,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let wrong = |text: &str| Err(OptionsError(text.into()));
        match self {
            o if o.call_timeout.is_zero() => wrong("call_timeout must be above zero"),
            o if o.calls_per_service_max == 0 => wrong("calls_per_service_max must be above zero"),
            o if o.calls_per_service_max > 65_536 => wrong("calls_per_service_max is at most 65536"),
            o if o.open_max == 0 || o.open_max > OPEN_MAX => wrong("open_max is 1 to 1000000"),
            _ => Ok(()),
        }
    }
}
