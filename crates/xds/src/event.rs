//! What the client hands out: decoded changes, refusals and the end of the first synchronisation.

use ambit_model::{Authorization, Service, Str, Workload};
use bytes::Bytes;

use crate::Batch;

/// A resource type the client subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceType {
    /// Workloads and services, `istio.workload.Address`.
    Address,
    /// Authorization policies, `istio.security.Authorization`.
    Authorization,
    /// What a waypoint or gateway does for a host, `ambit.v1.Route`.
    Route,
    /// Listeners of a gateway, `ambit.v1.Listener`.
    Listener,
    /// How destinations are treated, `ambit.v1.TrafficPolicy`.
    TrafficPolicy,
    /// Who may send which requests, `ambit.v1.RequestPolicy`.
    RequestPolicy,
    /// Labels that selectors ask for, `ambit.v1.WorkloadLabels`.
    WorkloadLabels,
}

/// What the client tells its owner, in the order in which it has to be applied.
#[derive(Debug)]
pub enum Event<'a> {
    /// The content of one response.
    Batch(Batch<'a>),
    /// The first response for this type has been handed out, so everything of the type is known. Comes once for each
    /// type in a client's life, right after the batch that completes it; the last known state stays valid across
    /// reconnects.
    Synced(ResourceType),
}

/// One change to the known state.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A workload is new or replaced; its key is `uid`.
    Workload(Box<Workload>),
    /// A service is new or replaced; its key is [`Service::key`].
    Service(Box<Service>),
    /// A policy is new or replaced; its key is [`Authorization::key`]. A policy that is malformed and of which no
    /// earlier version is known arrives here as one that denies everything in its scope, and is refused as well.
    Authorization(Box<Authorization>),
    /// A resource of one of the `ambit.v1` types is new or replaced.
    Resource {
        /// The type.
        kind: ResourceType,
        /// Its name.
        name: Str,
        /// The message, not decoded yet.
        body: Bytes,
    },
    /// A resource is gone. It may never have been known.
    Removed {
        /// The type of the resource.
        kind: ResourceType,
        /// A workload's uid or a service's `namespace/hostname` (which has exactly one slash) for
        /// [`ResourceType::Address`]; `namespace/name` for [`ResourceType::Authorization`]; the name on the wire for
        /// the others.
        name: Str,
    },
}

/// A refused resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The type of the resource.
    pub kind: ResourceType,
    /// Its name as the control plane gave it.
    pub name: Str,
    /// What is wrong with it.
    pub reason: String,
}

// === impl ResourceType ===

impl ResourceType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::Address,
        Self::Authorization,
        Self::Route,
        Self::Listener,
        Self::TrafficPolicy,
        Self::RequestPolicy,
        Self::WorkloadLabels,
    ];
    /// What a node proxy subscribes to, in the order in which it does.
    pub const ZTUNNEL: &[Self] = &[Self::Address, Self::Authorization];
    /// What a waypoint or gateway subscribes to, in the order in which it does.
    pub const WAYPOINT: &[Self] = &[
        Self::Address,
        Self::WorkloadLabels,
        Self::TrafficPolicy,
        Self::RequestPolicy,
        Self::Route,
        Self::Listener,
    ];

    /// The type's URL on the wire.
    pub fn url(self) -> &'static str {
        match self {
            Self::Address => ambit_proto::ADDRESS_TYPE,
            Self::Authorization => ambit_proto::AUTHORIZATION_TYPE,
            Self::Route => ambit_proto::ROUTE_TYPE,
            Self::Listener => ambit_proto::LISTENER_TYPE,
            Self::TrafficPolicy => ambit_proto::TRAFFIC_POLICY_TYPE,
            Self::RequestPolicy => ambit_proto::REQUEST_POLICY_TYPE,
            Self::WorkloadLabels => ambit_proto::WORKLOAD_LABELS_TYPE,
        }
    }

    /// The type with this URL, if it is one of ours.
    pub fn from_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.url() == url)
    }
}
