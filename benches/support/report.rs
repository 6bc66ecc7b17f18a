//! Owns what a run of calls came to, whoever made them.

use std::time::Duration;

/// What came of it. `calls` counts the good answers, and the latencies are theirs alone: a refusal
/// is quick, and must not flatter. The loop is closed: a client sends when it has its answer.
#[derive(Clone, Debug)]
pub struct Report {
    pub calls: usize,
    pub failures: usize,
    pub elapsed: Duration,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Report {
    pub fn new(mut latencies: Vec<Duration>, failures: usize, elapsed: Duration) -> Self {
        latencies.sort_unstable();
        let (p50, p99) = (percentile(&latencies, 50), percentile(&latencies, 99));
        let max = latencies.last().copied().unwrap_or_default();
        Self { calls: latencies.len(), failures, elapsed, p50, p99, max }
    }

    pub fn per_second(&self) -> f64 {
        self.calls as f64 / self.elapsed.as_secs_f64()
    }
}

/// The nearest rank in `sorted`; zero of nothing.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}
