//! When to try again.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks for a kind that is missing or forbidden.
    pub absent: Duration,
    /// After the first failure of the API server; doubles up to [`Pace::most`].
    pub retry: Duration,
    /// Between two tries of an API server that stays away, at most.
    pub most: Duration,
}

/// Longer and longer pauses between tries.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    pace: Pace,
    failures: u32,
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Self {
            absent: Duration::from_secs(30),
            retry: Duration::from_millis(500),
            most: Duration::from_secs(5),
        }
    }
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { pace, failures: 0 }
    }

    /// How long to wait now. Up to half of it is left to chance, so that those who failed together do not return
    /// together.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let full = bounded(self.pace, self.failures);
        full.mul_f64(rand::random_range(0.5..=1.0))
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

fn bounded(pace: Pace, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    pace.retry.saturating_mul(factor).min(pace.most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_their_bound() {
        let pace = Pace::default();
        let pauses = [1, 2, 3, 7, 40].map(|failures| bounded(pace, failures));
        let expected = [500, 1000, 2000, 5000, 5000].map(Duration::from_millis);
        assert_eq!(pauses, expected);
        let mut backoff = Backoff::new(pace);
        assert!((pace.retry / 2..=pace.retry).contains(&backoff.failed()));
    }
}
