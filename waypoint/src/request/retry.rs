//! Whether a request is tried again.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use rand::RngExt;

use crate::rules::RetryPolicy;
use crate::upstream::{ConnectFailure, Refused, SendError};

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tried {
    /// The endpoint has not seen it.
    Unsent,
    /// Nothing came back.
    Reset,
    /// It took longer than one try may.
    TimedOut,
    /// The endpoint's node refused the caller, as every other would.
    Denied,
    /// A limit was reached.
    Refused,
    Responded {
        status: StatusCode,
        grpc: Option<u32>,
    },
}

/// The longest pause is this many times the first.
const LONGEST: u32 = 10;

// === impl Tried ===

impl Tried {
    pub(super) fn of_error(error: &SendError) -> Self {
        match error {
            SendError::Connect(failure) if ConnectFailure::is_denial(failure) => Self::Denied,
            SendError::Refused(Refused::Pending | Refused::Requests) => Self::Refused,
            error if error.is_unsent() => Self::Unsent,
            _ => Self::Reset,
        }
    }

    pub(super) fn of_response(status: StatusCode, headers: &HeaderMap) -> Self {
        let grpc = headers.get("grpc-status");
        let grpc = grpc.and_then(|status| status.to_str().ok()?.parse().ok());
        Self::Responded { status, grpc }
    }

    /// Whether `policy` wants another try after this one.
    pub(super) fn is_retriable(self, policy: &RetryPolicy) -> bool {
        match self {
            Self::Unsent => policy.connect_failure,
            Self::Reset | Self::TimedOut => policy.reset,
            Self::Denied | Self::Refused => false,
            Self::Responded { status, grpc } => {
                let code = status.as_u16();
                (policy.gateway_error && (502..=504).contains(&code))
                    || (policy.server_error && status.is_server_error())
                    || (policy.retriable_4xx && status == StatusCode::CONFLICT)
                    || policy.codes.contains(&status)
                    || grpc.is_some_and(|grpc| policy.grpc_codes.contains(&grpc))
            }
        }
    }
}

/// The pause before try number `retry`, which counts from one: at random up to twice the one before.
pub(super) fn pause(policy: &RetryPolicy, retry: u32, rng: &mut impl rand::Rng) -> Duration {
    let factor = 1_u32.checked_shl(retry.saturating_sub(1)).unwrap_or(LONGEST).min(LONGEST);
    let most = policy.backoff.saturating_mul(factor);
    most.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_outcomes() {
        let responded = |status: u16, grpc| Tried::Responded {
            status: StatusCode::from_u16(status).unwrap(),
            grpc,
        };
        let none = RetryPolicy::default;
        let all = [
            Tried::Unsent,
            Tried::Reset,
            Tried::TimedOut,
            Tried::Denied,
            Tried::Refused,
            responded(200, None),
            responded(200, Some(14)),
            responded(409, None),
            responded(500, None),
            responded(503, None),
        ];
        for (policy, wanted) in [
            (none(), &[][..]),
            (RetryPolicy { connect_failure: true, ..none() }, &[0][..]),
            (RetryPolicy { reset: true, ..none() }, &[1, 2]),
            (RetryPolicy { gateway_error: true, ..none() }, &[9]),
            (RetryPolicy { server_error: true, ..none() }, &[8, 9]),
            (RetryPolicy { retriable_4xx: true, ..none() }, &[7]),
            (RetryPolicy { codes: vec![StatusCode::OK], ..none() }, &[5, 6]),
            (RetryPolicy { grpc_codes: vec![14], ..none() }, &[6]),
        ] {
            let retried: Vec<usize> =
                (0..all.len()).filter(|i| all[*i].is_retriable(&policy)).collect();
            assert_eq!(retried, wanted, "{policy:?}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let policy = RetryPolicy { backoff: Duration::from_millis(20), ..RetryPolicy::default() };
        let mut rng = rand::rng();
        for (retry, most) in [(1, 20), (2, 40), (3, 80), (4, 160), (5, 200), (40, 200)] {
            let pause = pause(&policy, retry, &mut rng).as_millis();
            assert!((most / 2..=most).contains(&pause), "{retry}: {pause} ms");
        }
    }
}
