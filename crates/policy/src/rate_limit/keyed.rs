//! A limit for each key.

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::RateLimitSettings;
use super::direct::Rules;
use super::gcra::{Gcra, Quota};
use crate::keys::Keys;
use crate::observe::{Env, PolicyKind};
use crate::{Moment, Rejection, SettingsError};

/// How long a key with its whole burst keeps its place before another may take it.
const KEY_IDLE_MAX: Duration = Duration::from_secs(60);

/// The same rate limit for each of many keys: addresses, tenants, tokens. Clones are the same limit.
///
/// ```
/// use mainstay_policy::{Env, KeyedRateLimit, Rate, RateLimitSettings};
///
/// let limit = KeyedRateLimit::<String>::new(RateLimitSettings::new(Rate::per_second(1), 1), &Env::new("mail"))?;
/// assert!(limit.try_acquire("ada").is_ok() && limit.try_acquire("bob").is_ok());
/// assert!(limit.try_acquire("ada").is_err());
/// # Ok::<(), mainstay_policy::SettingsError>(())
/// ```
pub struct KeyedRateLimit<K>(Arc<Core<K>>);

struct Core<K> {
    gcra: Gcra,
    rules: Rules,
    // A key is worth remembering until its arrival time.
    keys: Keys<K, ()>,
}

impl<K: Hash + Eq> KeyedRateLimit<K> {
    /// A limit that knows no key yet.
    pub fn new(settings: RateLimitSettings, env: &Env) -> Result<Self, SettingsError> {
        settings.check()?;
        let gcra = Gcra::new(settings.rate, settings.burst);
        let idle_max = gcra.ticks(Moment::ZERO + KEY_IDLE_MAX);
        Ok(Self(Arc::new(Core {
            gcra,
            rules: Rules::new(settings.mode, env),
            keys: Keys::new(settings.keys_max, idle_max, &mut env.rng(PolicyKind::RateLimit)),
        })))
    }

    /// Asks for one request of `key`. In shadow mode nobody is turned away.
    #[inline]
    pub fn try_acquire<Q>(&self, key: &Q) -> Result<(), Rejection>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let core = &*self.0;
        if core.rules.off() {
            return Ok(());
        }
        let now = core.gcra.ticks(core.rules.now());
        let outcome = core.keys.visit(
            key,
            now,
            || (),
            |arrival, ()| match core.gcra.admit(*arrival, now) {
                Some(next) => {
                    *arrival = next;
                    Ok(())
                }
                None => {
                    let refused = core.gcra.refuse(*arrival, now);
                    *arrival = refused.reset.unwrap_or(*arrival);
                    Err(refused)
                }
            },
        );
        outcome.or_else(|refused| core.rules.refuse(refused))
    }

    /// What `key` has left. Takes nothing.
    pub fn quota<Q>(&self, key: &Q) -> Quota
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let core = &*self.0;
        let arrival = core.keys.peek(key, |arrival, ()| arrival);
        core.gcra.quota(arrival.unwrap_or(0), core.gcra.ticks(core.rules.now()))
    }

    /// Keys that it remembers. Those which have their whole burst again may be forgotten.
    pub fn keys(&self) -> usize {
        self.0.keys.len()
    }
}

impl<K> Clone for KeyedRateLimit<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> fmt::Debug for KeyedRateLimit<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRateLimit").field("name", &self.0.rules.name()).finish_non_exhaustive()
    }
}
