//! A bounded number of keys, each with something to remember.
//!
//! **The problem.** Clients choose their keys: whoever can invent addresses or names can make a map of them grow until
//! there is no memory left. And a map that many threads use under one lock makes them wait for each other.
//!
//! **The rule.** Keys are spread over shards by their hash, each shard with a lock that is held for one look-up. Each
//! key has a time until which it is worth something; after it, it is worth the same as a key never seen, and can be
//! forgotten without loss. Nothing sweeps: a new key looks at the next few slots and takes the place of what has been
//! worthless for a while, so that the table stays little larger than the number of keys in use. A key is not forgotten
//! as soon as it is worthless, for those that come again and again would be made anew each time. Where the shard is
//! full that of the few goes whose worth ends, or has ended, first. A hand moves round over the slots, so that each is
//! looked at once in a round, and the same calls always forget the same keys.
//!
//! The hash is seeded from the policy's own randomness: a client that does not know the seed cannot aim at one shard.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};

use crossbeam_utils::CachePadded;
use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use hashbrown::HashTable;

use crate::sync::{Mutex, lock};

/// Shards of a large table: several times the threads that a machine of today runs.
const SHARDS_MAX: usize = 32;
/// Keys below which another shard is not worth it: with few keys a hash spreads them unevenly.
const SHARD_KEYS_MIN: usize = 64;
/// Slots that are looked at when a key is new. If a tenth of the keys is precious, one of them is forgotten in one of
/// 10⁸ evictions.
const LOOKS: usize = 8;

/// A table of keys.
pub(crate) struct Keys<K, V> {
    seed: u64,
    shared: SharedSeed,
    shards: Shards<K, V>,
    bounds: Bounds,
}

type Shards<K, V> = Box<[CachePadded<Mutex<Shard<K, V>>>]>;

#[derive(Clone, Copy)]
struct Bounds {
    shard_keys_max: usize,
    // How long a key is kept beyond its worth.
    idle_max: u64,
}

struct Shard<K, V> {
    places: HashTable<u32>,
    slots: Vec<Slot<K, V>>,
    hand: usize,
}

struct Slot<K, V> {
    hash: u64,
    key: K,
    until: u64,
    value: V,
}

impl<K: Hash + Eq, V> Keys<K, V> {
    /// At most `keys_max` keys, at least one. Another takes the place of one that has been worthless for `idle_max`.
    pub(crate) fn new(keys_max: u32, idle_max: u64, rng: &mut fastrand::Rng) -> Self {
        let keys_max = (keys_max as usize).max(1);
        // A power of two, rounded down.
        let shards = 1 << (keys_max / SHARD_KEYS_MIN).clamp(1, SHARDS_MAX).ilog2();
        Self {
            seed: rng.u64(..),
            shared: SharedSeed::from_u64(rng.u64(..)),
            shards: (0..shards).map(|_| CachePadded::new(Mutex::new(Shard::new()))).collect(),
            bounds: Bounds { shard_keys_max: keys_max / shards, idle_max },
        }
    }

    /// Shows what is remembered of `key`, or `blank` if it is nothing, and until when it is worth remembering.
    #[inline]
    pub(crate) fn visit<Q, R>(
        &self,
        key: &Q,
        now: u64,
        blank: impl FnOnce() -> V,
        visitor: impl FnOnce(&mut u64, &mut V) -> R,
    ) -> R
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let hash = self.hash(key);
        let mut shard = lock(self.shard(hash));
        if let Some(place) = shard.place(hash, key) {
            let slot = &mut shard.slots[place];
            return visitor(&mut slot.until, &mut slot.value);
        }
        let new = Slot { hash, key: key.to_owned(), until: 0, value: blank() };
        let (place, old) = shard.insert(new, now, self.bounds);
        let slot = &mut shard.slots[place];
        let seen = visitor(&mut slot.until, &mut slot.value);
        // What is forgotten is dropped when nobody waits for it.
        drop(shard);
        drop(old);
        seen
    }

    /// Shows what is remembered of `key`, if it is anything.
    pub(crate) fn peek<Q, R>(&self, key: &Q, viewer: impl FnOnce(u64, &V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = self.hash(key);
        let shard = lock(self.shard(hash));
        let slot = &shard.slots[shard.place(hash, key)?];
        Some(viewer(slot.until, &slot.value))
    }

    /// Keys that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).slots.len()).sum()
    }

    #[inline]
    fn hash<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Mutex<Shard<K, V>> {
        // The table within a shard goes by the lowest bits and the highest seven, so these come from between.
        &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)]
    }
}

impl<K, V> Shard<K, V> {
    const fn new() -> Self {
        Self { places: HashTable::new(), slots: Vec::new(), hand: 0 }
    }

    #[inline]
    fn place<Q: Eq + ?Sized>(&self, hash: u64, key: &Q) -> Option<usize>
    where
        K: Borrow<Q>,
    {
        let found = self.places.find(hash, |place| self.slots[*place as usize].key.borrow() == key);
        found.map(|place| *place as usize)
    }

    fn insert(&mut self, new: Slot<K, V>, now: u64, bounds: Bounds) -> (usize, Option<Slot<K, V>>) {
        let Self { places, slots, hand } = self;
        let hash = new.hash;
        let (place, old) = match victim(slots, hand, now, bounds) {
            None => {
                slots.push(new);
                (slots.len() - 1, None)
            }
            Some(place) => {
                let old = std::mem::replace(&mut slots[place], new);
                if let Ok(entry) = places.find_entry(old.hash, |at| *at as usize == place) {
                    entry.remove();
                }
                (place, Some(old))
            }
        };
        let short = u32::try_from(place).expect("there are at most u32::MAX keys");
        places.insert_unique(hash, short, |at| slots[*at as usize].hash);
        (place, old)
    }
}

/// The slot that a new key takes, unless it should have another.
fn victim<K, V>(slots: &[Slot<K, V>], hand: &mut usize, now: u64, bounds: Bounds) -> Option<usize> {
    let mut first: Option<usize> = None;
    for _ in 0..LOOKS.min(slots.len()) {
        *hand = if *hand + 1 < slots.len() { *hand + 1 } else { 0 };
        if first.is_none_or(|first| slots[*hand].until < slots[first].until) {
            first = Some(*hand);
        }
    }
    let full = slots.len() >= bounds.shard_keys_max;
    first.filter(|first| full || slots[*first].until.saturating_add(bounds.idle_max) <= now)
}

impl<K, V> fmt::Debug for Keys<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the seed, which is a secret, nor the keys, which may be.
        f.debug_struct("Keys").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
