//! The kinds of objects, and what the Kubernetes API calls them.

/// The kinds of objects that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    AuthorizationPolicy,
    EndpointSlice,
    Gateway,
    Namespace,
    Node,
    PeerAuthentication,
    Pod,
    Service,
    ServiceEntry,
    WorkloadEntry,
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::AuthorizationPolicy,
        Self::EndpointSlice,
        Self::Gateway,
        Self::Namespace,
        Self::Node,
        Self::PeerAuthentication,
        Self::Pod,
        Self::Service,
        Self::ServiceEntry,
        Self::WorkloadEntry,
    ];

    /// The kind as it is written in an object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::EndpointSlice => "EndpointSlice",
            Self::Gateway => "Gateway",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::Pod => "Pod",
            Self::Service => "Service",
            Self::ServiceEntry => "ServiceEntry",
            Self::WorkloadEntry => "WorkloadEntry",
        }
    }

    /// The API group; empty for the core.
    pub fn group(self) -> &'static str {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::Service => "",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Gateway => "gateway.networking.k8s.io",
            Self::AuthorizationPolicy | Self::PeerAuthentication => "security.istio.io",
            Self::ServiceEntry | Self::WorkloadEntry => "networking.istio.io",
        }
    }

    /// The name of the kind in paths of the Kubernetes API and in RBAC rules.
    pub fn plural(self) -> &'static str {
        match self {
            Self::AuthorizationPolicy => "authorizationpolicies",
            Self::EndpointSlice => "endpointslices",
            Self::Gateway => "gateways",
            Self::Namespace => "namespaces",
            Self::Node => "nodes",
            Self::PeerAuthentication => "peerauthentications",
            Self::Pod => "pods",
            Self::Service => "services",
            Self::ServiceEntry => "serviceentries",
            Self::WorkloadEntry => "workloadentries",
        }
    }

    /// The versions to ask the Kubernetes API for, the best first: the fields that are read are the same in all.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Self::Namespace | Self::Node | Self::Pod | Self::Service | Self::EndpointSlice => {
                &["v1"]
            }
            Self::AuthorizationPolicy
            | Self::Gateway
            | Self::PeerAuthentication
            | Self::ServiceEntry
            | Self::WorkloadEntry => &["v1", "v1beta1"],
        }
    }

    /// Whether what is wrong with an object is said in its status.
    pub fn has_status(self) -> bool {
        match self {
            Self::AuthorizationPolicy
            | Self::Gateway
            | Self::PeerAuthentication
            | Self::Service
            | Self::ServiceEntry
            | Self::WorkloadEntry => true,
            Self::EndpointSlice | Self::Namespace | Self::Node | Self::Pod => false,
        }
    }

    /// Whether objects of the kind live in namespaces.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node)
    }
}
