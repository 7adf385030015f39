//! What the process needs of its machine.

use std::io;

use ambit_state::Reader;
use prometheus_client::registry::Registry;

use crate::config::Config;
use crate::dns::{self, DnsProxy};

/// The process's own resolver configuration.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The descriptors that a process may have where nobody says anything else.
const USUAL_DESCRIPTORS: usize = 1024;

/// The DNS proxy, unless it is turned off.
pub(crate) fn dns(config: &Config, state: Reader, registry: &mut Registry) -> Option<DnsProxy> {
    let resolv_conf = || {
        let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
        dns::parse_resolv_conf(&text).nameservers.into_iter().map(dns::nameserver).collect()
    };
    config.dns.enabled.then(|| {
        let settings = dns::Config {
            domain: config.node.cluster_domain.clone(),
            preferred_namespace: config.dns.preferred_namespace.clone(),
            ipv6: config.sockets.ipv6,
            nameservers: resolv_conf(),
        };
        DnsProxy::new(settings, state, registry)
    })
}

/// How many descriptors this process may have, once it has asked for as many as it can get.
pub(crate) fn descriptors() -> usize {
    match ambit_net::raise_descriptor_limit() {
        Ok(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        Err(error) => {
            tracing::warn!(%error, "cannot raise the limit of open descriptors; connections beyond it will wait");
            USUAL_DESCRIPTORS
        }
    }
}

/// Whether sockets can be marked as this mode needs it; found out before the first pod comes.
pub(crate) fn check_privileges(config: &Config) -> io::Result<()> {
    let Some(mark) = config.sockets.mark else { return Ok(()) };
    let probe = ambit_net::ListenOptions { mark: Some(mark), ..Default::default() };
    let address = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    ambit_net::listen(address, &probe).map(drop).map_err(|error| {
        let hint = "give the process CAP_NET_ADMIN and CAP_SYS_ADMIN, or run it as root";
        io::Error::new(error.kind(), format!("cannot set SO_MARK on a socket: {error}; {hint}"))
    })
}
