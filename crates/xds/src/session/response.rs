//! One response into changes and refusals, and the record of what is held brought up to date.

use ambit_model::Str;
use bytes::Bytes;
use prost::Message as _;

use super::Held;
use crate::decode::{self, Address, InvalidResource};
use crate::wire::{Resource, Response};
use crate::{Change, Interner, Rejected, ResourceType};

/// The content of one response: changes to apply in order, in one go.
///
/// Each resource is decoded when it is asked for and its bytes are let go of, so that a response about 100,000 workloads
/// is never held decoded. Removals come first, so that an address that moved from one resource to another within the
/// response is free when its new owner arrives. What cannot be decoded is passed over, and the control plane is told;
/// what was known of it before stays. The response is acknowledged as a whole: take all of it.
#[derive(Debug)]
pub struct Batch<'a> {
    kind: ResourceType,
    removed: std::vec::IntoIter<String>,
    resources: std::iter::Enumerate<std::vec::IntoIter<Bytes>>,
    held: &'a mut Held,
    interner: &'a mut Interner,
    rejected: &'a mut Vec<Rejected>,
}

// === impl Batch ===

impl<'a> Batch<'a> {
    pub(super) fn new(
        kind: ResourceType,
        message: Response,
        (held, interner): (&'a mut Held, &'a mut Interner),
        rejected: &'a mut Vec<Rejected>,
    ) -> Self {
        let removed = message.removed_resources.into_iter();
        let resources = message.resources.into_iter().enumerate();
        Self { kind, removed, resources, held, interner, rejected }
    }

    /// The type that all of it is about.
    pub fn kind(&self) -> ResourceType {
        self.kind
    }

    /// What was refused so far.
    pub fn rejected(&self) -> &[Rejected] {
        self.rejected
    }

    /// A resource as a change, if it is good or something stands in for it.
    fn resource(&mut self, number: usize, bytes: Bytes) -> Option<Change> {
        let kind = self.kind;
        let resource = match Resource::decode(bytes) {
            Ok(resource) => resource,
            Err(source) => {
                let reason = InvalidResource::Protobuf { kind: "Resource", source }.to_string();
                let name = format!("resource {number} of the response").into();
                self.rejected.push(Rejected { kind, name, reason });
                return None;
            }
        };
        let known = self.held.name(kind, &resource.name);
        let name = known.unwrap_or_else(|| resource.name.as_str().into());
        let version = resource.version.clone();
        let decoded = match kind {
            ResourceType::Address => address(&name, &resource, self.interner),
            ResourceType::Authorization => policy(&name, &resource, self.held, self.interner),
            _ => opaque(kind, &name, resource).map_err(Into::into),
        };
        match decoded {
            Ok(change) => {
                self.held.insert(kind, name, &version);
                Some(change)
            }
            Err(refused) => {
                // The empty version makes the control plane speak of the resource again after a reconnect.
                if refused.stand_in.is_some() {
                    self.held.insert(kind, name.clone(), "");
                }
                let reason = refused.error.to_string();
                self.rejected.push(Rejected { kind, name, reason });
                refused.stand_in
            }
        }
    }
}

impl Iterator for Batch<'_> {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        if let Some(name) = self.removed.next() {
            self.held.remove(self.kind, &name);
            return Some(Change::Removed { kind: self.kind, name: name.into() });
        }
        while let Some((number, bytes)) = self.resources.next() {
            let change = self.resource(number, bytes);
            if change.is_some() {
                return change;
            }
        }
        None
    }
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
