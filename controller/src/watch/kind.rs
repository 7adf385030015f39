//! The kinds of objects, and what the Kubernetes API calls them.

/// The kinds of objects that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Kind {
    AuthorizationPolicy,
    BackendTlsPolicy,
    ConfigMap,
    DestinationRule,
    EndpointSlice,
    Gateway,
    GatewayClass,
    GrpcRoute,
    HttpRoute,
    ListenerSet,
    Namespace,
    Node,
    PeerAuthentication,
    Pod,
    ReferenceGrant,
    Secret,
    Service,
    ServiceEntry,
    TcpRoute,
    TlsRoute,
    VirtualService,
    WorkloadEntry,
}

/// What a kind is called.
struct Names {
    kind: &'static str,
    group: &'static str,
    plural: &'static str,
    versions: &'static [&'static str],
}

const CORE: &str = "";
const GATEWAY: &str = "gateway.networking.k8s.io";
const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";

const STABLE: &[&str] = &["v1"];
const BETA: &[&str] = &["v1", "v1beta1"];
const ISTIO: &[&str] = &["v1", "v1beta1", "v1alpha3"];
const ALPHA3: &[&str] = &["v1", "v1alpha3"];
const ALPHA: &[&str] = &["v1", "v1alpha3", "v1alpha2"];

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::AuthorizationPolicy,
        Self::BackendTlsPolicy,
        Self::ConfigMap,
        Self::DestinationRule,
        Self::EndpointSlice,
        Self::Gateway,
        Self::GatewayClass,
        Self::GrpcRoute,
        Self::HttpRoute,
        Self::ListenerSet,
        Self::Namespace,
        Self::Node,
        Self::PeerAuthentication,
        Self::Pod,
        Self::ReferenceGrant,
        Self::Secret,
        Self::Service,
        Self::ServiceEntry,
        Self::TcpRoute,
        Self::TlsRoute,
        Self::VirtualService,
        Self::WorkloadEntry,
    ];

    /// The routes of the Gateway API.
    pub const ROUTES: [Self; 4] =
        [Self::GrpcRoute, Self::HttpRoute, Self::TcpRoute, Self::TlsRoute];

    const fn names(self) -> Names {
        let (kind, group, plural, versions) = match self {
            Self::AuthorizationPolicy => {
                ("AuthorizationPolicy", SECURITY, "authorizationpolicies", BETA)
            }
            Self::BackendTlsPolicy => ("BackendTLSPolicy", GATEWAY, "backendtlspolicies", ALPHA3),
            Self::ConfigMap => ("ConfigMap", CORE, "configmaps", STABLE),
            Self::DestinationRule => ("DestinationRule", NETWORKING, "destinationrules", ISTIO),
            Self::EndpointSlice => ("EndpointSlice", "discovery.k8s.io", "endpointslices", STABLE),
            Self::Gateway => ("Gateway", GATEWAY, "gateways", BETA),
            Self::GatewayClass => ("GatewayClass", GATEWAY, "gatewayclasses", BETA),
            Self::GrpcRoute => ("GRPCRoute", GATEWAY, "grpcroutes", STABLE),
            Self::HttpRoute => ("HTTPRoute", GATEWAY, "httproutes", BETA),
            Self::ListenerSet => ("ListenerSet", GATEWAY, "listenersets", STABLE),
            Self::Namespace => ("Namespace", CORE, "namespaces", STABLE),
            Self::Node => ("Node", CORE, "nodes", STABLE),
            Self::PeerAuthentication => {
                ("PeerAuthentication", SECURITY, "peerauthentications", BETA)
            }
            Self::Pod => ("Pod", CORE, "pods", STABLE),
            Self::ReferenceGrant => ("ReferenceGrant", GATEWAY, "referencegrants", BETA),
            Self::Secret => ("Secret", CORE, "secrets", STABLE),
            Self::Service => ("Service", CORE, "services", STABLE),
            Self::ServiceEntry => ("ServiceEntry", NETWORKING, "serviceentries", BETA),
            Self::TcpRoute => ("TCPRoute", GATEWAY, "tcproutes", ALPHA),
            Self::TlsRoute => ("TLSRoute", GATEWAY, "tlsroutes", ALPHA),
            Self::VirtualService => ("VirtualService", NETWORKING, "virtualservices", ISTIO),
            Self::WorkloadEntry => ("WorkloadEntry", NETWORKING, "workloadentries", BETA),
        };
        Names { kind, group, plural, versions }
    }

    /// The kind as it is written in an object.
    pub fn as_str(self) -> &'static str {
        self.names().kind
    }

    /// The API group; empty for the core.
    pub fn group(self) -> &'static str {
        self.names().group
    }

    /// The name of the kind in paths of the Kubernetes API and in RBAC rules.
    pub fn plural(self) -> &'static str {
        self.names().plural
    }

    /// The versions to ask the Kubernetes API for, the best first: the fields that are read are the same in all.
    pub fn versions(self) -> &'static [&'static str] {
        self.names().versions
    }

    /// Whether what is wrong with an object is said in its status.
    pub fn has_status(self) -> bool {
        match self {
            Self::AuthorizationPolicy
            | Self::BackendTlsPolicy
            | Self::Gateway
            | Self::GatewayClass
            | Self::GrpcRoute
            | Self::HttpRoute
            | Self::ListenerSet
            | Self::PeerAuthentication
            | Self::Service
            | Self::ServiceEntry
            | Self::TcpRoute
            | Self::TlsRoute
            | Self::DestinationRule
            | Self::VirtualService
            | Self::WorkloadEntry => true,
            Self::ConfigMap
            | Self::EndpointSlice
            | Self::Namespace
            | Self::Node
            | Self::Pod
            | Self::ReferenceGrant
            | Self::Secret => false,
        }
    }

    /// Whether controllers share a list in the status of an object, which each has to replace as a whole.
    pub fn shares_status(self) -> bool {
        self == Self::BackendTlsPolicy || Self::ROUTES.contains(&self)
    }

    /// Whether objects of the kind live in namespaces.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::GatewayClass | Self::Namespace | Self::Node)
    }

    /// Whether the mesh does with what it knows where objects of the kind may not be read: they only add to it.
    pub fn is_dispensable(self) -> bool {
        match self {
            // Without the last two, what is to be spoken in TLS would go in the clear.
            Self::AuthorizationPolicy
            | Self::EndpointSlice
            | Self::Namespace
            | Self::Node
            | Self::PeerAuthentication
            | Self::Pod
            | Self::Service
            | Self::BackendTlsPolicy
            | Self::DestinationRule => false,
            Self::ConfigMap
            | Self::Gateway
            | Self::GatewayClass
            | Self::GrpcRoute
            | Self::HttpRoute
            | Self::ListenerSet
            | Self::ReferenceGrant
            | Self::Secret
            | Self::ServiceEntry
            | Self::TcpRoute
            | Self::TlsRoute
            | Self::VirtualService
            | Self::WorkloadEntry => true,
        }
    }

    /// What of the kind is asked for, as a field selector.
    pub fn selected(self) -> Option<&'static str> {
        match self {
            Self::Secret => Some(super::kinds::SECRETS),
            _ => None,
        }
    }

    /// The kind that other objects call so.
    pub fn named(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == kind && known.group() == group)
    }
}
