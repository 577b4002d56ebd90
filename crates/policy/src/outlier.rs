//! Leaving an endpoint alone that fails again and again, and taking it back with care.
//!
//! **Trips** after a number of failures in a row (5). Answers of 500 and above and failures of our own side (no
//! connection, no answer) are counted apart: an endpoint that answers every second call with a 500 and drops the
//! others is not "never twice in a row the same". A success ends both rows; an answer of any kind ends the row of
//! missing answers.
//!
//! **Lasts** 10 s × n with 20 % jitter, at most 300 s, where n counts the ejections and forgets one per healthy
//! interval. Jitter, because endpoints that fell together must not return together.
//!
//! **Is capped** at half of the endpoints, rounded down, counted *with* the one to be ejected; and where there is
//! one endpoint none is ejected. Envoy's percentages surprise in clusters of 1, 2 or 3 (envoy#26877, #27066): 10 %
//! of 3 ejects one all the same, and 1 of 1 leaves nothing. When members leave and too many are out, those whose
//! time is nearest come back early.
//!
//! **Recovers** by one strict probe: exactly one request is let through, and even a 429 fails it. The probe is
//! leased: if its outcome never comes (a dropped future, a lost ticket) the lease runs out and counts as a failure,
//! so that nothing is stuck half-open (resilience4j#935, Sentinel#1638). After it the endpoint takes 10 % of its
//! share, growing to all of it over 10 s. Outcomes of calls that began before the ejection change nothing.
//!
//! **Cold start**: a new endpoint is trusted. Its ready probe has passed, and nothing else is known.

use std::time::Duration;

use crate::Moment;

/// When to eject and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutlierOptions {
    /// Failures in a row that eject.
    pub consecutive: u32,
    /// First ejection; the n-th lasts n times as long.
    pub base: Duration,
    /// Longest ejection.
    pub max: Duration,
    /// Most of the endpoints that may be out, in ten-thousandths.
    pub cap_points: u16,
    /// How long a returning endpoint takes to get its full share.
    pub slow_start: Duration,
    /// How long the outcome of a probe may take.
    pub probe_lease: Duration,
}

impl Default for OutlierOptions {
    fn default() -> Self {
        Self {
            consecutive: 5,
            base: Duration::from_secs(10),
            max: Duration::from_secs(300),
            cap_points: 5000,
            slow_start: Duration::from_secs(10),
            probe_lease: Duration::from_secs(6),
        }
    }
}

/// How a call ended, as far as the health of the endpoint goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// It did not: an answer below 500 that is not 429.
    None,
    /// Answered 429: it lives, and has enough.
    Busy,
    /// Answered 500 and above.
    Status,
    /// No connection, or no answer.
    Local,
}

/// Whether an endpoint may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As any other.
    Full,
    /// Returning: it takes this share of its traffic, in thousandths.
    Share(u32),
    /// Its time is over: one request may find out. Claim it with [`Outlier::start_probe`].
    ProbeDue,
    /// No.
    Out,
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Out for so long, after so many failures.
    Ejected {
        /// For how long.
        length: Duration,
        /// Failures in a row; 1 where a probe failed.
        failures: u32,
    },
    /// Back, slowly.
    Returned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    In,
    Out { until: Moment },
    Probing { until: Moment },
    Returning { since: Moment },
}

#[derive(Debug, Clone)]
struct Member<K> {
    key: K,
    state: State,
    status_row: u32,
    local_row: u32,
    ejections: u32,
    healthy_since: Moment,
    generation: u64,
}

/// The one request that finds out whether an endpoint is well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    generation: u64,
}

/// The endpoints of one service, as their calls showed them.
#[derive(Debug, Clone)]
pub struct Outlier<K> {
    options: OutlierOptions,
    // Sorted by key, so that nothing depends on the order of arrival.
    members: Vec<Member<K>>,
    generation: u64,
}

impl<K: Ord + Clone> Outlier<K> {
    /// Knows nobody yet.
    pub fn new(options: OutlierOptions) -> Self {
        Self { options, members: Vec::new(), generation: 0 }
    }

    /// Other figures from now on.
    pub fn set_options(&mut self, options: OutlierOptions) {
        self.options = options;
    }

    /// Who there is. Those who stay keep their state, those who leave are forgotten, those who come are trusted.
    /// Gives back who returned early because too many would be out.
    pub fn set_members(&mut self, now: Moment, keys: impl IntoIterator<Item = K>) -> Vec<K> {
        let mut old = std::mem::take(&mut self.members);
        for key in keys {
            let member = match old.binary_search_by(|m| m.key.cmp(&key)) {
                Ok(at) => old.remove(at),
                Err(_) => Member {
                    key,
                    state: State::In,
                    status_row: 0,
                    local_row: 0,
                    ejections: 0,
                    healthy_since: now,
                    generation: 0,
                },
            };
            self.members.push(member);
        }
        self.members.sort_by(|a, b| a.key.cmp(&b.key));
        self.members.dedup_by(|a, b| a.key == b.key);
        let mut early = Vec::new();
        while self.out() > self.out_max() {
            let nearest = self.members.iter_mut().filter(|m| m.is_out()).min_by_key(|m| match m.state {
                State::Out { until } | State::Probing { until } => until,
                _ => Moment::MAX,
            });
            let Some(member) = nearest else { break };
            member.take_back(now);
            early.push(member.key.clone());
        }
        early
    }

    /// Whether `key` may be asked now. Unknown keys may.
    pub fn admission(&self, now: Moment, key: &K) -> Admission {
        let Some(member) = self.find(key) else { return Admission::Full };
        match member.state {
            State::In => Admission::Full,
            State::Out { until } | State::Probing { until } if until <= now => Admission::ProbeDue,
            State::Out { .. } | State::Probing { .. } => Admission::Out,
            State::Returning { since } => match self.returning_share(now, since) {
                1000 => Admission::Full,
                share => Admission::Share(share),
            },
        }
    }

    /// Claims the probe of `key`; only one caller gets it.
    pub fn start_probe(&mut self, now: Moment, key: &K) -> Option<Probe> {
        let lease = self.options.probe_lease;
        let generation = self.generation + 1;
        let member = self.find_mut(key)?;
        match member.state {
            State::Out { until } | State::Probing { until } if until <= now => {
                member.state = State::Probing { until: now + lease };
                member.generation = generation;
                self.generation = generation;
                Some(Probe { generation })
            }
            _ => None,
        }
    }

    /// The probe had no outcome (the client went away): another may be made at once.
    pub fn give_back(&mut self, now: Moment, key: &K, probe: Probe) {
        if let Some(member) = self.find_mut(key)
            && member.is_probed_by(probe)
        {
            member.state = State::Out { until: now };
        }
    }

    /// A call to `key` has ended.
    pub fn observe(
        &mut self,
        now: Moment,
        key: &K,
        failure: Failure,
        probe: Option<Probe>,
        rng: &mut fastrand::Rng,
    ) -> Option<Change> {
        let options = self.options;
        let may_eject = self.out() < self.out_max();
        let share_of = |since| returning_share(&options, now, since);
        let member = self.find_mut(key)?;
        match (member.state, probe) {
            (State::Probing { .. }, Some(probe)) if member.is_probed_by(probe) => {
                return Some(match failure {
                    Failure::None => {
                        member.take_back(now);
                        Change::Returned
                    }
                    _ => member.eject(now, &options, 1, rng),
                });
            }
            // It began before the ejection or belongs to an older probe: what it tells is old.
            (State::Out { .. } | State::Probing { .. }, _) => return None,
            (State::Returning { since }, _) if share_of(since) == 1000 => member.state = State::In,
            _ => {}
        }
        match failure {
            Failure::None => (member.status_row, member.local_row) = (0, 0),
            Failure::Busy => member.local_row = 0,
            Failure::Status => {
                member.status_row = member.status_row.saturating_add(1);
                member.local_row = 0;
            }
            Failure::Local => member.local_row = member.local_row.saturating_add(1),
        }
        let row = member.status_row.max(member.local_row);
        (row >= options.consecutive && may_eject).then(|| member.eject(now, &options, row, rng))
    }

    /// Nobody is out or returning, and no row of failures has begun: until a failure comes, nothing needs to be asked.
    pub fn is_calm(&self) -> bool {
        self.members.iter().all(|m| m.state == State::In && m.status_row == 0 && m.local_row == 0)
    }

    /// Who is out.
    pub fn ejected(&self) -> impl Iterator<Item = &K> {
        self.members.iter().filter(|m| m.is_out()).map(|m| &m.key)
    }

    fn out(&self) -> usize {
        self.members.iter().filter(|m| m.is_out()).count()
    }

    fn out_max(&self) -> usize {
        match self.members.len() {
            0 | 1 => 0,
            n => n * usize::from(self.options.cap_points) / 10_000,
        }
    }

    fn returning_share(&self, now: Moment, since: Moment) -> u32 {
        returning_share(&self.options, now, since)
    }

    fn find(&self, key: &K) -> Option<&Member<K>> {
        self.members.binary_search_by(|m| m.key.cmp(key)).ok().map(|at| &self.members[at])
    }

    fn find_mut(&mut self, key: &K) -> Option<&mut Member<K>> {
        self.members.binary_search_by(|m| m.key.cmp(key)).ok().map(|at| &mut self.members[at])
    }
}

/// 100 to 1000 thousandths, growing over the slow start.
fn returning_share(options: &OutlierOptions, now: Moment, since: Moment) -> u32 {
    let passed = now.since(since);
    if passed >= options.slow_start {
        return 1000;
    }
    100 + (900 * passed.as_nanos() / options.slow_start.as_nanos().max(1)) as u32
}

impl<K> Member<K> {
    fn is_out(&self) -> bool {
        matches!(self.state, State::Out { .. } | State::Probing { .. })
    }

    fn is_probed_by(&self, probe: Probe) -> bool {
        matches!(self.state, State::Probing { .. }) && self.generation == probe.generation
    }

    fn take_back(&mut self, now: Moment) {
        self.state = State::Returning { since: now };
        (self.status_row, self.local_row) = (0, 0);
        self.healthy_since = now;
    }

    fn eject(&mut self, now: Moment, options: &OutlierOptions, failures: u32, rng: &mut fastrand::Rng) -> Change {
        if !self.is_out() {
            let healthy = now.since(self.healthy_since);
            let intervals = healthy.as_nanos() / options.base.as_nanos().max(1);
            self.ejections = self.ejections.saturating_sub(u32::try_from(intervals).unwrap_or(u32::MAX));
        }
        self.ejections = self.ejections.saturating_add(1);
        let jitter = 0.8 + 0.4 * rng.f64();
        let length = options.base.saturating_mul(self.ejections).min(options.max).mul_f64(jitter).min(options.max);
        self.state = State::Out { until: now + length };
        (self.status_row, self.local_row) = (0, 0);
        Change::Ejected { length, failures }
    }
}

#[cfg(test)]
mod tests;
