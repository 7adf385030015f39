//! What is measured, as data.

use serde::Serialize;

/// The TCP congestion control of every namespace. Others, BBR above all, pace what they send and hide what a proxy costs.
pub(crate) const CONGESTION_CONTROL: &str = "cubic";

/// One kind of load, and what is expected of Ambit beside the peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// Its name in results and on the command line.
    pub(crate) id: &'static str,
    /// Its name in the report.
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    /// What Ambit aims at, where it aims at something.
    pub(crate) goals: &'static [(Placement, Goal)],
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Sends as fast as it can (iperf3).
    Stream { streams: u32 },
    /// Asks for a small answer again and again (wrk); a new connection for each, unless they are kept.
    Requests { connections: u32, keep_alive: bool },
}

/// Where the server is, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Placement {
    CrossNode,
    SameNode,
}

/// Ratios Ambit : peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Goal {
    /// Rate, at least.
    pub(crate) rate: Option<f64>,
    /// The proxies' CPU time per unit of work, at most.
    pub(crate) cpu: Option<f64>,
    /// 99th percentile of latency, at most.
    pub(crate) p99: Option<f64>,
}

/// The most memory that a proxy should hold, bytes.
pub(crate) const IDLE_MEMORY: f64 = 9e6;
/// The same with so many connections open.
pub(crate) const CONNECTIONS_MEMORY: (usize, f64) = (4000, 26e6);
/// The same with so many workloads known.
pub(crate) const WORKLOADS_MEMORY: (u32, f64) = (100_000, 40e6);

/// Every load of the node tunnel.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        id: "throughput",
        title: "throughput, 1 stream",
        load: Load::Stream { streams: 1 },
        goals: &[
            (Placement::CrossNode, Goal { rate: Some(1.4), cpu: Some(0.8), p99: None }),
            (Placement::SameNode, Goal { rate: Some(2.5), cpu: Some(0.15), p99: None }),
        ],
    },
    Scenario {
        id: "requests-1",
        title: "small requests, 1 connection",
        load: Load::Requests { connections: 1, keep_alive: true },
        goals: &[(Placement::CrossNode, Goal { rate: Some(1.3), cpu: Some(0.6), p99: None })],
    },
    Scenario {
        id: "requests-64",
        title: "small requests, 64 connections",
        load: Load::Requests { connections: 64, keep_alive: true },
        goals: &[(Placement::CrossNode, Goal { rate: None, cpu: Some(0.6), p99: Some(1.0) })],
    },
    Scenario {
        id: "new-connections",
        title: "new connections, 8 at a time",
        load: Load::Requests { connections: 8, keep_alive: false },
        goals: &[
            (Placement::CrossNode, Goal { rate: Some(1.5), cpu: Some(0.6), p99: None }),
            (Placement::SameNode, Goal { rate: None, cpu: Some(0.4), p99: None }),
        ],
    },
];

// === impl Scenario ===

impl Scenario {
    /// What Ambit aims at for a server placed there; nothing by default.
    pub(crate) fn goal(&self, placement: Placement) -> Goal {
        self.goals
            .iter()
            .find(|(of, _)| *of == placement)
            .map(|(_, goal)| *goal)
            .unwrap_or_default()
    }
}

// === impl Placement ===

impl Placement {
    pub(crate) const ALL: [Self; 2] = [Self::CrossNode, Self::SameNode];

    /// Its name in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::CrossNode => "cross-node",
            Self::SameNode => "same-node",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_with_a_goal_is_measured_and_named_once() {
        let mut ids: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), SCENARIOS.len());
        for scenario in SCENARIOS {
            for (placement, goal) in scenario.goals {
                assert_eq!(scenario.goal(*placement), *goal, "{}: listed twice", scenario.id);
                assert_ne!(*goal, Goal::default(), "{}: says nothing", scenario.id);
                let has_latency = matches!(scenario.load, Load::Requests { .. });
                assert!(
                    has_latency || goal.p99.is_none(),
                    "{}: streams have no latency",
                    scenario.id
                );
            }
        }
    }
}
