//! Who may be asked, for a balancer to choose from. Borrows, and allocates nothing.

use super::member::{State, Tracked, returning_share};
use super::{OnPanic, OutlierSettings};
use crate::Moment;

/// Whether an endpoint may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As any other.
    Full,
    /// Returning: it takes this share of its traffic, in thousandths.
    Share(u32),
    /// Its time is over: one request may find out. Claim it with [`Outlier::start_probe`](super::Outlier::start_probe).
    ProbeDue,
    /// No.
    Out,
}

impl Admission {
    /// Whether to put the endpoint among those to choose from, this time. For a returning one chance decides.
    #[inline]
    pub fn accepts(self, rng: &mut fastrand::Rng) -> bool {
        match self {
            Self::Full => true,
            Self::Share(milli) => rng.u32(0..1000) < milli,
            Self::ProbeDue | Self::Out => false,
        }
    }
}

/// The endpoints at one moment. See [`Outlier::pool`](super::Outlier::pool).
#[derive(Debug)]
pub struct Pool<'a, K> {
    pub(super) members: &'a [Tracked<K>],
    pub(super) settings: &'a OutlierSettings,
    pub(super) now: Moment,
    pub(super) standing: Standing,
}

/// How the pool stands; changes only with the states of its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Standing {
    /// Members that pass their active checks.
    pub(super) passing: usize,
    /// Of those, who are not ejected.
    pub(super) usable: usize,
    /// Detected, if not acted on.
    pub(super) panic: bool,
}

impl<'a, K: Ord> Pool<'a, K> {
    /// Whether too few are usable, and this is acted on.
    pub const fn is_panic(&self) -> bool {
        self.standing.panic && self.settings.panic.mode.enforced()
    }

    /// How many may be asked now, apart from probes. None in a panic that fails: nothing is to be sent.
    pub const fn usable(&self) -> usize {
        match self.panic() {
            None => self.standing.usable,
            Some(OnPanic::Fail) => 0,
            Some(OnPanic::All) if self.standing.passing == 0 => self.members.len(),
            Some(OnPanic::All) => self.standing.passing,
        }
    }

    /// Whether `key` may be asked. Unknown keys may.
    pub fn admission(&self, key: &K) -> Admission {
        match position(self.members, key) {
            Some(at) => self.judge(&self.members[at]),
            None => Admission::Full,
        }
    }

    /// All, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&'a K, Admission)> {
        self.members.iter().map(|tracked| (&tracked.member.key, self.judge(tracked)))
    }

    const fn panic(&self) -> Option<OnPanic> {
        if self.is_panic() { Some(self.settings.panic.on_panic) } else { None }
    }

    fn judge(&self, tracked: &Tracked<K>) -> Admission {
        let panic = self.panic();
        if !tracked.member.passes {
            let last_resort = self.standing.passing == 0 && panic == Some(OnPanic::All);
            return if last_resort { Admission::Full } else { Admission::Out };
        }
        // Probes go on in any panic, or it would never end.
        if tracked.out_until().is_some_and(|until| until <= self.now) {
            return Admission::ProbeDue;
        }
        match (panic, tracked.state) {
            (Some(OnPanic::Fail), _) => Admission::Out,
            (Some(OnPanic::All), _) | (None, State::In) => Admission::Full,
            (None, State::Out { .. } | State::Probing { .. }) => Admission::Out,
            (None, State::Returning { since }) => match returning_share(self.settings, self.now, since) {
                1000 => Admission::Full,
                share => Admission::Share(share),
            },
        }
    }
}

/// Members are sorted by key.
pub(super) fn position<K: Ord>(members: &[Tracked<K>], key: &K) -> Option<usize> {
    members.binary_search_by(|tracked| tracked.member.key.cmp(key)).ok()
}
