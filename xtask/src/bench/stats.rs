//! Medians, and how far the rounds lie apart.

/// The middle of some figures, and their ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` of no figures.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) };
        Some(Self { median, min, max })
    }
}

/// Each figure divided by the one of the same round.
pub(crate) fn paired(peer: &[f64], ours: &[f64]) -> Vec<f64> {
    peer.iter().zip(ours).map(|(peer, ours)| peer / ours).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_two() {
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Some(Summary { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]), Some(Summary { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn a_slow_round_cancels_out_in_pairs() {
        // The machine was twice as slow in the second round, for both.
        let ratios = paired(&[12.0, 24.0, 12.0], &[10.0, 20.0, 10.0]);
        assert_eq!(Summary::of(ratios), Some(Summary { median: 1.2, min: 1.2, max: 1.2 }));
    }
}
