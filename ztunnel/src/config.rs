//! Everything that can be configured, and the one place where the environment is read.

mod env;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ambit_bootstrap::{Certificates, ConfigError, ControlPlane, Env, Node, Ports};
use ambit_hbone as hbone;
use ambit_model::Str;
use ambit_policy::UnknownPolicy;

/// The node tunnel's configuration. `docs/ztunnel-configuration.md` lists the variables.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whom this process serves.
    pub mode: ProxyMode,
    /// Who this process is.
    pub node: Node,
    /// Where workloads, services and policies come from.
    pub discovery: Discovery,
    /// Where certificates come from.
    pub certificates: Certificates,
    /// HTTP/2 parameters.
    pub hbone: hbone::Config,
    /// Socket options.
    pub sockets: Sockets,
    /// DNS proxy.
    pub dns: Dns,
    /// What a policy name that was never seen means.
    pub unknown_policy: UnknownPolicy,
    /// Log policy decisions at info instead of debug.
    pub log_policy_decisions: bool,
    /// Send and read baggage for telemetry in responses.
    pub response_baggage: bool,
    /// Deliver PROXY tunnels to the loopback address.
    pub localhost_app_tunnel: bool,
    /// Use HBONE even where both pods are on this node.
    pub encrypt_local: bool,
    /// Refuse connections to what the mesh does not know (`OUTBOUND_TRAFFIC_POLICY`).
    pub registry_only: bool,
    /// Data-plane threads.
    pub workers: usize,
    /// Connections that one pod may have (`POD_MAX_CONNECTIONS`).
    pub pod_connections: usize,
    /// Grace period for open connections after SIGTERM.
    pub drain_deadline: Duration,
    /// Ports of the admin, metrics and readiness servers.
    pub ports: Ports,
    /// Where the last known state is kept; nowhere if absent.
    pub state_dir: Option<PathBuf>,
}

/// Whom a process serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyMode {
    /// All captured pods of a node, told by the agent on this socket.
    Shared {
        /// `INPOD_UDS`.
        agent_socket: PathBuf,
    },
    /// One workload, in the process's own network namespace.
    Dedicated {
        /// The workload's namespace.
        namespace: Str,
        /// The workload's name.
        name: Str,
        /// The workload's service account.
        service_account: Str,
    },
}

/// Where workloads, services and policies come from. Both may be given.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// The control plane.
    pub xds: Option<ControlPlane>,
    /// A local state file (`LOCAL_XDS_PATH`).
    pub file: Option<PathBuf>,
}

/// Socket options.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// SO_MARK of every socket in a pod's namespace (`PACKET_MARK`).
    pub mark: Option<u32>,
    /// Keep the client's address towards the application (`ENABLE_ORIG_SRC`): yes, no, or as the system allows.
    pub original_source: Option<bool>,
    /// Listen on IPv6 as well (`IPV6_ENABLED`).
    pub ipv6: bool,
    /// Time between keepalive probes, and their number; `None` turns them off.
    pub keepalive: Option<Keepalive>,
    /// Set TCP_USER_TIMEOUT to the keepalive's total (`USER_TIMEOUT_ENABLED`).
    pub user_timeout: bool,
    /// Several processes may listen at once (`INPOD_PORT_REUSE`).
    pub port_reuse: bool,
    /// Longest time for a TCP connect.
    pub connect_timeout: Duration,
}

/// TCP keepalive.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Probes without an answer before the connection counts as dead.
    pub retries: u32,
}

/// DNS proxy.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Run it (`ISTIO_META_DNS_CAPTURE`).
    pub enabled: bool,
    /// Its port inside the pod (`ISTIO_META_DNS_PROXY_ADDR`).
    pub port: u16,
    /// A namespace whose services win over others of the same name (`PREFERED_SERVICE_NAMESPACE`).
    pub preferred_namespace: Option<Str>,
}

/// Ports of the data plane; constants of the protocol.
pub mod port {
    /// Outbound capture.
    pub const OUTBOUND: u16 = 15001;
    /// Inbound plaintext capture.
    pub const INBOUND_PLAINTEXT: u16 = 15006;
    /// HBONE.
    pub const HBONE: u16 = 15008;

    /// The ports through which a connection would come back to the tunnel itself.
    pub const RESERVED: [u16; 3] = [OUTBOUND, INBOUND_PLAINTEXT, HBONE];
}

impl Config {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_env() -> Result<Self, ConfigError> {
        env::read(Env::of_process())
    }
}

impl Sockets {
    /// The wildcard address to listen on.
    pub fn wildcard(&self) -> IpAddr {
        if self.ipv6 {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        }
    }
}
