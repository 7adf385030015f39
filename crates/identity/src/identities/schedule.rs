//! When to ask next: a pure function of the clock, the certificate, the failures and a random number.

use std::time::{Duration, SystemTime};

/// The first wait after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait after a failure. Upstream's proxies use the same three figures.
const MAX_BACKOFF: Duration = Duration::from_secs(150);

/// How much a wait after a failure varies, as a fraction in both directions.
const BACKOFF_JITTER: f64 = 0.2;

/// How much the renewal varies around half-life, as a fraction of the lifetime in both directions.
const RENEWAL_JITTER: f64 = 0.05;

/// Never sooner than this after a success, however short the lifetime.
const MIN_WAIT: Duration = Duration::from_millis(200);

/// Over how long the renewals of a node are spread when roots have changed; doubles with each further try.
const ROOT_SPREAD: Duration = Duration::from_secs(4);

/// How often other roots are asked for; then the renewal at half-life has to do.
const ROOT_TRIES: u32 = 6;

/// The period over which a certificate is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// When it came, or when it became valid if that is later or the former is not known. Certificate authorities
    /// backdate by two minutes, which would put the half-life of a short one into the past.
    pub(crate) start: SystemTime,
    /// When it expires.
    pub(crate) end: SystemTime,
}

/// How long to wait before asking (again).
///
/// `failures` counts those since the last success; `random` is in 0..1.
pub(crate) fn wait(
    now: SystemTime,
    lifetime: Option<Lifetime>,
    failures: u32,
    random: f64,
) -> Duration {
    if failures > 0 {
        return backoff(failures, random);
    }
    let Some(Lifetime { start, end }) = lifetime else {
        return Duration::ZERO;
    };
    let life = end.duration_since(start).unwrap_or_default();
    let share = 0.5 + vary(RENEWAL_JITTER, random);
    let renewal = start.checked_add(life.mul_f64(share)).unwrap_or(end);
    renewal.duration_since(now).unwrap_or_default().max(MIN_WAIT)
}

/// How long to wait before asking for other roots, after `tries` that brought none; never again after some.
pub(crate) fn for_roots(tries: u32, random: f64) -> Option<Duration> {
    let spread = ROOT_SPREAD.saturating_mul(1 << tries.min(ROOT_TRIES));
    let share = if tries == 0 { random } else { f64::midpoint(1.0, random) };
    (tries < ROOT_TRIES).then(|| spread.mul_f64(share.clamp(0.0, 1.0)))
}

fn backoff(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let steady = FIRST_BACKOFF.saturating_mul(1 << doublings).min(MAX_BACKOFF);
    steady.mul_f64(1.0 + vary(BACKOFF_JITTER, random)).min(MAX_BACKOFF)
}

/// Spreads `random` evenly over `-fraction..fraction`.
fn vary(fraction: f64, random: f64) -> f64 {
    fraction * (2.0 * random.clamp(0.0, 1.0) - 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + secs(seconds)
    }

    fn life(start: u64, end: u64) -> Option<Lifetime> {
        Some(Lifetime { start: at(start), end: at(end) })
    }

    #[test]
    fn table() {
        let half = 0.5;
        for (name, now, lifetime, failures, expected) in [
            ("nothing yet", 1000, None, 0, Duration::ZERO),
            ("fresh", 1000, life(1000, 1100), 0, secs(50)),
            ("a while later", 1030, life(1000, 1100), 0, secs(20)),
            ("past half-life", 1090, life(1000, 1100), 0, MIN_WAIT),
            ("expired", 2000, life(1000, 1100), 0, MIN_WAIT),
            ("end before start", 2000, life(1100, 1000), 0, MIN_WAIT),
            ("first failure", 1000, None, 1, secs(1)),
            ("second failure", 1000, None, 2, secs(2)),
            ("fifth failure", 1000, life(1000, 1100), 5, secs(16)),
            ("eighth failure", 1000, None, 8, secs(128)),
            ("ninth failure", 1000, None, 9, secs(150)),
            ("many failures", 1000, None, u32::MAX, secs(150)),
        ] {
            assert_eq!(wait(at(now), lifetime, failures, half), expected, "{name}");
        }
    }

    #[test]
    fn jitter_reaches_both_ends() {
        let fresh = life(0, 100);
        assert_eq!(wait(at(0), fresh, 0, 0.0).as_secs_f64().round(), 45.0);
        assert_eq!(wait(at(0), fresh, 0, 1.0).as_secs_f64().round(), 55.0);
        assert_eq!(wait(at(0), None, 1, 0.0), Duration::from_millis(800));
        assert_eq!(wait(at(0), None, 1, 1.0), Duration::from_millis(1200));
    }

    #[test]
    fn roots_are_asked_for_a_few_times() {
        for (tries, random, expected) in [
            (0, 0.0, Some(secs(0))),
            (0, 1.0, Some(secs(4))),
            (1, 0.0, Some(secs(4))),
            (1, 1.0, Some(secs(8))),
            (5, 0.5, Some(secs(96))),
            (6, 0.5, None),
            (u32::MAX, 0.5, None),
        ] {
            assert_eq!(for_roots(tries, random), expected, "{tries} {random}");
        }
    }

    proptest! {
        #[test]
        fn is_bounded(now in 0u64..1 << 40, start in 0u64..1 << 40, end in 0u64..1 << 40,
                      failures in any::<u32>(), random in any::<f64>()) {
            let random = if random.is_nan() { 0.5 } else { random };
            let waited = wait(at(now), life(start, end), failures, random);
            if failures > 0 {
                prop_assert!(waited >= Duration::from_millis(800) && waited <= MAX_BACKOFF);
            } else if end > now {
                prop_assert!(waited <= secs(end - now).max(MIN_WAIT), "renewed before it expires");
            } else {
                prop_assert_eq!(waited, MIN_WAIT);
            }
        }
    }
}
