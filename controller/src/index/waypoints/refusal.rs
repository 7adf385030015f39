//! Why an object has no waypoint although it asks for one.

use crate::watch::Problem;

/// Why a waypoint that is asked for is not used.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::index) struct Refusal {
    pub(in crate::index) reason: Reason,
    pub(in crate::index) problem: Problem,
}

/// Why, in a word. (protocol.md 10.3.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::index) enum Reason {
    WaypointIsNotReady,
    AttachmentDenied,
    UnsupportedTrafficType,
    CanaryInvalidWeight,
    CanarySameAsPrimary,
    CrossNamespaceWaypointForbidden,
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(reason: Reason, label: &str, message: impl std::fmt::Display) -> Self {
        Self { reason, problem: Problem::new(format!("metadata.labels[{label}]"), message) }
    }
}

// === impl Reason ===

impl Reason {
    pub(in crate::index) fn as_str(self) -> &'static str {
        match self {
            Self::WaypointIsNotReady => "WaypointIsNotReady",
            Self::AttachmentDenied => "AttachmentDenied",
            Self::UnsupportedTrafficType => "UnsupportedTrafficType",
            Self::CanaryInvalidWeight => "CanaryInvalidWeight",
            Self::CanarySameAsPrimary => "CanarySameAsPrimary",
            Self::CrossNamespaceWaypointForbidden => "CrossNamespaceWaypointForbidden",
        }
    }
}
