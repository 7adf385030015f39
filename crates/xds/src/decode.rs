//! Protobuf → model, one file per type. Every byte is hostile: nothing here panics, and what cannot be right is an
//! error that says which field is wrong. Unknown protobuf fields are ignored, as protobuf wants it.

mod address;
mod authorization;
mod request_policy;
mod service;
mod terms;
mod workload;

use ambit_model::{Authorization, Service, Workload};
use ambit_proto::workload::address::Type;
use prost::Message as _;

use crate::Interner;

pub use address::InvalidAddress;
pub use authorization::{InvalidAuthorization, authorization, stand_in};
pub use request_policy::{DecodedRequestPolicy, InvalidRequestPolicy, request_policy};
pub use service::{InvalidService, service};
pub use workload::{InvalidWorkload, workload};

/// A decoded `istio.workload.Address`.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "boxed by whoever keeps it")]
pub enum Address {
    /// A workload.
    Workload(Workload),
    /// A service.
    Service(Service),
}

/// Why a resource is refused.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum InvalidResource {
    /// The bytes are no message of the type.
    #[error("not a valid {kind} message: {source}")]
    Protobuf {
        /// The message that was expected.
        kind: &'static str,
        /// What the decoder found.
        source: prost::DecodeError,
    },
    /// Neither a workload nor a service.
    #[error("the address is neither a workload nor a service")]
    EmptyAddress,
    /// The resource holds nothing, or a message of another type.
    #[error("the resource holds {found:?} instead of {expected}")]
    WrongType {
        /// The type URL found; empty where there is no content.
        found: String,
        /// The type URL of the response.
        expected: &'static str,
    },
    /// The resource's name is not the key of what it holds, so a removal would miss it.
    #[error("the resource describes {key:?}, which is not its name")]
    NameMismatch {
        /// The key of the content.
        key: String,
    },
    /// A bad workload.
    #[error("workload: {0}")]
    Workload(#[from] InvalidWorkload),
    /// A bad service.
    #[error("service: {0}")]
    Service(#[from] InvalidService),
    /// A bad policy.
    #[error("policy: {0}")]
    Authorization(#[from] InvalidAuthorization),
    /// A bad policy of requests.
    #[error("request policy: {0}")]
    RequestPolicy(#[from] InvalidRequestPolicy),
}

/// Decodes a marshalled `istio.workload.Address`.
///
/// # Errors
/// The bytes are no such message, or its content is invalid.
pub fn address(bytes: &[u8], interner: &mut Interner) -> Result<Address, InvalidResource> {
    let message = ambit_proto::workload::Address::decode(bytes)
        .map_err(|source| InvalidResource::Protobuf { kind: "Address", source })?;
    match message.r#type {
        Some(Type::Workload(proto)) => Ok(Address::Workload(workload(proto, interner)?)),
        Some(Type::Service(proto)) => Ok(Address::Service(service(proto, interner)?)),
        None => Err(InvalidResource::EmptyAddress),
    }
}

/// A policy's bytes as a message, and the policy if its content is valid.
#[derive(Debug)]
pub struct DecodedPolicy {
    /// The policy, or why it is refused.
    pub policy: Result<Authorization, InvalidResource>,
    /// What to enforce where the policy is refused and no earlier version is known.
    pub stand_in: Option<Authorization>,
}

/// Decodes a marshalled `istio.security.Authorization`.
pub fn policy(bytes: &[u8], interner: &mut Interner) -> DecodedPolicy {
    match ambit_proto::security::Authorization::decode(bytes) {
        Ok(message) => {
            let stand_in = stand_in(&message, interner);
            DecodedPolicy { policy: authorization(message, interner).map_err(Into::into), stand_in }
        }
        Err(source) => DecodedPolicy {
            policy: Err(InvalidResource::Protobuf { kind: "Authorization", source }),
            stand_in: None,
        },
    }
}
