//! How much may be tried again: a share of what is asked, and a little besides.
//!
//! Each request earns a part of a retry, each retry costs a whole one, and what was earned is worth something for one
//! interval only. When everything fails, the extra load is thus a share of the load and not a multiple of it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The settings of a budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BudgetSettings {
    /// Retries earned by a request, in hundredths.
    pub percent: u32,
    /// Retries that each interval allows in any case, for where few requests come.
    pub min: u32,
    /// How long what was earned counts.
    pub interval: Duration,
}

/// What has been earned and spent.
#[derive(Debug)]
pub(crate) struct Budget(Mutex<State>);

/// Buckets that an interval is divided into.
const BUCKETS: usize = 10;

#[derive(Debug)]
struct State {
    /// Earned less spent, in hundredths of a retry, for each tenth of the interval.
    buckets: [i64; BUCKETS],
    current: usize,
    since: Instant,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        // A fifth of the requests, and ten a second (Gateway API, GEP-3388).
        Self { percent: 20, min: 100, interval: Duration::from_secs(10) }
    }
}

// === impl Budget ===

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Self(Mutex::new(State { buckets: [0; BUCKETS], current: 0, since: now }))
    }

    /// A request came.
    pub(crate) fn earn(&self, settings: &BudgetSettings, now: Instant) {
        let mut state = self.0.lock();
        state.advance(settings, now);
        let current = state.current;
        state.buckets[current] += i64::from(settings.percent);
    }

    /// Whether there may be another try, which is paid for if so.
    pub(crate) fn spend(&self, settings: &BudgetSettings, now: Instant) -> bool {
        let mut state = self.0.lock();
        state.advance(settings, now);
        let reserve = i64::from(settings.min) * 100;
        let left = state.buckets.iter().sum::<i64>() + reserve;
        if left < 100 {
            return false;
        }
        let current = state.current;
        state.buckets[current] -= 100;
        true
    }
}

impl State {
    /// Forgets what is older than an interval.
    fn advance(&mut self, settings: &BudgetSettings, now: Instant) {
        let width = (settings.interval / BUCKETS as u32).max(Duration::from_millis(1));
        let mut steps = 0;
        while now.saturating_duration_since(self.since) >= width && steps < BUCKETS {
            self.since += width;
            self.current = (self.current + 1) % BUCKETS;
            self.buckets[self.current] = 0;
            steps += 1;
        }
        if now.saturating_duration_since(self.since) >= width {
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_and_a_few_besides() {
        let settings = BudgetSettings { min: 10, ..BudgetSettings::default() };
        let start = Instant::now();
        let budget = Budget::new(start);
        let spend = |n: usize, now| (0..n).filter(|_| budget.spend(&settings, now)).count();
        assert_eq!(spend(100, start), 10);
        let now = start + Duration::from_secs(1);
        for _ in 0..100 {
            budget.earn(&settings, now);
        }
        assert_eq!(spend(100, now), 20);
        // After an interval all of it is forgotten: what was earned, and what was spent.
        assert_eq!(spend(100, now + Duration::from_secs(11)), 10);
    }

    #[test]
    fn under_total_outage_the_extra_load_stays_within_the_budget() {
        let settings = BudgetSettings { min: 10, ..BudgetSettings::default() };
        let mut now = Instant::now();
        let budget = Budget::new(now);
        let (mut requests, mut retries) = (0, 0);
        // 1,000 requests a second for a minute, each of which would be tried twice more.
        for _ in 0..60_000 {
            now += Duration::from_millis(1);
            budget.earn(&settings, now);
            requests += 1;
            retries += (0..2).take_while(|_| budget.spend(&settings, now)).count();
        }
        let share = retries as f64 / f64::from(requests);
        assert!((0.19..0.21).contains(&share), "{share}");
    }
}
