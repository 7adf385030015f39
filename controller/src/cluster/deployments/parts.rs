//! The kinds of objects that are deployed for a Gateway.

use kube::api::ApiResource;

/// A kind of object that is deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    // Pods need it.
    ServiceAccount,
    Deployment,
    Service,
    HorizontalPodAutoscaler,
    PodDisruptionBudget,
}

/// One object that is deployed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartKey {
    pub(super) part: Part,
    pub(super) namespace: String,
    pub(super) name: String,
}

// === impl Part ===

impl Part {
    pub(super) const ALL: [Self; 5] = [
        Self::ServiceAccount,
        Self::Deployment,
        Self::Service,
        Self::HorizontalPodAutoscaler,
        Self::PodDisruptionBudget,
    ];

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::Service => "Service",
            Self::ServiceAccount => "ServiceAccount",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
        }
    }

    /// The key of its further fields in a ConfigMap. (protocol.md 10.1.)
    pub(super) fn overlay_key(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::Service => "service",
            Self::ServiceAccount => "serviceAccount",
            Self::HorizontalPodAutoscaler => "horizontalPodAutoscaler",
            Self::PodDisruptionBudget => "podDisruptionBudget",
        }
    }

    /// Group and version.
    fn api(self) -> (&'static str, &'static str) {
        match self {
            Self::Deployment => ("apps", "v1"),
            Self::Service | Self::ServiceAccount => ("", "v1"),
            Self::HorizontalPodAutoscaler => ("autoscaling", "v2"),
            Self::PodDisruptionBudget => ("policy", "v1"),
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        let (group, version) = self.api();
        let api_version = match group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version,
            kind: self.kind().to_owned(),
            plural: format!("{}s", self.kind().to_lowercase()),
        }
    }
}

// === impl PartKey ===

impl std::fmt::Display for PartKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.part.kind(), self.namespace, self.name)
    }
}
