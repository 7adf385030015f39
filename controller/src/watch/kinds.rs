//! One file per kind: what is read of an object and what is checked.

mod authorization_policy;
mod backend_tls_policy;
mod config_map;
mod destination_rule;
mod duration;
mod endpoint_slice;
mod gateway;
mod gateway_class;
mod listener_set;
mod meta;
mod namespace;
mod network;
mod node;
mod peer_authentication;
mod pod;
mod ports;
mod reference_grant;
mod regex;
mod route;
mod secret;
mod service;
mod service_entry;
mod unused;
mod virtual_service;
mod workload_entry;

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Key, Kind, Meta, Object, Problem, Selector};

pub use authorization_policy::{
    AuthorizationPolicy, Condition, Enforcement, Operation, PolicyAction, Rule, Source, Target,
};
pub use backend_tls_policy::{BackendTlsPolicy, TlsTarget, TlsValidation};
pub use config_map::ConfigMap;
pub use destination_rule::{DestinationRule, Policy, RuleTls, Subset, Treatment};
pub use endpoint_slice::{EndpointSlice, SliceEndpoint, SlicePort};
pub use gateway::{
    AllowedRoutes, ClientValidation, Gateway, GatewayAddress, GatewayTls, Listener, ListenerTls,
};
pub use gateway_class::GatewayClass;
pub use listener_set::ListenerSet;
pub use namespace::Namespace;
pub use node::Node;
pub use peer_authentication::{MtlsMode, PeerAuthentication};
pub use pod::{Phase, Pod};
pub use reference_grant::{Granted, Grantee, ReferenceGrant};
pub use route::{BackendRef, Edit, Match, ParentRef, Rank, Route, RouteBackend, RouteRule};
pub(crate) use secret::SELECTED as SECRETS;
pub use secret::Secret;
pub use service::{Service, ServicePort, TargetPort};
pub use service_entry::{EntryAddress, EntryPort, Resolution, ServiceEntry};
pub(crate) use unused::is_known_and_unused;
pub use virtual_service::{
    Destination, HttpCase, HttpRule, Share, StreamCase, StreamRule, VirtualService,
};
pub use workload_entry::{EntryHost, EntryWorkload, WorkloadEntry};

/// An object after trimming.
pub(super) struct Trimmed {
    /// What it is found by. The name of a policy that has none is made up.
    pub(super) key: Key,
    /// The object; absent where it cannot be used.
    pub(super) object: Option<Object>,
    /// What is wrong with it, or worth knowing about it.
    pub(super) problems: Vec<Problem>,
}

/// Reads an object of `kind`, of which `problems` are known already.
pub(super) fn trim(kind: Kind, value: Value, mut problems: Vec<Problem>) -> Trimmed {
    let meta = match meta::read(kind, &value) {
        Ok(meta) => meta,
        Err(meta::Unusable { guess, problem }) => {
            problems.push(problem);
            match guess {
                Some(meta) if is_policy(kind) => *meta,
                other => {
                    let meta = other.map(|meta| *meta).unwrap_or_default();
                    let key = Key { kind, namespace: meta.namespace, name: meta.name };
                    return Trimmed { key, object: None, problems };
                }
            }
        }
    };
    let key = Key { kind, namespace: meta.namespace.clone(), name: meta.name.clone() };
    match object(kind, meta, value, &mut problems) {
        Ok(object) => Trimmed { key, object, problems },
        Err(problem) => {
            problems.push(problem);
            Trimmed { key, object: None, problems }
        }
    }
}

/// Kinds that restrict: one that cannot be understood must not be left out.
fn is_policy(kind: Kind) -> bool {
    matches!(kind, Kind::AuthorizationPolicy | Kind::PeerAuthentication)
}

fn object(
    kind: Kind,
    meta: Meta,
    value: Value,
    problems: &mut Vec<Problem>,
) -> Result<Option<Object>, Problem> {
    Ok(Some(match kind {
        Kind::AuthorizationPolicy => Object::AuthorizationPolicy(Arc::new(
            authorization_policy::trim(meta, &value, problems),
        )),
        Kind::BackendTlsPolicy => {
            Object::BackendTlsPolicy(Arc::new(backend_tls_policy::trim(meta, &value, problems)?))
        }
        Kind::ConfigMap => {
            return Ok(config_map::trim(meta, &value).map(Arc::new).map(Object::ConfigMap));
        }
        Kind::PeerAuthentication => {
            Object::PeerAuthentication(Arc::new(peer_authentication::trim(meta, &value, problems)))
        }
        Kind::EndpointSlice => Object::EndpointSlice(Arc::new(endpoint_slice::trim(meta, value)?)),
        Kind::Gateway => Object::Gateway(Arc::new(gateway::trim(meta, &value)?)),
        Kind::GatewayClass => Object::GatewayClass(Arc::new(gateway_class::trim(meta, &value)?)),
        Kind::ListenerSet => Object::ListenerSet(Arc::new(listener_set::trim(meta, &value)?)),
        Kind::GrpcRoute | Kind::HttpRoute | Kind::TcpRoute | Kind::TlsRoute => {
            Object::Route(Arc::new(route::trim(kind, meta, &value, problems)?))
        }
        Kind::ReferenceGrant => {
            Object::ReferenceGrant(Arc::new(reference_grant::trim(meta, &value)?))
        }
        Kind::DestinationRule => {
            Object::DestinationRule(Arc::new(destination_rule::trim(meta, &value, problems)?))
        }
        Kind::VirtualService => {
            Object::VirtualService(Arc::new(virtual_service::trim(meta, &value, problems)?))
        }
        Kind::Namespace => Object::Namespace(Arc::new(Namespace { meta })),
        Kind::Node => Object::Node(Arc::new(node::trim(meta))),
        Kind::Pod => Object::Pod(Arc::new(pod::trim(meta, value)?)),
        Kind::Service => Object::Service(Arc::new(service::trim(meta, value)?)),
        Kind::ServiceEntry => Object::ServiceEntry(Arc::new(service_entry::trim(meta, &value)?)),
        Kind::Secret => return Ok(secret::trim(meta, value)?.map(Arc::new).map(Object::Secret)),
        Kind::WorkloadEntry => Object::WorkloadEntry(Arc::new(workload_entry::trim(meta, &value)?)),
    }))
}

/// `value` as a `T`; the problem names the field.
fn typed<'de, T: Deserialize<'de>>(
    value: impl Deserializer<'de, Error = serde_json::Error>,
) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." { String::new() } else { field };
        Problem::new(field, error.into_inner())
    })
}

/// The part of `value` under `field` as a `T`. Fields that `T` does not know are added to `problems`, one line for each.
fn part_of<T: DeserializeOwned>(
    value: &Value,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Result<T, Problem> {
    let nothing = Value::Object(serde_json::Map::new());
    let part = value.get(field).filter(|part| !part.is_null()).unwrap_or(&nothing);
    let mut unread = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| {
        if unread.len() < MAX_UNREAD {
            unread.push(Problem::remark(written(&path), "is not known here and means nothing"));
        }
    };
    let read = typed(serde_ignored::Deserializer::new(part, &mut note));
    problems.extend(unread.into_iter().map(|problem| problem.within(field)));
    read.map_err(|problem: Problem| problem.within(field))
}

/// No more fields than this are named that an object has and nobody reads.
const MAX_UNREAD: usize = 16;

/// A path as problems write it.
fn written(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", written(parent)),
        Path::Map { parent, key } => {
            let parent = written(parent);
            if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") }
        }
        Path::Some { parent }
        | Path::NewtypeStruct { parent }
        | Path::NewtypeVariant { parent } => written(parent),
    }
}

/// The part of `value` under `field` as a `T`; an absent part reads as an empty mapping.
fn part<T: DeserializeOwned>(value: &Value, field: &str) -> Result<T, Problem> {
    let read = match value.get(field).filter(|part| !part.is_null()) {
        Some(part) => typed(part),
        None => typed(Value::Object(serde_json::Map::new())),
    };
    read.map_err(|problem: Problem| problem.within(field))
}
