//! Model → protobuf, one file per type: the inverse of [`crate::decode`], for control planes.
//!
//! The bytes are deterministic, so that equal content has an equal version in every process.

mod authorization;
mod request_policy;
mod service;
mod workload;

use ambit_model::{Authorization, RequestPolicy, Service, Str, Workload};
use bytes::Bytes;
use prost::Message as _;
use xxhash_rust::xxh64::xxh64;

use crate::ResourceType;

pub use authorization::authorization;
pub use request_policy::request_policy;
pub use service::service;
pub use workload::workload;

/// A marshalled resource with its name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The type of the resource.
    pub kind: ResourceType,
    /// A workload's uid, a service's `namespace/hostname`, a policy's `namespace/name`, or what the definition of the
    /// message says.
    pub name: Str,
    /// The xxhash64 of `body`.
    pub version: u64,
    /// The marshalled message.
    pub body: Bytes,
}

// === impl Encoded ===

impl Encoded {
    /// A workload's Address.
    pub fn workload(workload: &Workload) -> Self {
        Self::new(ResourceType::Address, workload.uid.clone(), workload::marshal(workload))
    }

    /// A service's Address. `message` is the service as [`service()`] makes it, to which fields may have been added
    /// that `ambit_model` does not know.
    pub fn service(message: ambit_proto::workload::Service) -> Self {
        let name = format!("{}/{}", message.namespace, message.hostname).into();
        let address = ambit_proto::workload::Address {
            r#type: Some(ambit_proto::workload::address::Type::Service(message)),
        };
        Self::new(ResourceType::Address, name, address.encode_to_vec())
    }

    /// A policy.
    pub fn authorization(policy: &Authorization) -> Self {
        let body = authorization(policy).encode_to_vec();
        Self::new(ResourceType::Authorization, policy.key().0, body)
    }

    /// A policy of requests.
    pub fn request_policy(policy: &RequestPolicy) -> Self {
        let body = request_policy(policy).encode_to_vec();
        Self::new(ResourceType::RequestPolicy, policy.key().0, body)
    }

    /// A message of the package `ambit.v1`, which is of type `kind`.
    pub fn message(kind: ResourceType, name: Str, message: &impl prost::Message) -> Self {
        Self::new(kind, name, message.encode_to_vec())
    }

    /// The version as it is written on the wire: hexadecimal.
    pub fn version_text(&self) -> String {
        format!("{:016x}", self.version)
    }

    fn new(kind: ResourceType, name: Str, body: Vec<u8>) -> Self {
        Self { kind, name, version: xxh64(&body, 0), body: body.into() }
    }
}

impl From<&Service> for Encoded {
    fn from(service: &Service) -> Self {
        Self::service(service::service(service))
    }
}
