//! Which endpoints are left out for a while because they fail.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How a request ended, as far as the endpoint is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// A response with a status of the server's own fault.
    ServerError,
    /// 502, 503 or 504.
    GatewayError,
    /// No response: the connection failed, broke, or took too long.
    LocalFailure,
}

/// When an endpoint is left out (`OutlierDetection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutlierDetection {
    /// Failures of any kind in a row; 0 for never.
    pub consecutive_5xx: u32,
    pub consecutive_gateway_errors: u32,
    pub consecutive_local_failures: u32,
    /// How often an endpoint that behaves is forgiven one of its ejections.
    pub interval: Duration,
    /// The time of the first ejection; the second takes twice as long, and so on.
    pub base_ejection: Duration,
    pub max_ejection_percent: u32,
    /// Below this share of healthy endpoints nobody is left out.
    pub min_health_percent: u32,
}

/// No ejection is longer than this, as Envoy's default has it.
const LONGEST: Duration = Duration::from_secs(300);

/// What is remembered of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<State>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct State {
    failures: u32,
    gateway_errors: u32,
    local_failures: u32,
    /// Ejections that count for the length of the next.
    ejections: u32,
    until: Option<Instant>,
    forgiven: Option<Instant>,
}

// === impl Health ===

impl Health {
    /// Takes a result in. Says whether the endpoint has to be left out now, if that is allowed.
    pub(crate) fn note(&self, outcome: Outcome, policy: &OutlierDetection, now: Instant) -> bool {
        let mut state = self.0.lock();
        state.forgive(policy, now);
        if outcome == Outcome::Success {
            (state.failures, state.gateway_errors, state.local_failures) = (0, 0, 0);
            return false;
        }
        state.failures += 1;
        match outcome {
            Outcome::GatewayError => state.gateway_errors += 1,
            // A local failure is reported as a gateway error to the client (Envoy's rule without split external and
            // local errors).
            Outcome::LocalFailure => {
                state.local_failures += 1;
                state.gateway_errors += 1;
            }
            Outcome::ServerError | Outcome::Success => state.gateway_errors = 0,
        }
        if outcome != Outcome::LocalFailure {
            state.local_failures = 0;
        }
        let reached = |count: u32, limit: u32| limit > 0 && count >= limit;
        state.until.is_none_or(|until| until <= now)
            && (reached(state.failures, policy.consecutive_5xx)
                || reached(state.gateway_errors, policy.consecutive_gateway_errors)
                || reached(state.local_failures, policy.consecutive_local_failures))
    }

    /// Leaves the endpoint out. Gives for how long.
    pub(crate) fn eject(&self, policy: &OutlierDetection, now: Instant) -> Duration {
        let mut state = self.0.lock();
        state.ejections += 1;
        let longest = LONGEST.max(policy.base_ejection);
        let time = policy.base_ejection.saturating_mul(state.ejections).min(longest);
        (state.failures, state.gateway_errors, state.local_failures) = (0, 0, 0);
        state.until = Some(now + time);
        state.forgiven = Some(now + time);
        time
    }

    /// Whether the endpoint is left out.
    pub(crate) fn is_ejected(&self, now: Instant) -> bool {
        self.0.lock().until.is_some_and(|until| now < until)
    }
}

impl State {
    /// For each interval that it behaved, one ejection is forgotten.
    fn forgive(&mut self, policy: &OutlierDetection, now: Instant) {
        let Some(mut forgiven) = self.forgiven else { return };
        while self.ejections > 0 && forgiven + policy.interval <= now {
            forgiven += policy.interval.max(Duration::from_millis(1));
            self.ejections -= 1;
        }
        self.forgiven = (self.ejections > 0).then_some(forgiven);
    }
}

// === impl OutlierDetection ===

impl OutlierDetection {
    /// Whether one more of `endpoints` may be left out where `ejected` are already. One may always be.
    pub(crate) fn may_eject(&self, ejected: usize, endpoints: usize) -> bool {
        let most = (endpoints * self.max_ejection_percent as usize / 100).max(1);
        ejected < most
    }

    /// Whether so few are healthy that nobody is left out.
    pub(crate) fn is_panic(&self, healthy: usize, endpoints: usize) -> bool {
        healthy * 100 < endpoints * self.min_health_percent as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 3,
            consecutive_gateway_errors: 2,
            consecutive_local_failures: 0,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection_percent: 50,
            min_health_percent: 40,
        }
    }

    #[test]
    fn failures_in_a_row_eject() {
        use Outcome::{GatewayError, LocalFailure, ServerError, Success};
        let now = Instant::now();
        for (outcomes, ejects) in [
            (&[ServerError, ServerError][..], false),
            (&[ServerError, ServerError, ServerError], true),
            (&[ServerError, ServerError, Success, ServerError], false),
            (&[GatewayError, GatewayError], true),
            (&[GatewayError, ServerError, GatewayError], true),
            (&[GatewayError, ServerError], false),
            (&[LocalFailure, LocalFailure], true),
        ] {
            let health = Health::default();
            let last = outcomes.iter().map(|outcome| health.note(*outcome, &policy(), now)).last();
            assert_eq!(last, Some(ejects), "{outcomes:?}");
        }
    }

    #[test]
    fn ejections_grow_and_are_forgiven() {
        let (policy, health, start) = (policy(), Health::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(health.eject(&policy, at(0)).as_secs(), 30);
        assert!(health.is_ejected(at(29)) && !health.is_ejected(at(30)));
        assert_eq!(health.eject(&policy, at(30)).as_secs(), 60);
        // Ends at 90; two intervals later nothing is held against it.
        health.note(Outcome::Success, &policy, at(110));
        assert_eq!(health.eject(&policy, at(110)).as_secs(), 30);
        let health = Health::default();
        let times = (0..20).map(|_| health.eject(&policy, start).as_secs()).max();
        assert_eq!(times, Some(300));
    }

    #[test]
    fn not_too_many_are_left_out() {
        let policy = policy();
        assert!(policy.may_eject(0, 1));
        assert!(policy.may_eject(1, 4));
        assert!(!policy.may_eject(2, 4));
        assert!(policy.is_panic(1, 4));
        assert!(!policy.is_panic(2, 4));
    }
}
