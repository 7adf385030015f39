//! What to do with a captured outbound connection, once its destination is resolved.

use std::net::SocketAddr;
use std::sync::Arc;

use ambit_model::{Service, TunnelProtocol, Workload};
use ambit_state::{DoubleHbone, Hbone, Hop, Passthrough, Refusal, Resolution, Unresolved};

/// The ways an outbound connection can go.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Reset it.
    Refuse(Refusal),
    /// Dial in the clear.
    Tcp { destination: SocketAddr, ends: Ends },
    /// One tunnel.
    Hbone { hop: Hbone, ends: Ends },
    /// A tunnel in a tunnel.
    DoubleHbone { hop: DoubleHbone, ends: Ends },
    /// To a pod of this very node, if it can be reached; else as [`Plan::Hbone`].
    Local { hop: Hbone, ends: Ends },
    /// Look up the name first.
    LookUp { name: Unresolved, ends: Ends },
}

/// What telemetry says of the far end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ends {
    /// The workload that is dialled; its failure is what another try avoids.
    pub dialled: Option<Arc<Workload>>,
    /// The workload that is meant, as far as this side knows.
    pub destination: Option<Arc<Workload>>,
    /// The service that was called.
    pub service: Option<Arc<Service>>,
}

/// Facts of this node that a plan depends on.
pub(crate) struct Node<'a> {
    /// Whether a workload's pod is captured by this process.
    pub is_captured: &'a (dyn Fn(&Workload) -> bool + Sync),
    /// Whether the local path is turned off, here or for the source.
    pub encrypt_local: bool,
    /// Whether only what the mesh knows may be dialled.
    pub registry_only: bool,
}

/// Decides the way of a connection.
pub(crate) fn plan(resolution: Resolution, node: &Node<'_>) -> Plan {
    match resolution {
        Resolution::Refuse(refusal) => Plan::Refuse(refusal),
        Resolution::Passthrough(Passthrough { destination, service: None })
            if node.registry_only =>
        {
            Plan::Refuse(Refusal::NotRegistered(destination))
        }
        Resolution::Passthrough(Passthrough { destination, service }) => {
            Plan::Tcp { destination, ends: Ends { dialled: None, destination: None, service } }
        }
        Resolution::Upstream(upstream) => {
            let ends = Ends {
                destination: upstream.destination.or_else(|| Some(upstream.workload.clone())),
                dialled: Some(upstream.workload),
                service: upstream.service,
            };
            with_hop(upstream.hop, ends, node)
        }
    }
}

/// Decides the way of a connection whose hop is known.
pub(crate) fn with_hop(hop: Hop, ends: Ends, node: &Node<'_>) -> Plan {
    match hop {
        Hop::Tcp { destination } => Plan::Tcp { destination, ends },
        Hop::Hbone(hop) if is_local(&ends, node) => Plan::Local { hop, ends },
        Hop::Hbone(hop) | Hop::Waypoint(hop) => Plan::Hbone { hop, ends },
        Hop::DoubleHbone(hop) => Plan::DoubleHbone { hop, ends },
        Hop::Hostname(name) => Plan::LookUp { name, ends },
    }
}

/// Whether the destination's own proxy would be this process, with nothing to do that only its HBONE side does.
fn is_local(ends: &Ends, node: &Node<'_>) -> bool {
    ends.dialled.as_deref().is_some_and(|workload| {
        !(node.encrypt_local || workload.encrypt_local)
            && workload.protocol == TunnelProtocol::Hbone
            && !workload.native_tunnel
            && workload.application_tunnel.is_none()
            && (node.is_captured)(workload)
    })
}
