//! The DNS proxy of captured pods: answers for services of the mesh, and forwards everything else to the resolvers that
//! the pod itself would have asked.
//!
//! `plan` decides, purely; `serve` and `forward` carry it out. One [`DnsProxy`] serves any number of pods, each
//! through sockets that were opened in the pod's own network namespace.

mod cache;
mod forward;
pub(crate) mod fuzzing;
mod log;
mod message;
mod metrics;
mod names;
mod plan;
mod query;
mod resolv_conf;
mod serve;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ambit_model::Str;
use ambit_net::NetNs;
use ambit_state::Reader;
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use resolv_conf::{ResolvConf, parse as parse_resolv_conf};

use metrics::Metrics;

/// The port of a name server.
pub const PORT: u16 = 53;

/// Queries that wait in the whole process.
const MAX_IN_FLIGHT: usize = 4096;

/// What is the same for every pod.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's domain, e.g. `cluster.local`.
    pub domain: Str,
    /// A namespace whose services win over others of the same name (`PREFERED_SERVICE_NAMESPACE`).
    pub preferred_namespace: Option<Str>,
    /// Whether services have IPv6 addresses at all (`IPV6_ENABLED`).
    pub ipv6: bool,
    /// Name servers for pods that have none of their own: those of this process.
    pub nameservers: Vec<SocketAddr>,
}

/// A captured pod, as far as DNS needs to know it.
#[derive(Clone, Debug)]
pub struct PodDns {
    /// The pod's name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its service account.
    pub service_account: Str,
    /// Where queries are forwarded from; `None` is the process's own namespace.
    pub netns: Option<NetNs>,
    /// The mark of forwarded queries, which keeps redirection from bringing them back here.
    pub mark: Option<u32>,
    /// Its own name servers, most preferred first; empty for those of [`Config`].
    pub nameservers: Vec<SocketAddr>,
    /// Its own search list; empty for the one that Kubernetes gives.
    pub searches: Vec<Str>,
}

/// Sockets bound in the pod's namespace, on which its queries arrive.
#[derive(Debug, Default)]
pub struct PodSockets {
    /// For datagrams.
    pub udp: Vec<std::net::UdpSocket>,
    /// For connections.
    pub tcp: Vec<std::net::TcpListener>,
}

/// The DNS proxy of a process; clones share everything.
#[derive(Clone)]
pub struct DnsProxy(Arc<Shared>);

struct Shared {
    config: Config,
    state: Reader,
    metrics: Metrics,
    in_flight: Arc<Semaphore>,
}

// === impl DnsProxy ===

impl DnsProxy {
    /// A proxy that answers from `state`; its metrics go to `registry`, whose names have no prefix yet.
    pub fn new(config: Config, state: Reader, registry: &mut Registry) -> Self {
        let metrics = Metrics::register(registry);
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        Self(Arc::new(Shared { config, state, metrics, in_flight }))
    }

    /// Serves a pod until `closing` is cancelled, then finishes the queries that have arrived.
    ///
    /// # Errors
    /// If a socket cannot be registered with the runtime; nothing is served then.
    pub async fn serve(
        &self,
        pod: PodDns,
        sockets: PodSockets,
        closing: CancellationToken,
    ) -> io::Result<()> {
        let pod = Arc::new(query::PodResolver::new(Arc::clone(&self.0), pod));
        serve::run(pod, sockets, closing).await
    }
}

/// The address of a name server on the usual port.
pub fn nameserver(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, PORT)
}
