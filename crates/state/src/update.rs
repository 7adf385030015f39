//! What can happen to the state.

use ambit_model::{Authorization, Service, Str, Workload};

/// One change. Changes are idempotent, and those of different resources commute.
#[derive(Clone, Debug)]
pub enum Update {
    /// A workload appeared or changed; its key is the uid.
    Workload(Box<Workload>),
    /// A service appeared or changed; its key is `namespace/hostname`.
    Service(Box<Service>),
    /// A policy appeared or changed; its key is `namespace/name`.
    Authorization(Box<Authorization>),
    /// A workload (by uid) or a service (by `namespace/hostname`) is gone: the resource name of an
    /// `istio.workload.Address`. A workload of that uid wins; otherwise a name with exactly one slash is a service's.
    RemoveAddress(Str),
    /// The policy `namespace/name` is gone.
    RemoveAuthorization(Str),
    /// The first complete set of one type has been delivered.
    Synced(Kind),
}

/// The two types of resources that come separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `istio.workload.Address`: workloads and services.
    Addresses,
    /// `istio.security.Authorization`.
    Authorizations,
}

impl From<Workload> for Update {
    fn from(workload: Workload) -> Self {
        Self::Workload(Box::new(workload))
    }
}

impl From<Service> for Update {
    fn from(service: Service) -> Self {
        Self::Service(Box::new(service))
    }
}

impl From<Authorization> for Update {
    fn from(policy: Authorization) -> Self {
        Self::Authorization(Box::new(policy))
    }
}
