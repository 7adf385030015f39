//! Where an outbound connection goes: protocol facts 2.4, 2.7, 2.8 and 7 as one pure function.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_model::{Service, Workload};

use crate::described::described;
use crate::{Refusal, Snapshot};

mod candidate;
mod hop;
mod request;
mod route;

pub use hop::{DoubleHbone, Hbone, Hop, Unresolved};
pub use request::Request;

use route::Route;

/// What to do with a connection.
#[derive(Clone, Debug)]
pub enum Resolution {
    /// Close it.
    Refuse(Refusal),
    /// Dial the original destination in the clear.
    Passthrough(Passthrough),
    /// Dial a workload.
    Upstream(Upstream),
}

/// The original destination, dialled in the clear: it is unknown to the mesh or its service asks for it.
#[derive(Clone, Debug)]
pub struct Passthrough {
    /// The original destination.
    pub destination: SocketAddr,
    /// The PASSTHROUGH service that was addressed.
    pub service: Option<Arc<Service>>,
}

/// A chosen workload and the way to it.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The workload that is dialled: the pod, the waypoint or the gateway.
    pub workload: Arc<Workload>,
    /// The endpoint that was chosen, where it is known on this side: absent behind a waypoint.
    pub destination: Option<Arc<Workload>>,
    /// The service that was addressed, for telemetry and the `forwarded` header.
    pub service: Option<Arc<Service>>,
    /// The way.
    pub hop: Hop,
}

/// Decides where `request` goes.
///
/// Call it again with the uid of a workload that could not be dialled in [`Request::tried`] to get another one.
pub fn resolve(snapshot: &Snapshot, request: &Request<'_>, rng: &mut impl rand::Rng) -> Resolution {
    match route::route(snapshot, request, rng) {
        Ok(Route::Passthrough(service)) => Resolution::Passthrough(Passthrough {
            destination: request.wanted(),
            service: service.cloned(),
        }),
        Ok(Route::Dial { record, destination, service, hop }) => {
            let workload = described(record);
            let destination = destination.map(described);
            let service = service.cloned();
            Resolution::Upstream(Upstream { workload, destination, service, hop })
        }
        Err(refusal) => Resolution::Refuse(refusal),
    }
}

#[cfg(test)]
mod tests;
