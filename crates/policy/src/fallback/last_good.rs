//! The last good answer to the same question.

use std::fmt;
use std::future::{Ready, ready};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::Substitute;
use crate::Clock;
use crate::keys::Keys;
use crate::observe::{Env, PolicyKind};
use crate::settings::{Check, DURATION_MAX, SettingsError};

/// How many good answers are kept, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct LastGoodSettings {
    /// Answers. Each is held in memory as it is, so their size is the caller's to bound.
    pub keys_max: u32,
    /// What is older helps nobody.
    #[cfg_attr(feature = "serde", serde(with = "crate::unit::text::duration"))]
    pub age_max: Duration,
}

impl LastGoodSettings {
    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), SettingsError> {
        let ages = Duration::from_millis(1)..=DURATION_MAX;
        Check::new("fallback")
            .that(self.keys_max > 0, "keys_max", "at least 1")
            .that(ages.contains(&self.age_max), "age_max", "from 1ms to 1000d")
            .done()
    }
}

impl Default for LastGoodSettings {
    fn default() -> Self {
        Self { keys_max: 1000, age_max: Duration::from_secs(300) }
    }
}

/// Answers with the last good answer to a request with the same key. Clones share what they keep.
///
/// `F` says what is the same question: any `Fn(&Req) -> Option<K>`. A request without a key is neither remembered nor
/// answered. Put everything into the key that the answer depends on, above all *who asks*.
pub struct LastGood<K, Res, F> {
    store: Arc<Store<K, Res>>,
    key: F,
}

struct Store<K, Res> {
    // Worth keeping until too old, in nanoseconds of the clock.
    answers: Keys<K, Option<Res>>,
    age_max: Duration,
    clock: Clock,
}

impl<K: Hash + Eq, Res, F> LastGood<K, Res, F> {
    /// Remembers nothing yet.
    pub fn new(settings: LastGoodSettings, env: &Env, key: F) -> Result<Self, SettingsError> {
        settings.check()?;
        let store = Store {
            answers: Keys::new(settings.keys_max, 0, &mut env.rng(PolicyKind::Fallback)),
            age_max: settings.age_max,
            clock: env.clock().clone(),
        };
        Ok(Self { store: Arc::new(store), key })
    }

    /// Answers that it keeps, those that have become too old included until others take their place.
    pub fn keys(&self) -> usize {
        self.store.answers.len()
    }
}

impl<K, F, Req, Res, Err> Substitute<Req, Res, Err> for LastGood<K, Res, F>
where
    K: Hash + Eq + Clone,
    Res: Clone,
    F: Fn(&Req) -> Option<K> + Clone,
{
    type Kept = K;
    type Answer = Ready<Result<Res, Err>>;

    fn keep(&self, request: &Req) -> Option<K> {
        (self.key)(request)
    }

    fn good(&self, key: K, response: &Res) {
        let now = self.store.clock.now();
        // Copied before and dropped after the lock is held: an answer may be large.
        let answer = response.clone();
        let old = self.store.answers.visit(
            &key,
            now.as_nanos(),
            || None,
            |until, kept| {
                *until = (now + self.store.age_max).as_nanos();
                kept.replace(answer)
            },
        );
        drop(old);
    }

    fn answer(&self, key: K, _failure: Result<&Res, &Err>) -> Option<Self::Answer> {
        let now = self.store.clock.now().as_nanos();
        let kept = |until, answer: &Option<Res>| answer.as_ref().filter(|_| until > now).cloned();
        self.store.answers.peek(&key, kept).flatten().map(|answer| ready(Ok(answer)))
    }
}

impl<K, Res, F: Clone> Clone for LastGood<K, Res, F> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), key: self.key.clone() }
    }
}

impl<K, Res, F> fmt::Debug for LastGood<K, Res, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood").field("answers", &self.store.answers).finish_non_exhaustive()
    }
}
