//! What is said of a set of samples: median, quartiles, extremes, and percentiles.

/// Samples in one unit, ascending; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Sorts them.
    ///
    /// # Panics
    /// If there is none, or one is not a number.
    pub fn new(mut samples: Vec<f64>) -> Self {
        assert!(!samples.is_empty(), "a figure has at least one sample");
        assert!(samples.iter().all(|s| !s.is_nan()), "a sample is a number");
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "there is at least one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The value that the fraction `part` (0 to 1) of the samples does not exceed, between two samples by proportion.
    pub fn quantile(&self, part: f64) -> f64 {
        let last = self.0.len() - 1;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 samples")]
        let place = part.clamp(0.0, 1.0) * last as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the last index"
        )]
        let below = place.floor() as usize;
        let above = (below + 1).min(last);
        self.0[below] + (self.0[above] - self.0[below]) * place.fract()
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Median, quartiles and least.
    pub fn summary(&self) -> Summary {
        Summary {
            median: self.median(),
            low: self.quantile(0.25),
            high: self.quantile(0.75),
            least: self.0[0],
            samples: self.len(),
        }
    }
}

/// What is kept of a set of samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle.
    pub median: f64,
    /// A quarter is below.
    pub low: f64,
    /// A quarter is above.
    pub high: f64,
    /// The least.
    pub least: f64,
    /// How many samples there were.
    pub samples: usize,
}

impl Summary {
    /// Of a quantity that was counted and not sampled.
    pub fn exact(value: f64) -> Self {
        Self {
            median: value,
            low: value,
            high: value,
            least: value,
            samples: 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn order_does_not_matter_and_one_outlier_moves_no_median() {
        let calm = Samples::new(vec![3.0, 1.0, 2.0, 5.0, 4.0]);
        let wild = Samples::new(vec![4.0, 3.0, 900.0, 1.0, 2.0]);
        assert!(close(calm.median(), 3.0) && close(wild.median(), 3.0));
        assert!(close(wild.quantile(1.0), 900.0) && close(wild.quantile(0.0), 1.0));
    }

    #[test]
    fn quantiles_lie_between_neighbours_by_proportion() {
        let samples = Samples::new(vec![10.0, 20.0]);
        assert!(close(samples.median(), 15.0));
        assert!(close(samples.quantile(0.999), 19.99));
        let one = Samples::new(vec![7.0]);
        assert!(close(one.quantile(0.999), 7.0) && close(one.median(), 7.0));
    }

    #[test]
    fn a_summary_has_quartiles_and_least() {
        let summary = Samples::new((1..=9).map(f64::from).collect()).summary();
        assert!(close(summary.low, 3.0) && close(summary.high, 7.0));
        assert!(close(summary.least, 1.0) && close(summary.median, 5.0));
        assert_eq!(summary.samples, 9);
    }

    #[test]
    #[should_panic(expected = "at least one sample")]
    fn no_samples_are_no_figure() {
        let _ = Samples::new(Vec::new());
    }
}
