//! Medians and their like.

use serde::Serialize;

/// How a set of measurements is spread; all zero when it is empty.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub count: usize,
    pub median: f64,
    pub p95: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let Some(&max) = sorted.last() else {
            return Self::default();
        };
        Self {
            count: sorted.len(),
            median: quantile(&sorted, 0.5),
            p95: quantile(&sorted, 0.95),
            max,
        }
    }
}

/// The middle of a set of measurements, 0 for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(values).median
}

/// Linear between the two nearest ranks.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = q * (sorted.len() - 1) as f64;
    let below = sorted[rank.floor() as usize];
    let above = sorted[rank.ceil() as usize];
    below + (above - below) * rank.fract()
}

/// The slope of the straight line through `points` that the median of all pairs' slopes gives
/// (Theil and Sen): a few outliers do not move it. 0 for fewer than two points.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (index, (x, y)) in points.iter().enumerate() {
        for (later_x, later_y) in &points[index + 1..] {
            if later_x > x {
                slopes.push((later_y - y) / (later_x - x));
            }
        }
    }
    median(slopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_in_order() {
        let spread = Spread::of((0..=100).rev().map(f64::from));
        assert_eq!(spread.count, 101);
        assert_eq!((spread.median, spread.p95, spread.max), (50.0, 95.0, 100.0));
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(median([1.0, 2.0]), 1.5);
    }

    #[test]
    fn a_slope_survives_outliers() {
        let mut points: Vec<(f64, f64)> = (0..50)
            .map(|x| (f64::from(x), 3.0 * f64::from(x)))
            .collect();
        points[7].1 = 5000.0;
        points[33].1 = -400.0;
        assert!((slope(&points) - 3.0).abs() < 0.01);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
    }
}
