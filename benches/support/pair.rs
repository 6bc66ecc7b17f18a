//! Owns paired measuring: candidate, baseline, candidate, baseline, … so that whatever else the
//! machine does falls on both alike, and the ratio holds where the figures themselves drift.

/// The measures of each round: the candidate's, then the baseline's.
pub struct Pairs<T>(pub Vec<(T, T)>);

/// Runs `candidate` and `baseline` in turn, `rounds` times each.
/// Warm both up before: the first round counts like every other.
pub async fn paired<T>(
    rounds: usize,
    mut candidate: impl AsyncFnMut() -> T,
    mut baseline: impl AsyncFnMut() -> T,
) -> Pairs<T> {
    let mut pairs = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let ours = candidate().await;
        pairs.push((ours, baseline().await));
    }
    Pairs(pairs)
}

impl<T> Pairs<T> {
    /// Candidate over baseline for each round, of the figure that `of` picks.
    pub fn ratios(&self, of: impl Fn(&T) -> f64) -> Vec<f64> {
        let ratio = |(ours, theirs): &(T, T)| of(ours) / of(theirs);
        self.0.iter().map(ratio).collect()
    }

    /// The middle ratio.
    pub fn ratio(&self, of: impl Fn(&T) -> f64) -> f64 {
        median(self.ratios(of))
    }

    /// The middle figure of the candidate, and of the baseline.
    pub fn medians(&self, of: impl Fn(&T) -> f64) -> (f64, f64) {
        let ours = self.0.iter().map(|pair| of(&pair.0)).collect();
        let theirs = self.0.iter().map(|pair| of(&pair.1)).collect();
        (median(ours), median(theirs))
    }
}

/// The middle value; the mean of the middle two if their number is even, NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
