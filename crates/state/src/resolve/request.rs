//! The connection that is to be routed.

use std::net::{IpAddr, SocketAddr};

use ambit_model::{Str, Workload};

/// One captured connection.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The workload it comes from: its network, namespace, locality, node, cluster and identity.
    pub source: &'a Workload,
    /// The address it comes from.
    pub source_ip: IpAddr,
    /// Where the application wanted to go.
    pub destination: SocketAddr,
    /// Uids of the workloads that were dialled for this connection and failed
    /// ([`Upstream::workload`](crate::Upstream::workload)).
    pub tried: &'a [Str],
    /// Ports of the proxy itself, refused on loopback.
    pub proxy_ports: &'a [u16],
}

impl Request<'_> {
    /// The destination, with IPv4-mapped addresses as what they stand for.
    pub(crate) fn wanted(&self) -> SocketAddr {
        SocketAddr::new(self.destination.ip().to_canonical(), self.destination.port())
    }

    /// Whether the proxy would be talking to itself.
    pub(crate) fn is_loop(&self) -> bool {
        let wanted = self.wanted();
        wanted.ip().is_loopback() && self.proxy_ports.contains(&wanted.port())
    }
}
