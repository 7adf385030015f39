//! The trimmed objects and their keys.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ambit_model::Str;
use serde::{Serialize, Serializer};

use super::Kind;
use super::kinds::{
    AuthorizationPolicy, BackendTlsPolicy, ConfigMap, DestinationRule, EndpointSlice, Gateway,
    GatewayClass, ListenerSet, Namespace, Node, PeerAuthentication, Pod, ReferenceGrant, Route,
    Secret, Service, ServiceEntry, VirtualService, WorkloadEntry,
};

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
    BackendTlsPolicy(Arc<BackendTlsPolicy>),
    ConfigMap(Arc<ConfigMap>),
    DestinationRule(Arc<DestinationRule>),
    EndpointSlice(Arc<EndpointSlice>),
    Gateway(Arc<Gateway>),
    GatewayClass(Arc<GatewayClass>),
    ListenerSet(Arc<ListenerSet>),
    Namespace(Arc<Namespace>),
    Node(Arc<Node>),
    PeerAuthentication(Arc<PeerAuthentication>),
    Pod(Arc<Pod>),
    ReferenceGrant(Arc<ReferenceGrant>),
    /// An HTTPRoute, a GRPCRoute, a TLSRoute or a TCPRoute.
    Route(Arc<Route>),
    Secret(Arc<Secret>),
    Service(Arc<Service>),
    ServiceEntry(Arc<ServiceEntry>),
    VirtualService(Arc<VirtualService>),
    WorkloadEntry(Arc<WorkloadEntry>),
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
            Self::BackendTlsPolicy(o) => &o.meta,
            Self::ConfigMap(o) => &o.meta,
            Self::DestinationRule(o) => &o.meta,
            Self::EndpointSlice(o) => &o.meta,
            Self::Gateway(o) => &o.meta,
            Self::GatewayClass(o) => &o.meta,
            Self::ListenerSet(o) => &o.meta,
            Self::Namespace(o) => &o.meta,
            Self::Node(o) => &o.meta,
            Self::PeerAuthentication(o) => &o.meta,
            Self::Pod(o) => &o.meta,
            Self::ReferenceGrant(o) => &o.meta,
            Self::Route(o) => &o.meta,
            Self::Secret(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::ServiceEntry(o) => &o.meta,
            Self::VirtualService(o) => &o.meta,
            Self::WorkloadEntry(o) => &o.meta,
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::AuthorizationPolicy(_) => Kind::AuthorizationPolicy,
            Self::BackendTlsPolicy(_) => Kind::BackendTlsPolicy,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::DestinationRule(_) => Kind::DestinationRule,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Gateway(_) => Kind::Gateway,
            Self::GatewayClass(_) => Kind::GatewayClass,
            Self::ListenerSet(_) => Kind::ListenerSet,
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::Pod(_) => Kind::Pod,
            Self::ReferenceGrant(_) => Kind::ReferenceGrant,
            Self::Route(route) => route.kind,
            Self::Secret(_) => Kind::Secret,
            Self::Service(_) => Kind::Service,
            Self::ServiceEntry(_) => Kind::ServiceEntry,
            Self::VirtualService(_) => Kind::VirtualService,
            Self::WorkloadEntry(_) => Kind::WorkloadEntry,
        }
    }

    /// What it is found by.
    pub fn key(&self) -> Key {
        let meta = self.meta();
        Key { kind: self.kind(), namespace: meta.namespace.clone(), name: meta.name.clone() }
    }
}
