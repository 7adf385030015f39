//! One response into changes and refusals, and the record of what is held brought up to date.

use ambit_model::Str;
use bytes::Bytes;
use prost::Message as _;

use super::Held;
use crate::decode::{self, Address, InvalidResource};
use crate::wire::{Resource, Response};
use crate::{Batch, Change, Interner, Rejected, ResourceType};

/// Decodes `message`, whose type is `kind`. Removals come first, so that an address that moved from one resource to
/// another within the response is free when its new owner arrives.
pub(super) fn decode(
    kind: ResourceType,
    message: Response,
    held: &mut Held,
    interner: &mut Interner,
) -> Batch {
    let mut batch = Batch::default();
    for name in message.removed_resources {
        held.remove(kind, &name);
        batch.updates.push(Change::Removed { kind, name: name.into() });
    }
    for (i, bytes) in message.resources.into_iter().enumerate() {
        let resource = match Resource::decode(bytes) {
            Ok(resource) => resource,
            Err(source) => {
                let reason = InvalidResource::Protobuf { kind: "Resource", source }.to_string();
                let name = format!("resource {i} of the response").into();
                batch.rejected.push(Rejected { kind, name, reason });
                continue;
            }
        };
        let name = held.name(kind, &resource.name).unwrap_or_else(|| resource.name.as_str().into());
        let version = resource.version.clone();
        let decoded = match kind {
            ResourceType::Address => address(&name, &resource, interner),
            ResourceType::Authorization => policy(&name, &resource, held, interner),
            _ => opaque(kind, &name, resource).map_err(Into::into),
        };
        match decoded {
            Ok(change) => {
                held.insert(kind, name, &version);
                batch.updates.push(change);
            }
            Err(refused) => {
                // The empty version makes the control plane speak of the resource again after a reconnect.
                if let Some(stand_in) = refused.stand_in {
                    held.insert(kind, name.clone(), "");
                    batch.updates.push(stand_in);
                }
                let reason = refused.error.to_string();
                batch.rejected.push(Rejected { kind, name, reason });
            }
        }
    }
    batch
}

struct Refused {
    error: InvalidResource,
    stand_in: Option<Change>,
}

// === impl Refused ===

impl From<InvalidResource> for Refused {
    fn from(error: InvalidResource) -> Self {
        Self { error, stand_in: None }
    }
}

fn address(name: &Str, resource: &Resource, interner: &mut Interner) -> Result<Change, Refused> {
    let change = match decode::address(content(ResourceType::Address, resource)?, interner)? {
        Address::Workload(mut workload) => {
            same_name(name, &workload.uid)?;
            workload.uid = name.clone();
            Change::Workload(Box::new(workload))
        }
        Address::Service(service) => {
            same_name(name, &service.key().to_string())?;
            Change::Service(Box::new(service))
        }
    };
    Ok(change)
}

fn policy(
    name: &Str,
    resource: &Resource,
    held: &Held,
    interner: &mut Interner,
) -> Result<Change, Refused> {
    let kind = ResourceType::Authorization;
    let decoded = decode::policy(content(kind, resource)?, interner);
    let checked = decoded.policy.and_then(|policy| {
        same_name(name, &policy.key().0)?;
        Ok(Change::Authorization(Box::new(policy)))
    });
    checked.map_err(|error| Refused {
        error,
        // Where an earlier version is known, that one stays in force.
        stand_in: decoded
            .stand_in
            .filter(|s| !held.contains(kind, name) && *s.key().0 == **name)
            .map(|policy| Change::Authorization(Box::new(policy))),
    })
}

/// What the owner of the client decodes itself.
fn opaque(kind: ResourceType, name: &Str, resource: Resource) -> Result<Change, InvalidResource> {
    let body = Bytes::copy_from_slice(content(kind, &resource)?);
    Ok(Change::Resource { kind, name: name.clone(), body })
}

fn content(kind: ResourceType, resource: &Resource) -> Result<&[u8], InvalidResource> {
    let wrong =
        |found: &str| InvalidResource::WrongType { found: found.into(), expected: kind.url() };
    let any = resource.resource.as_ref().ok_or_else(|| wrong(""))?;
    if any.type_url != kind.url() {
        return Err(wrong(&any.type_url));
    }
    Ok(&any.value)
}

fn same_name(name: &str, key: &str) -> Result<(), InvalidResource> {
    if name == key { Ok(()) } else { Err(InvalidResource::NameMismatch { key: key.to_owned() }) }
}
