//! Which endpoint: the better of two that chance picked, by how long it makes callers wait.
//!
//! Picking the better of two random endpoints is nearly as even as picking the best of all, and unlike "the best"
//! it does not send every caller to the same endpoint (Mitzenmacher, "The Power of Two Choices in Randomized Load
//! Balancing", 2001). Cost is the peak-sensitive moving average of the response time times the requests in flight
//! (Finagle's P2C and Peak EWMA): a slow answer counts at once, and is forgotten slowly.
//!
//! The trap of every average of response times is that failing is fast: an endpoint that refuses everything looks
//! like the best. So a failure counts as a response time of its own.

use std::time::Duration;

use crate::Moment;

/// How fast the past is forgotten.
const DECAY: Duration = Duration::from_secs(10);
/// What is assumed of an endpoint that nobody knows.
const UNKNOWN: Duration = Duration::from_secs(1);
/// What a failure counts as, at most.
const FAILURE_MAX: Duration = Duration::from_secs(300);

/// The response time of one endpoint: up at once, down slowly.
#[derive(Debug, Clone, Copy)]
pub struct PeakEwma {
    nanos: f64,
    at: Moment,
}

impl PeakEwma {
    /// A new endpoint starts from the median of its peers, else from one second.
    pub fn new(now: Moment, peers_median: Option<Duration>) -> Self {
        Self { nanos: peers_median.unwrap_or(UNKNOWN).as_nanos() as f64, at: now }
    }

    /// An answer took `rtt`.
    pub fn observe(&mut self, now: Moment, rtt: Duration) {
        let rtt = rtt.as_nanos() as f64;
        if rtt > self.nanos {
            self.nanos = rtt;
        } else {
            let weight = self.weight(now);
            self.nanos = self.nanos * weight + rtt * (1.0 - weight);
        }
        self.at = self.at.max(now);
    }

    /// A call failed and counts as if it had taken `penalty`: five seconds, or as long as the other side asked to be
    /// left alone.
    pub fn fail(&mut self, now: Moment, penalty: Duration) {
        self.nanos = self.nanos.max(penalty.min(FAILURE_MAX).as_nanos() as f64);
        self.at = self.at.max(now);
    }

    /// The response time to expect, decayed by the silence since the last call: who was not asked for long may be
    /// better by now.
    pub fn rtt(&self, now: Moment) -> Duration {
        Duration::from_nanos((self.nanos * self.weight(now)) as u64)
    }

    /// What one more request would cost there.
    pub fn load(&self, now: Moment, in_flight: u32) -> f64 {
        // At least a microsecond, so that requests in flight count however fast the endpoint is.
        (self.nanos * self.weight(now)).max(1000.0) * (f64::from(in_flight) + 1.0)
    }

    fn weight(&self, now: Moment) -> f64 {
        let silent = now.since(self.at);
        if silent < Duration::from_millis(1) {
            // exp(-x) ≈ 1 - x: the usual case, and an order of magnitude cheaper.
            return 1.0 - silent.as_secs_f64() / DECAY.as_secs_f64();
        }
        (-silent.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

/// Two different indices below `len`, each pair equally likely. Of fewer than two, twice the first.
pub fn pick_two(len: usize, rng: &mut fastrand::Rng) -> (usize, usize) {
    if len < 2 {
        return (0, 0);
    }
    let a = rng.usize(0..len);
    let b = rng.usize(0..len - 1);
    (a, if b >= a { b + 1 } else { b })
}

/// The cheaper of two of `candidates`, each pair equally likely; `None` where there are none. For candidates that
/// are not in a list, such as those of a [`Pool`](crate::Pool): it keeps two and allocates nothing.
pub fn better_of_two<T>(
    candidates: impl IntoIterator<Item = T>,
    rng: &mut fastrand::Rng,
    mut cost: impl FnMut(&T) -> f64,
) -> Option<T> {
    let mut candidates = candidates.into_iter();
    let mut first = candidates.next()?;
    let Some(mut second) = candidates.next() else { return Some(first) };
    // Reservoir sampling: the n-th takes the place of one of the two with a chance of 2 in n.
    for (candidate, before) in candidates.zip(2..) {
        match rng.usize(0..=before) {
            0 => first = candidate,
            1 => second = candidate,
            _ => {}
        }
    }
    let (a, b) = (cost(&first), cost(&second));
    // Equal costs must not always mean the earlier one.
    Some(if b < a || (a == b && rng.bool()) { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    proptest! {
        #[test]
        fn the_average_stays_between_the_extremes(rtts in proptest::collection::vec((1u64..10_000, 0u64..5000), 1..100)) {
            let mut now = Moment::ZERO;
            let mut ewma = PeakEwma::new(now, Some(MS));
            let (mut low, mut high) = (1_000_000u64, 1_000_000u64);
            for (rtt_us, wait_ms) in rtts {
                now += Duration::from_millis(wait_ms);
                let rtt = Duration::from_micros(rtt_us);
                ewma.observe(now, rtt);
                low = low.min(rtt_us * 1000);
                high = high.max(rtt_us * 1000);
                let seen = ewma.rtt(now).as_nanos() as u64;
                prop_assert!(seen + 1 >= low && seen <= high + 1, "{low} {seen} {high}");
                prop_assert!(seen + 1 >= rtt_us * 1000, "a peak counts at once");
            }
        }

        #[test]
        fn two_are_always_two(len in 2usize..20, seed: u64) {
            let (a, b) = pick_two(len, &mut fastrand::Rng::with_seed(seed));
            prop_assert!(a != b && a < len && b < len);
        }
    }

    #[test]
    fn no_time_however_long_makes_a_load_that_is_no_number() {
        for start in [None, Some(Duration::ZERO), Some(Duration::MAX)] {
            let mut ewma = PeakEwma::new(Moment::MAX, start);
            for now in [Moment::ZERO, Moment::MAX, Moment::ZERO] {
                ewma.observe(now, Duration::MAX);
                ewma.observe(now, Duration::ZERO);
                ewma.fail(now, Duration::MAX);
                assert!(ewma.load(now, u32::MAX).is_finite() && ewma.rtt(now) <= Duration::from_nanos(u64::MAX));
            }
        }
    }

    #[test]
    fn each_pair_is_equally_likely() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = [[0u32; 4]; 4];
        for _ in 0..12_000 {
            let (a, b) = pick_two(4, &mut rng);
            seen[a][b] += 1;
        }
        for (a, row) in seen.iter().enumerate() {
            for (b, n) in row.iter().enumerate() {
                assert!(if a == b { *n == 0 } else { (800..1200).contains(n) }, "{seen:?}");
            }
        }
    }

    #[test]
    fn of_candidates_without_a_list_each_pair_is_equally_likely() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut taken = [0u32; 5];
        for _ in 0..10_000 {
            taken[better_of_two(0..5, &mut rng, |n| f64::from(*n)).unwrap() as usize] += 1;
        }
        // The cheapest is taken whenever it is among the two, the dearest never: 4, 3, 2, 1, 0 of 10 pairs.
        for (n, taken) in taken.iter().enumerate() {
            let expected = 1000 * (4 - n as u32);
            assert!(taken.abs_diff(expected) <= expected / 10, "{n}: {taken}");
        }
        assert_eq!(better_of_two(0..0, &mut rng, |_: &u32| 0.0), None);
        assert_eq!(better_of_two([7], &mut rng, |_| f64::NAN), Some(7));
        let first = (0..1000).filter(|_| better_of_two([0, 1], &mut rng, |_| 1.0) == Some(0)).count();
        assert!((400..600).contains(&first), "{first}");
        assert_eq!((pick_two(0, &mut rng), pick_two(1, &mut rng)), ((0, 0), (0, 0)));
    }

    #[test]
    fn failing_fast_attracts_nobody() {
        let mut good = PeakEwma::new(Moment::ZERO, None);
        let mut bad = good;
        let now = Moment::from(Duration::from_secs(20));
        good.observe(now, 50 * MS);
        bad.observe(now, MS);
        bad.fail(now, Duration::from_secs(5));
        assert!(bad.load(now, 0) > good.load(now, 20));
        // A long Retry-After weighs more, within reason.
        bad.fail(now, Duration::from_secs(1_000_000));
        assert_eq!(bad.rtt(now), FAILURE_MAX);
        // In the end it is forgiven.
        assert!(bad.load(now + Duration::from_secs(200), 0) < good.load(now, 0));
    }
}
