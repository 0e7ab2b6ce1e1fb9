//! A logarithmic scale: where a value stands, and which values are marked.

/// From values to pixels, by their logarithms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Values from `low` to `high`, both above zero, at pixels `from` to `to`, which may be the smaller one.
    pub(super) fn new((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        debug_assert!(low > 0.0 && high >= low, "{low} to {high}");
        // Where all values are one, it stands in the middle.
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low / 2.0, high * 2.0)
        };
        Self {
            low: low.ln(),
            high: high.ln(),
            from,
            to,
        }
    }

    /// Where a value stands. Values outside stand at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let part = (value.max(f64::MIN_POSITIVE).ln() - self.low) / (self.high - self.low);
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }
}

/// The least range of 1, 2 or 5 times a power of ten that has all values in it.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let positive = values.filter(|v| v.is_finite() && *v > 0.0);
    let (low, high) = positive.fold((f64::INFINITY, 0.0_f64), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    if high <= 0.0 {
        return None;
    }
    let steps = marks(low / 10.0, high * 10.0);
    let below = steps.iter().rev().find(|s| **s <= low * 1.000_001)?;
    let above = steps.iter().find(|s| **s >= high * 0.999_999)?;
    Some((*below, *above))
}

/// The values 1, 2 and 5 times a power of ten from `low` to `high`.
pub(super) fn marks(low: f64, high: f64) -> Vec<f64> {
    let decades = -9..=15;
    decades
        .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)))
        .filter(|mark| *mark >= low * 0.999_999 && *mark <= high * 1.000_001)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn equal_factors_are_equal_distances() {
        let scale = Scale::new((1.0, 10_000.0), (0.0, 400.0));
        assert!(close(scale.place(1.0), 0.0) && close(scale.place(10_000.0), 400.0));
        assert!(close(scale.place(10.0), 100.0) && close(scale.place(100.0), 200.0));
        let upwards = Scale::new((1.0, 100.0), (300.0, 100.0));
        assert!(close(upwards.place(10.0), 200.0));
        assert!(close(upwards.place(0.0), 300.0) && close(upwards.place(1e9), 100.0));
    }

    #[test]
    fn one_value_stands_in_the_middle() {
        let scale = Scale::new((7.0, 7.0), (0.0, 100.0));
        assert!(close(scale.place(7.0), 50.0));
    }

    #[test]
    fn a_range_ends_at_marks_and_holds_everything() {
        let (low, high) = range([3.0, 0.0, 42.0].into_iter()).unwrap();
        assert!(close(low, 2.0) && close(high, 50.0));
        let (low, high) = range([5.0, 20.0].into_iter()).unwrap();
        assert!(close(low, 5.0) && close(high, 20.0));
        assert_eq!(range([0.0].into_iter()), None);
        assert_eq!(marks(1.0, 10.0).len(), 4);
    }
}
