//! The nouns of the mesh: what a workload, a service, an identity and an authorization policy *are*.
//!
//! This crate only describes; it decides nothing and performs no IO. Every type serialises with serde in the
//! shape that `LOCAL_XDS_PATH` files and `config_dump` use (camelCase, upper-camel enum values), so one definition
//! serves the state file, the dump and the tests.

mod address;
mod authorization;
mod finding;
mod gateway;
mod identity;
mod local;
mod path_template;
mod request_policy;
mod service;
mod workload;

pub use address::{
    GatewayAddress, GatewayDestination, NamespacedHostname, NetworkAddress, NetworkCidr,
    ParseAddressError,
};
pub use authorization::{
    Action, Authorization, Match, PolicyName, Scope, ServiceAccountMatch, StringMatch,
};
pub use finding::{Finding, Level};
pub use gateway::{GATEWAY_CLASSES, GatewayClass, GatewayNames, GatewayRole};
pub use identity::{Identity, ParseIdentityError};
pub use local::{Endpoint, InvalidLocalState, LocalState};
pub use path_template::{ParseTemplateError, PathTemplate, TemplateSegment};
pub use request_policy::{
    PathMatch, PolicyTarget, RequestAction, RequestCondition, RequestOperation, RequestPolicy,
    RequestRule, RequestSource, Terms,
};
pub use service::{
    HealthPolicy, IpFamilies, LoadBalancer, LoadBalancerMode, LoadBalancerScope, Service,
    Visibility, WeightedWaypoint,
};
pub use workload::{
    ApplicationTunnel, ApplicationTunnelProtocol, HealthStatus, Locality, NetworkMode, PortMap,
    TunnelProtocol, Workload, WorkloadType,
};

/// An immutable shared string. Equal strings of one state are interned by whoever decodes them.
pub type Str = std::sync::Arc<str>;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
