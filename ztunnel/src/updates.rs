//! What the control plane says, as updates of the state.

use ambit_state::{Kind, Update};
use ambit_xds::{Change, ResourceType};

/// One decoded change as an update; what node proxies do not subscribe to is none.
pub(crate) fn update(change: Change) -> Option<Update> {
    Some(match change {
        Change::Workload(workload) => Update::Workload(workload),
        Change::Service(service) => Update::Service(service),
        Change::Authorization(policy) => Update::Authorization(policy),
        Change::Removed { kind: ResourceType::Address, name } => Update::RemoveAddress(name),
        Change::Removed { kind: ResourceType::Authorization, name } => {
            Update::RemoveAuthorization(name)
        }
        Change::Resource { .. } | Change::Removed { .. } => return None,
    })
}

/// The type whose first complete set has arrived.
pub(crate) fn synced(kind: ResourceType) -> Option<Update> {
    Some(Update::Synced(match kind {
        ResourceType::Address => Kind::Addresses,
        ResourceType::Authorization => Kind::Authorizations,
        _ => return None,
    }))
}
