//! What is measured of a control plane, and what is expected of ours: a new figure is a line here.

use serde::Serialize;

use super::shape::Shape;

/// The name of a figure in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Id {
    StartTime,
    StartCpu,
    StartPeak,
    MemoryAlone,
    OneSync,
    OneSyncBytes,
    AllSyncTime,
    AllSyncCpu,
    AllSyncPeak,
    MemorySubscribed,
    SlowP50,
    SlowP99,
    SlowP99Sent,
    BurstP50,
    BurstP99,
    BurstP99Sent,
    FastP50,
    FastP99,
    FastP99Sent,
    Certificates,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Seconds,
    CpuSeconds,
    Bytes,
    /// For each CPU second.
    PerCpuSecond,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

/// A figure for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) id: Id,
    pub(crate) title: &'static str,
    pub(crate) unit: Unit,
    /// For [`Shape::USUAL`].
    pub(crate) bar: Option<Bar>,
    /// What istiod of August 2026 needs in the same place.
    pub(crate) istiod: &'static str,
}

/// Every figure, in the order of the report.
pub(crate) const FIGURES: &[Definition] = &[
    at_most(Id::StartTime, "start until ready", Unit::Seconds, 2.0, "5–6 s"),
    at_most(Id::StartCpu, "start: CPU", Unit::CpuSeconds, 3.0, "10.5 s"),
    plain(Id::StartPeak, "start: most memory", Unit::Bytes),
    at_most(Id::MemoryAlone, "memory, no subscribers", Unit::Bytes, 120e6, "608–905 MB"),
    at_most(Id::OneSync, "one full sync", Unit::Seconds, 0.060, "59–77 ms"),
    Definition { istiod: "7.6 MB", ..plain(Id::OneSyncBytes, "one full sync: size", Unit::Bytes) },
    at_most(Id::AllSyncTime, "all connect at once: in sync", Unit::Seconds, 10.0, ""),
    at_most(Id::AllSyncCpu, "all connect at once: CPU", Unit::CpuSeconds, 10.0, ""),
    at_most(Id::AllSyncPeak, "all connect at once: most memory", Unit::Bytes, 500e6, "9.6–12 GB"),
    at_most(Id::MemorySubscribed, "memory, all subscribed", Unit::Bytes, 220e6, "1.6 GB"),
    plain(Id::SlowP50, "1 change a second: p50", Unit::Seconds),
    at_most(Id::SlowP99, "1 change a second: p99", Unit::Seconds, 0.050, "214 ms"),
    plain(Id::SlowP99Sent, "1 change a second: p99 since it was sent", Unit::Seconds),
    plain(Id::BurstP50, "burst of changes: p50", Unit::Seconds),
    at_most(Id::BurstP99, "burst of changes: p99", Unit::Seconds, 0.150, "2.4 s"),
    plain(Id::BurstP99Sent, "burst of changes: p99 since they were sent", Unit::Seconds),
    Definition { istiod: "5 s", ..plain(Id::FastP50, "20 changes a second: p50", Unit::Seconds) },
    at_most(Id::FastP99, "20 changes a second: p99", Unit::Seconds, 0.150, ""),
    plain(Id::FastP99Sent, "20 changes a second: p99 since they were sent", Unit::Seconds),
    Definition {
        id: Id::Certificates,
        title: "certificates for each CPU second",
        unit: Unit::PerCpuSecond,
        bar: Some(Bar::AtLeast(2_000.0)),
        istiod: "≈ 490",
    },
];

const fn plain(id: Id, title: &'static str, unit: Unit) -> Definition {
    Definition { id, title, unit, bar: None, istiod: "" }
}

const fn at_most(
    id: Id,
    title: &'static str,
    unit: Unit,
    most: f64,
    istiod: &'static str,
) -> Definition {
    Definition { id, title, unit, bar: Some(Bar::AtMost(most)), istiod }
}

// === impl Definition ===

impl Definition {
    /// The bar and istiod's figure, for the mesh that they are about.
    pub(crate) fn reference(&self, shape: Shape) -> (Option<Bar>, &'static str) {
        if shape == Shape::USUAL || self.id == Id::Certificates {
            (self.bar, self.istiod)
        } else {
            (None, "")
        }
    }
}

// === impl Bar ===

impl Bar {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_met_at_the_bar_itself() {
        assert!(Bar::AtMost(2.0).is_met(2.0) && !Bar::AtMost(2.0).is_met(2.1));
        assert!(Bar::AtLeast(2.0).is_met(2.0) && !Bar::AtLeast(2.0).is_met(1.9));
    }

    #[test]
    fn figures_are_defined_once_and_their_bars_are_about_one_mesh() {
        for (i, figure) in FIGURES.iter().enumerate() {
            assert!(FIGURES[..i].iter().all(|other| other.id != figure.id), "{:?}", figure.id);
        }
        let start = &FIGURES[0];
        assert_eq!(start.reference(Shape::USUAL), (Some(Bar::AtMost(2.0)), "5–6 s"));
        assert_eq!(start.reference(Shape::LARGE), (None, ""));
    }
}
