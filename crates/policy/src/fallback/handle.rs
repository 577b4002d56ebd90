//! Whether a failure is answered otherwise, and how many are.

use std::fmt;

use super::FallbackSettings;
use crate::observe::{Env, Event, Mode, PolicyKind};
use crate::profile::verdict;
use crate::stripe::{Held, Shared};
use crate::sync::{AtomicU32, Ordering};
use crate::{Health, Judge, PolicyError, Reason, SettingsError};

/// Decides which failures are answered otherwise. Clones are the same fallback.
///
/// ```
/// use mainstay_policy::{Error, Env, Fallback, FallbackSettings, Plain};
///
/// let fallback = Fallback::new(FallbackSettings::enforced(), &Env::new("offers"))?;
/// let outcome: Result<Vec<u8>, Error<&str>> = Err("connection reset".into());
/// let answer = match fallback.try_acquire(&Plain::new(), &outcome) {
///     Some(_permit) => Ok(Vec::new()),
///     None => outcome,
/// };
/// assert_eq!(answer, Ok(Vec::new()));
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Fallback(pub(super) Shared<Core>);

pub(super) struct Core {
    settings: FallbackSettings,
    env: Env,
    in_flight: AtomicU32,
}

/// Permission to answer one failed call otherwise. Given back when it is dropped.
#[must_use = "a permit that is dropped at once permits nothing"]
pub struct FallbackPermit(Held<Core>);

impl Fallback {
    /// Refuses settings that cannot work.
    pub fn new(settings: FallbackSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        Ok(Self(Shared::new(Core { settings, env: env.clone(), in_flight: AtomicU32::new(0) })))
    }

    /// Permission to answer `outcome` otherwise: where it is a failure, and not the caller's, and not too many others
    /// are being answered so. In shadow mode it tells, and permits nothing.
    pub fn try_acquire<Res, Err: PolicyError>(
        &self,
        judge: &impl Judge<Res, Err>,
        outcome: &Result<Res, Err>,
    ) -> Option<FallbackPermit> {
        if self.0.off() || !needed(judge, outcome) { None } else { Core::permit(self.0.hold()) }
    }

    /// Calls that are being answered otherwise.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

impl Core {
    pub(super) fn off(&self) -> bool {
        self.settings.mode == Mode::Off
    }

    /// For an outcome that needs it.
    pub(super) fn permit(core: Held<Self>) -> Option<FallbackPermit> {
        if !core.settings.mode.enforced() {
            core.tell(&Event::Fallback { enforced: false });
            return None;
        }
        // Counted first, so that two at once never both take the last place.
        let permit = FallbackPermit(core);
        if permit.0.in_flight.fetch_add(1, Ordering::Relaxed) < permit.0.settings.in_flight {
            return Some(permit);
        }
        permit.0.tell(&Event::FallbackFailed { why: "full" });
        None
    }

    fn tell(&self, event: &Event) {
        self.env.tell(PolicyKind::Fallback, event);
    }
}

impl FallbackPermit {
    /// Something else has answered.
    pub(super) fn answered(&self) {
        self.0.tell(&Event::Fallback { enforced: true });
    }

    /// Nothing else has.
    pub(super) fn failed(&self, why: &'static str) {
        self.0.tell(&Event::FallbackFailed { why });
    }
}

impl Drop for FallbackPermit {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an outcome is a failure, and not the caller's.
pub(super) fn needed<Res, Err: PolicyError>(judge: &impl Judge<Res, Err>, outcome: &Result<Res, Err>) -> bool {
    match outcome.as_ref().err().and_then(PolicyError::rejection) {
        Some(rejection) => !matches!(rejection.reason, Reason::RateLimited | Reason::BodyTooLarge | Reason::Deadline),
        None => verdict(judge, outcome).health == Health::Failed,
    }
}

impl fmt::Debug for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fallback")
            .field("name", &self.0.env.name())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for FallbackPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackPermit").finish_non_exhaustive()
    }
}
