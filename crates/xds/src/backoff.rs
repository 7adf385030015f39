//! How long to wait before the next connection, and how connections end. Pure: the caller sleeps.

use std::time::Duration;

use tonic::Code;

/// The first and the longest delay between two connections.
const MIN: Duration = Duration::from_millis(10);
const MAX: Duration = Duration::from_secs(15);

/// Doubling delays.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// No stream could be opened.
    ConnectionError,
    /// The stream failed.
    Error,
    /// The stream ended as streams do when a control plane restarts or a connection reaches its age.
    Reconnect,
    /// The control plane closed the stream in good order.
    Complete,
}

// === impl Backoff ===

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: MIN }
    }

    /// The delay after `end`, without jitter. `useful` tells whether the connection brought a response: then the
    /// control plane is well and delays begin again; else even an orderly end counts as a failure, so that a control
    /// plane which hangs up on everybody is not stormed.
    pub(crate) fn after(&mut self, end: End, useful: bool) -> Duration {
        if useful {
            self.next = MIN;
            if end == End::Complete {
                return Duration::ZERO;
            }
        }
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(MAX);
        delay
    }
}

// === impl End ===

impl End {
    /// How a stream ended that failed with `status`.
    pub(crate) fn of(status: &tonic::Status) -> Self {
        let message = status.message();
        let closing =
            message.contains("transport is closing") || message.contains("received prior goaway");
        match status.code() {
            Code::Unknown | Code::Cancelled | Code::DeadlineExceeded => Self::Reconnect,
            Code::Unavailable if closing => Self::Reconnect,
            _ => Self::Error,
        }
    }

    /// The value of the metric label `reason`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ConnectionError => "ConnectionError",
            Self::Error => "Error",
            Self::Reconnect => "Reconnect",
            Self::Complete => "Complete",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_double_the_delay_up_to_its_maximum() {
        for end in [End::ConnectionError, End::Error, End::Reconnect, End::Complete] {
            let mut backoff = Backoff::new();
            let delays: Vec<u128> =
                (0..13).map(|_| backoff.after(end, false).as_millis()).collect();
            let expected = [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 15000, 15000];
            assert_eq!(delays, expected, "{end:?}");
        }
    }

    #[test]
    fn a_useful_connection_begins_again() {
        let mut backoff = Backoff::new();
        backoff.after(End::Error, false);
        backoff.after(End::Error, false);
        assert_eq!(backoff.after(End::Reconnect, true).as_millis(), 10);
        assert_eq!(backoff.after(End::Error, false).as_millis(), 20);
        assert_eq!(backoff.after(End::Complete, true), Duration::ZERO);
        assert_eq!(backoff.after(End::Error, true).as_millis(), 10);
    }

    #[test]
    fn statuses_are_told_apart() {
        for (code, message, end) in [
            (Code::Unknown, "x", End::Reconnect),
            (Code::Cancelled, "x", End::Reconnect),
            (Code::DeadlineExceeded, "x", End::Reconnect),
            (Code::Unavailable, "transport is closing", End::Reconnect),
            (Code::Unavailable, "received prior goaway: max age", End::Reconnect),
            (Code::Unavailable, "no route", End::Error),
            (Code::Unauthenticated, "transport is closing", End::Error),
            (Code::Internal, "x", End::Error),
        ] {
            assert_eq!(End::of(&tonic::Status::new(code, message)), end, "{code:?} {message}");
        }
    }
}
