//! Who stands out among its peers, by what an interval showed. Functions of figures alone.
//!
//! **Success.** The usual rule compares an endpoint with the mean and the deviation of *all*, itself included. Of n
//! values one cannot lie more than √(n−1) deviations from their mean: of three 1.41, of four 1.73. With 1.9 the rule
//! could never eject one of fewer than five, however badly it does; its failures hide it by widening the very
//! deviation that they are measured by. So mean and deviation are those of the *peers*.
//!
//! Peers that happen to agree have no deviation, and then any difference would eject. So the deviation is taken to
//! be at least what chance gives to that many calls that succeed as often as the peers' do: √(p(1−p)/calls). Where
//! all is well that is nothing; in a brown-out of the whole service it keeps bad luck from looking like a bad
//! endpoint.
//!
//! **Time.** The median of the peers, because one more slow peer must not move what slow means.

use super::settings::{LatencyRule, SuccessRateRule};

/// Fewest endpoints that have a mean worth the name.
pub(super) const MEAN_OF_MIN: usize = 3;

/// What one endpoint showed, where it showed enough. The index is its place in the list of endpoints.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figure<T> {
    pub(super) index: usize,
    pub(super) value: T,
}

/// Calls and failures; never of no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calls {
    pub(super) all: u32,
    pub(super) failed: u32,
}

impl Calls {
    /// 0 to 1.
    pub(super) fn success(self) -> f64 {
        f64::from(self.all.saturating_sub(self.failed)) / f64::from(self.all.max(1))
    }
}

/// Who succeeds too rarely, the worst first.
pub(super) fn low_success(rule: &SuccessRateRule, figures: &[Figure<Calls>]) -> Vec<Figure<Calls>> {
    if figures.len() < MEAN_OF_MIN {
        return Vec::new();
    }
    let peers = (figures.len() - 1) as f64;
    let (sum, squares) = figures.iter().map(|f| f.value.success()).fold((0.0, 0.0), |(s, q), x| (s + x, q + x * x));
    let below = f64::from(rule.below.points()) / 10_000.0;
    let mut low: Vec<_> = figures
        .iter()
        .filter(|figure| {
            let own = figure.value.success();
            // Clamped, because what was added and taken away again is not always what it was.
            let mean = ((sum - own) / peers).clamp(0.0, 1.0);
            let variance = ((squares - own * own) / peers - mean * mean).max(0.0);
            let chance = mean * (1.0 - mean) / f64::from(figure.value.all.max(1));
            own < below.min(mean - rule.deviations * variance.max(chance).sqrt())
        })
        .copied()
        .collect();
    low.sort_by(|a, b| a.value.success().total_cmp(&b.value.success()));
    low
}

/// Who is slow, the slowest first. Values are nanoseconds.
pub(super) fn slow(rule: &LatencyRule, figures: &[Figure<u64>]) -> Vec<Figure<u64>> {
    let mut sorted: Vec<u64> = figures.iter().map(|f| f.value).collect();
    sorted.sort_unstable();
    let over = crate::time::nanos(rule.over);
    let mut slow: Vec<_> = figures
        .iter()
        .filter(|figure| {
            let Some(median) = median_of_peers(&sorted, figure.value) else { return false };
            figure.value > over && figure.value as f64 > rule.factor * median as f64
        })
        .copied()
        .collect();
    slow.sort_by_key(|figure| std::cmp::Reverse(figure.value));
    slow
}

/// The median of `sorted` without one `own`; `None` where there are no peers.
fn median_of_peers(sorted: &[u64], own: u64) -> Option<u64> {
    let at = sorted.binary_search(&own).ok()?;
    let peers = sorted.len() - 1;
    let peer = |n: usize| sorted[if n >= at { n + 1 } else { n }];
    match peers {
        0 => None,
        odd if odd % 2 == 1 => Some(peer(odd / 2)),
        even => Some(peer(even / 2 - 1).midpoint(peer(even / 2))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn calls(of: &[(u32, u32)]) -> Vec<Figure<Calls>> {
        let calls = of.iter().map(|(all, failed)| Calls { all: *all, failed: *failed });
        calls.enumerate().map(|(index, value)| Figure { index, value }).collect()
    }

    fn low(of: &[(u32, u32)]) -> Vec<usize> {
        low_success(&SuccessRateRule::default(), &calls(of)).iter().map(|f| f.index).collect()
    }

    fn slow_of(ms: &[u64]) -> Vec<usize> {
        let figures: Vec<_> =
            ms.iter().enumerate().map(|(index, ms)| Figure { index, value: ms * 1_000_000 }).collect();
        slow(&LatencyRule::default(), &figures).iter().map(|f| f.index).collect()
    }

    #[test]
    fn one_of_three_stands_out_although_it_widens_the_deviation_of_all() {
        assert_eq!(low(&[(20, 0), (20, 20), (20, 0)]), [1]);
        assert_eq!(low(&[(100, 1), (100, 2), (100, 30)]), [2]);
        assert_eq!(low(&[(20, 0), (20, 20)]), [0; 0], "two have no mean");
    }

    #[test]
    fn nobody_who_does_well_enough_stands_out() {
        assert_eq!(low(&[(1000, 0), (1000, 0), (1000, 149)]), [0; 0]);
        assert_eq!(low(&[(1000, 0), (1000, 0), (1000, 151)]), [2]);
    }

    #[test]
    fn in_a_brown_out_of_all_bad_luck_is_not_a_bad_endpoint() {
        assert_eq!(low(&[(20, 10), (20, 10), (20, 12)]), [0; 0]);
        assert_eq!(low(&[(20, 10), (20, 10), (20, 19)]), [2]);
        assert_eq!(low(&[(20, 20), (20, 20), (20, 20)]), [0; 0]);
    }

    #[test]
    fn the_worst_comes_first() {
        assert_eq!(low(&[(100, 0), (100, 40), (100, 0), (100, 60), (100, 0), (100, 0), (100, 0), (100, 0)]), [3]);
        assert_eq!(slow_of(&[10, 200, 10, 300, 10, 10]), [3, 1]);
    }

    #[test]
    fn slow_is_slower_than_the_others_and_slow_at_all() {
        assert_eq!(slow_of(&[10, 10, 49]), [0; 0], "quick enough");
        assert_eq!(slow_of(&[20, 20, 61]), [2]);
        assert_eq!(slow_of(&[20, 20, 60]), [0; 0]);
        assert_eq!(slow_of(&[20, 61]), [1], "one peer is a peer");
        assert_eq!(slow_of(&[500]), [0; 0], "alone");
        assert_eq!(slow_of(&[500, 500, 10, 10]), [0, 1], "the median of 500, 10 and 10 is 10");
        assert_eq!(slow_of(&[500, 500, 500, 10]), [0; 0], "if most are slow, slow is normal");
    }

    proptest! {
        /// Against the median of a list from which the own value was taken.
        #[test]
        fn the_median_is_that_of_the_others(mut values in prop::collection::vec(0u64..50, 2..12), own: prop::sample::Index) {
            values.sort_unstable();
            let own = own.index(values.len());
            let mut others = values.clone();
            let value = others.remove(own);
            let (low, high) = (others[(others.len() - 1) / 2], others[others.len() / 2]);
            prop_assert_eq!(median_of_peers(&values, value), Some(low.midpoint(high)));
        }

        #[test]
        fn no_figures_however_strange_break_it(
            of in prop::collection::vec((any::<u32>(), any::<u32>()), 0..8),
            times in prop::collection::vec(any::<u64>(), 0..8),
            deviations in 0.0f64..10.0,
        ) {
            let rule = SuccessRateRule { deviations, ..SuccessRateRule::default() };
            prop_assert!(low_success(&rule, &calls(&of)).len() <= of.len());
            let figures: Vec<_> = times.iter().enumerate().map(|(index, value)| Figure { index, value: *value }).collect();
            let rule = LatencyRule { over: Duration::ZERO, ..LatencyRule::default() };
            prop_assert!(slow(&rule, &figures).len() <= times.len());
        }
    }
}
