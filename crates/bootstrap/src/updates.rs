//! What the control plane says, as updates of the state.

use ambit_state::{Kind, Update};
use ambit_xds::{Change, ResourceType};

/// One decoded change as an update; what the state does not keep is none.
pub fn update(change: Change) -> Option<Update> {
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
pub fn synced(kind: ResourceType) -> Option<Update> {
    Some(Update::Synced(match kind {
        ResourceType::Address => Kind::Addresses,
        ResourceType::Authorization => Kind::Authorizations,
        _ => return None,
    }))
}
