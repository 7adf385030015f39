//! Labels of the traffic metrics, in Istio's order and spelling.

mod encode;
mod values;

use ambit_model::{Service, Str, Workload};

pub(crate) use encode::FlaggedLabels;
pub use values::{ConnectionSecurity, Reporter, RequestFlag, RequestProtocol, ResponseFlags};

/// The longest label value, in bytes.
const MAX_BYTES: usize = 512;

/// A label value that may be missing; missing and empty values print as `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelValue(Option<Str>);

/// Every label of a traffic metric. Strings are shared with the state, so a clone allocates nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrafficLabels {
    /// The side that reports.
    pub reporter: Reporter,
    /// The client, as far as it is known.
    pub source: Option<PeerLabels>,
    /// The service that was called, if one was.
    pub destination_service: Option<ServiceLabels>,
    /// The server, as far as it is known.
    pub destination: Option<PeerLabels>,
    /// The protocol, as far as the proxy looks into it.
    pub request_protocol: RequestProtocol,
    /// What protected the connection.
    pub security: ConnectionSecurity,
}

/// What is known of one side of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerLabels {
    /// The owner, e.g. the Deployment.
    pub workload: LabelValue,
    /// The application's name.
    pub canonical_service: LabelValue,
    /// The application's version; also the `version` label.
    pub canonical_revision: LabelValue,
    /// The namespace.
    pub namespace: LabelValue,
    /// The SPIFFE identity with its scheme. For the source only what TLS or the netns has proved.
    pub principal: LabelValue,
    /// The `app` label: the canonical service, or the owner where only baggage tells.
    pub app: LabelValue,
    /// The cluster.
    pub cluster: LabelValue,
    /// The region.
    pub region: LabelValue,
    /// The zone.
    pub zone: LabelValue,
}

/// The service that was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ServiceLabels {
    /// The fully qualified hostname.
    pub hostname: LabelValue,
    /// The namespace.
    pub namespace: LabelValue,
    /// The object's name.
    pub name: LabelValue,
}

// === impl LabelValue ===

impl LabelValue {
    /// The value, unless it is missing or empty.
    pub fn as_deref(&self) -> Option<&str> {
        self.0.as_deref().filter(|value| !value.is_empty())
    }
}

impl From<Str> for LabelValue {
    /// Cuts values of more than 512 bytes, which no Kubernetes name or identity has: what is longer was sent by a peer.
    fn from(value: Str) -> Self {
        if value.len() > MAX_BYTES {
            return Self(value.get(..value.floor_char_boundary(MAX_BYTES)).map(Str::from));
        }
        Self(Some(value).filter(|value| !value.is_empty()))
    }
}

impl From<&Str> for LabelValue {
    fn from(value: &Str) -> Self {
        value.clone().into()
    }
}

impl From<&str> for LabelValue {
    fn from(value: &str) -> Self {
        Str::from(value).into()
    }
}

impl<T: Into<LabelValue>> From<Option<T>> for LabelValue {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::default, Into::into)
    }
}

// === impl TrafficLabels ===

impl TrafficLabels {
    /// Labels of a TCP connection of which only the reporter is known.
    pub fn new(reporter: Reporter) -> Self {
        Self {
            reporter,
            source: None,
            destination_service: None,
            destination: None,
            request_protocol: RequestProtocol::Tcp,
            security: ConnectionSecurity::Unknown,
        }
    }
}

// === impl PeerLabels ===

impl PeerLabels {
    /// What the control plane says of a workload, without a principal: only TLS or a netns proves one.
    pub fn from_workload(workload: &Workload) -> Self {
        Self {
            workload: (&workload.workload_name).into(),
            canonical_service: (&workload.canonical_name).into(),
            canonical_revision: (&workload.canonical_revision).into(),
            namespace: (&workload.namespace).into(),
            principal: LabelValue::default(),
            app: (&workload.canonical_name).into(),
            cluster: (&workload.cluster_id).into(),
            region: (&workload.locality.region).into(),
            zone: (&workload.locality.zone).into(),
        }
    }

    /// The same with a principal.
    #[must_use]
    pub fn with_principal(mut self, principal: impl Into<LabelValue>) -> Self {
        self.principal = principal.into();
        self
    }
}

// === impl ServiceLabels ===

impl From<&Service> for ServiceLabels {
    fn from(service: &Service) -> Self {
        Self {
            hostname: (&service.hostname).into(),
            namespace: (&service.namespace).into(),
            name: (&service.name).into(),
        }
    }
}
