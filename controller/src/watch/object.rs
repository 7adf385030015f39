//! The trimmed objects and their keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Str;
use serde::{Serialize, Serializer};

use super::kinds::{
    AuthorizationPolicy, EndpointSlice, Gateway, Namespace, Node, PeerAuthentication, Pod, Service,
    ServiceEntry, WorkloadEntry,
};

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

/// What an object is found by.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for a Namespace or a Node.
    pub namespace: Str,
    /// The name.
    pub name: Str,
}

/// What all objects have, as far as it is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The namespace; empty for a Namespace or a Node.
    pub namespace: Str,
    /// The name.
    pub name: Str,
    /// All labels.
    pub labels: BTreeMap<Str, Str>,
    /// The annotations that mean something here.
    pub annotations: BTreeMap<Str, Str>,
    /// When it was made, in seconds since 1970. Objects in files need not say so.
    pub created: Option<i64>,
    /// Whether it is about to be deleted.
    pub deleting: bool,
}

/// A label selector: all pairs have to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub BTreeMap<Str, Str>);

/// A trimmed object.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Object {
    AuthorizationPolicy(Arc<AuthorizationPolicy>),
    EndpointSlice(Arc<EndpointSlice>),
    Gateway(Arc<Gateway>),
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    PeerAuthentication(Arc<PeerAuthentication>),
    Pod(Arc<Pod>),
    Service(Arc<Service>),
    ServiceEntry(Arc<ServiceEntry>),
    WorkloadEntry(Arc<WorkloadEntry>),
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

// === impl Key ===

impl Key {
    /// The key of these parts.
    pub fn new(kind: Kind, namespace: impl Into<Str>, name: impl Into<Str>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if self.kind.is_namespaced() {
            write!(f, " {}/{}", self.namespace, self.name)
        } else {
            write!(f, " {}", self.name)
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

// === impl Meta ===

impl Meta {
    /// A label's value, if it has one.
    pub fn label(&self, name: &str) -> Option<&Str> {
        self.labels.get(name).filter(|value| !value.is_empty())
    }

    /// An annotation's value.
    pub fn annotation(&self, name: &str) -> Option<&Str> {
        self.annotations.get(name)
    }

    /// Orders objects by age, oldest first; those of unknown age last, by name.
    pub fn age(&self) -> (i64, Str, Str) {
        (self.created.unwrap_or(i64::MAX), self.namespace.clone(), self.name.clone())
    }
}

// === impl Selector ===

impl Selector {
    /// Whether it has no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every pair is among `labels`.
    pub fn matches(&self, labels: &BTreeMap<Str, Str>) -> bool {
        self.0.iter().all(|(name, value)| labels.get(name) == Some(value))
    }
}

// === impl Object ===

impl Object {
    /// What all objects have.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::AuthorizationPolicy(o) => &o.meta,
            Self::EndpointSlice(o) => &o.meta,
            Self::Gateway(o) => &o.meta,
            Self::Namespace(o) => &o.meta,
            Self::Node(o) => &o.meta,
            Self::PeerAuthentication(o) => &o.meta,
            Self::Pod(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::ServiceEntry(o) => &o.meta,
            Self::WorkloadEntry(o) => &o.meta,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Gateway(_) => Kind::Gateway,
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::Pod(_) => Kind::Pod,
            Self::Service(_) => Kind::Service,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
        }
    }

    /// What it is found by.
    pub fn key(&self) -> Key {
        let meta = self.meta();
        Key { kind: self.kind(), namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}
