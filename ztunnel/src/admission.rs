//! How many connections a pod may have, so that none takes the node's descriptors and memory for itself.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use ambit_net::canonical;
use ambit_telemetry::{AccessLog, Direction};
use tokio::net::TcpStream;

use crate::context::Local;

/// A pod may have so many times as many connections as there are descriptors left. By itself it leaves a ninth of them;
/// of several in a storm each gets as much as another.
const SHARE: usize = 8;

/// Descriptors that no connection of a pod is accepted for: what has been accepted needs a second one, and the process
/// itself some.
const RESERVE: usize = 64;

/// What all pods share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections that one pod may have (`POD_MAX_CONNECTIONS`).
    pub connections: usize,
    /// Descriptors that connections may have.
    pub descriptors: usize,
}

/// Why a pod gets no more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    #[error("the pod has {0} connections: POD_MAX_CONNECTIONS allows no more")]
    Connections(usize),
    #[error(
        "the pod has {connections} connections and only {left} descriptors are left for all pods of the node: raise the limit of open files"
    )]
    Descriptors { connections: usize, left: usize },
}

// === impl Limits ===

impl Limits {
    /// The limits of a process that may have so many `descriptors`.
    pub(crate) fn new(connections: usize, descriptors: usize) -> Self {
        Self { connections, descriptors: descriptors - RESERVE.min(descriptors / 4) }
    }

    /// Whether a pod with so many connections may have another one.
    ///
    /// `descriptor` is the number of a descriptor that has just been made. The kernel gives the lowest that is free
    /// (open(2)), so it tells how many are in use.
    pub(crate) fn admit(&self, connections: usize, descriptor: usize) -> Result<(), Excess> {
        if connections >= self.connections {
            return Err(Excess::Connections(connections));
        }
        let left = self.descriptors.saturating_sub(descriptor).saturating_sub(1);
        match left.saturating_mul(SHARE) > connections {
            true => Ok(()),
            false => Err(Excess::Descriptors { connections, left }),
        }
    }
}

// === impl Local ===

impl Local {
    /// A connection that has just been accepted, if its pod may have it; else it is reset.
    pub(crate) fn admit(
        &self,
        tcp: TcpStream,
        peer: SocketAddr,
        direction: Direction,
    ) -> Option<TcpStream> {
        match self.may_open(&tcp) {
            Ok(()) => Some(tcp),
            Err(excess) => {
                self.context.metrics.refused(excess.reason());
                let own = tcp.local_addr().map_or(peer, canonical);
                AccessLog::failed(peer, own, direction, &excess);
                ambit_net::reset(tcp);
                None
            }
        }
    }

    /// Whether the pod may have one more connection, for which `descriptor` has been made.
    pub(crate) fn may_open(&self, descriptor: &impl AsRawFd) -> Result<(), Excess> {
        let number = usize::try_from(descriptor.as_raw_fd()).unwrap_or(usize::MAX);
        let admitted = self.context.limits.admit(self.pod.open(), number);
        admitted.inspect_err(|_| self.pod.count_refused())
    }
}

// === impl Excess ===

impl Excess {
    /// A stable label for metrics and logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Connections(_) => "pod_connections",
            Self::Descriptors { .. } => "pod_descriptors",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back() {
        assert_eq!(Limits::new(9, 1_048_576).descriptors, 1_048_512);
        assert_eq!(Limits::new(9, 160).descriptors, 120);
    }

    #[test]
    fn a_pod_has_its_limit_and_a_share_of_what_is_left() {
        let limits = Limits { connections: 50_000, descriptors: 20_000 };
        for (connections, descriptor, expected) in [
            (0, 0, Ok(())),
            (15_000, 15_200, Ok(())),
            (17_000, 17_800, Ok(())),
            (17_800, 17_800, Err(Excess::Descriptors { connections: 17_800, left: 2_199 })),
            // Whoever has few finds room when another has taken all that it may.
            (1_000, 17_800, Ok(())),
            (0, 19_998, Ok(())),
            (8, 19_998, Err(Excess::Descriptors { connections: 8, left: 1 })),
            (0, 19_999, Err(Excess::Descriptors { connections: 0, left: 0 })),
            (50_000, 60, Err(Excess::Connections(50_000))),
        ] {
            assert_eq!(
                limits.admit(connections, descriptor),
                expected,
                "{connections} {descriptor}"
            );
        }
    }
}
