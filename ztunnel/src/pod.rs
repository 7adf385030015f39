//! A captured pod: who it is, where its sockets are made, and what is open in it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ambit_bootstrap::Turns;
use ambit_lifecycle::Drain;
use ambit_model::{Identity, Str, Workload};
use ambit_net::{
    ConnectError, ConnectOptions, Keepalive, ListenOptions, Listener, NetNs, TcpOptions,
    Transparent,
};
use ambit_state::{Reader, Snapshot};
use ambit_zds::DnsConfig;
use tokio::net::TcpStream;

use crate::config::{Sockets, port};
use crate::connections::Connections;
use crate::dns::{PodDns, PodSockets, nameserver};
use crate::headers::OwnBaggage;
use crate::local::Reachable;

/// How long a connection waits for the state that is needed to decide about it (protocol fact: 5 s).
pub(crate) const STATE_DEADLINE: Duration = Duration::from_secs(5);
/// Added to the mark of a connection that ztunnel makes as a client whose own connection to the same port is on the
/// pod's record (`ambit_redirect`; Istio ambient's rules ignore it).
const AS_CLIENT_MARK: u32 = 0x1000;

/// A pod whose traffic this process carries.
pub(crate) struct Pod {
    /// The pod's UID.
    pub uid: Str,
    /// Who it is, as the agent says.
    pub info: PodInfo,
    /// Its network namespace; `None` is the process's own.
    pub netns: Option<NetNs>,
    /// Whether its connections reach the application from their own source address.
    pub keeps_source: bool,
    /// Its open connections.
    pub connections: Connections,
    /// Its turns, by worker.
    pub turns: Vec<Arc<Turns>>,
    /// Destinations on this node that it may reach directly.
    pub reachable: Reachable,
    /// What peers are told of it.
    pub baggage: OwnBaggage,
    /// The end of its life.
    pub drain: Drain,
    /// Tasks of it that are no connections: those that accept, and its DNS proxy.
    pub housekeeping: usize,
    /// Connections and handshakes that it was refused, as it had its share.
    refused: AtomicU64,
    sockets: Arc<Sockets>,
}

/// Who a pod is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PodInfo {
    /// The pod's name.
    pub name: Str,
    /// Its namespace.
    pub namespace: Str,
    /// Its service account.
    pub service_account: Str,
    /// Its own resolver configuration; empty if the agent did not say.
    pub dns: DnsConfig,
}

/// The three listening sockets of one worker in one pod.
pub(crate) struct Listeners {
    pub outbound: Listener,
    pub plaintext: Listener,
    pub hbone: Listener,
}

/// Why a connection cannot be decided about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotReady {
    /// The first complete state has not arrived.
    #[error(
        "workloads and policies have not all arrived yet: check that the control plane can be reached"
    )]
    NotSynced,
    /// The pod is not among the workloads.
    #[error("workload {0} is not known: check that the control plane sees the pod")]
    UnknownWorkload(String),
}

// === impl Pod ===

impl Pod {
    /// A pod whose listeners are still to be opened.
    pub(crate) fn new(
        uid: Str,
        info: PodInfo,
        netns: Option<NetNs>,
        sockets: Arc<Sockets>,
    ) -> Self {
        Self {
            uid,
            info,
            netns,
            keeps_source: false,
            connections: Connections::default(),
            turns: Vec::new(),
            reachable: Reachable::default(),
            baggage: OwnBaggage::default(),
            drain: Drain::default(),
            housekeeping: 0,
            refused: AtomicU64::new(0),
            sockets,
        }
    }

    /// How many connections and tunnels it has; those that are being opened count.
    pub(crate) fn open(&self) -> usize {
        self.drain.tasks.len().saturating_sub(self.housekeeping)
    }

    /// Counts what it was refused because it had its share.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it was refused something because it had its share.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Opens the listeners of one worker inside the pod.
    ///
    /// # Errors
    /// A port is taken, or transparency was demanded and is not permitted.
    pub(crate) fn listen(&self) -> io::Result<Listeners> {
        self.enter(|| {
            let open = |port, options| {
                let address = SocketAddr::new(self.sockets.wildcard(), port);
                ambit_net::listen(address, options).map_err(|e| listening(port, e))
            };
            let options = self.listen_options();
            let tunnels = ListenOptions { tcp: options.tcp.shared(), ..options };
            Ok(Listeners {
                outbound: open(port::OUTBOUND, &options)?,
                plaintext: open(port::INBOUND_PLAINTEXT, &options)?,
                hbone: open(port::HBONE, &tunnels)?,
            })
        })?
    }

    /// Opens the DNS proxy's sockets on the pod's loopback addresses.
    ///
    /// # Errors
    /// `port` is taken. A pod without IPv6 has fewer sockets and is no error.
    pub(crate) fn listen_dns(&self, port: u16) -> io::Result<PodSockets> {
        let options = ListenOptions { transparent: Transparent::Never, ..self.listen_options() };
        self.enter(|| {
            let mut sockets = PodSockets::default();
            let v6 = self.sockets.ipv6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST));
            for ip in [Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), v6].into_iter().flatten() {
                let address = SocketAddr::new(ip, port);
                let udp = match ambit_net::bind_udp(address, &options) {
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => continue,
                    bound => bound.map_err(|error| listening(port, error))?,
                };
                let tcp = ambit_net::listen(address, &options).map_err(|e| listening(port, e))?;
                sockets.udp.push(udp);
                sockets.tcp.push(tcp.socket);
            }
            Ok(sockets)
        })?
    }

    /// The pod as the DNS proxy wants to know it.
    pub(crate) fn dns(&self) -> PodDns {
        let PodInfo { name, namespace, service_account, dns } = &self.info;
        PodDns {
            name: name.clone(),
            namespace: namespace.clone(),
            service_account: service_account.clone(),
            netns: self.netns.clone(),
            mark: self.sockets.mark,
            nameservers: dns.nameservers.iter().copied().map(nameserver).collect(),
            searches: dns.searches.iter().map(|domain| domain.as_str().into()).collect(),
        }
    }

    /// Runs `f` in the pod's network namespace, on this thread.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub(crate) fn enter<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        match &self.netns {
            Some(netns) => netns.enter(f),
            None => Ok(f()),
        }
    }

    /// Options of sockets that listen in the pod.
    pub(crate) fn listen_options(&self) -> ListenOptions {
        ListenOptions {
            mark: self.sockets.mark,
            transparent: match self.sockets.original_source {
                None => Transparent::BestEffort,
                Some(true) => Transparent::Required,
                Some(false) => Transparent::Never,
            },
            reuse_port: self.sockets.port_reuse,
            tcp: self.tcp_options(),
            ..ListenOptions::default()
        }
    }

    /// Dials from the pod's namespace with the pod's own address.
    pub(crate) async fn connect(
        &self,
        destination: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, ConnectError> {
        self.connect_with(destination, timeout, self.tcp_options()).await
    }

    /// As [`Self::connect`], for a tunnel.
    pub(crate) async fn connect_tunnel(
        &self,
        destination: SocketAddr,
        timeout: Duration,
    ) -> Result<TcpStream, ConnectError> {
        self.connect_with(destination, timeout, self.tcp_options().shared()).await
    }

    async fn connect_with(
        &self,
        destination: SocketAddr,
        timeout: Duration,
        tcp: TcpOptions,
    ) -> Result<TcpStream, ConnectError> {
        ambit_net::connect(destination, &ConnectOptions { timeout, tcp, ..self.dial_options() })
            .await
    }

    /// Dials an application of the pod as `source`, if its address can be kept.
    ///
    /// # Errors
    /// As for any TCP connect, within the configured deadline.
    pub(crate) async fn connect_app(
        &self,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Result<TcpStream, ConnectError> {
        self.connect_app_from(self.borrowed(source, destination), destination).await
    }

    /// Dials an application of the pod, as `source` if given.
    ///
    /// # Errors
    /// As for any TCP connect, within the configured deadline.
    pub(crate) async fn connect_app_from(
        &self,
        source: Option<IpAddr>,
        destination: SocketAddr,
    ) -> Result<TcpStream, ConnectError> {
        ambit_net::connect(destination, &self.app_options(source)).await
    }

    /// As [`Self::connect_app`], for a client that takes itself to be connected to the application. The kernel may choose
    /// the client's own port for this connection too; by the mark the pod's rules keep the two apart.
    pub(crate) async fn connect_app_beside_client(
        &self,
        source: IpAddr,
        destination: SocketAddr,
    ) -> Result<TcpStream, ConnectError> {
        let mut options = self.app_options(self.borrowed(source, destination));
        options.mark = options.mark.map(|mark| mark | AS_CLIENT_MARK);
        ambit_net::connect(destination, &options).await
    }

    /// The source to connect from, if it can be this one.
    fn borrowed(&self, source: IpAddr, destination: SocketAddr) -> Option<IpAddr> {
        let keep = self.keeps_source
            && source != destination.ip()
            && source.is_ipv4() == destination.is_ipv4();
        keep.then_some(source)
    }

    fn app_options(&self, source: Option<IpAddr>) -> ConnectOptions<'_> {
        // One kernel has both ends: neither vanishes without a word.
        let tcp = TcpOptions { keepalive: None, user_timeout: None, ..self.tcp_options() };
        let timeout = self.sockets.connect_timeout;
        ConnectOptions { source, timeout, tcp, ..self.dial_options() }
    }

    fn dial_options(&self) -> ConnectOptions<'_> {
        ConnectOptions {
            netns: self.netns.as_ref(),
            mark: self.sockets.mark,
            ..ConnectOptions::default()
        }
    }

    fn tcp_options(&self) -> TcpOptions {
        let keepalive = self.sockets.keepalive;
        TcpOptions {
            nodelay: true,
            keepalive: keepalive.map(|k| Keepalive {
                time: k.time,
                interval: k.interval,
                retries: k.retries,
            }),
            user_timeout: keepalive
                .filter(|_| self.sockets.user_timeout)
                .map(|k| k.time + k.interval * k.retries),
            unsent: None,
        }
    }

    /// The pod's workload, once the state is complete and has it.
    ///
    /// # Errors
    /// Neither came within [`STATE_DEADLINE`].
    pub(crate) async fn workload(&self, state: &Reader) -> Result<Arc<Workload>, NotReady> {
        if let Ok(workload) = self.find(state) {
            return Ok(workload);
        }
        let mut changed = state.changed();
        let wait = async {
            loop {
                changed.mark_unchanged();
                if let Ok(workload) = self.find(state) {
                    return Some(workload);
                }
                changed.changed().await.ok()?;
            }
        };
        match tokio::time::timeout(STATE_DEADLINE, wait).await {
            Ok(Some(workload)) => Ok(workload),
            _ => self.find(state),
        }
    }

    fn find(&self, state: &Reader) -> Result<Arc<Workload>, NotReady> {
        let snapshot = state.snapshot();
        if !snapshot.synced() {
            return Err(NotReady::NotSynced);
        }
        let PodInfo { name, namespace, .. } = &self.info;
        self.known(&snapshot)
            .ok_or_else(|| NotReady::UnknownWorkload(format!("{namespace}/{name}")))
    }

    /// The pod's workload as `snapshot` has it.
    pub(crate) fn known(&self, snapshot: &Snapshot) -> Option<Arc<Workload>> {
        let PodInfo { name, namespace, service_account, .. } = &self.info;
        snapshot.local_workload(namespace, name, service_account)
    }

    /// The pod's identity: the trust domain from its workload, the rest from the agent.
    pub(crate) fn identity(&self, workload: &Workload) -> Identity {
        Identity {
            trust_domain: workload.trust_domain.clone(),
            namespace: self.info.namespace.clone(),
            service_account: self.info.service_account.clone(),
        }
    }
}

fn listening(port: u16, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("listen on port {port}: {error}"))
}

// === impl NotReady ===

impl NotReady {
    /// A stable label for metrics and logs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotSynced => "not_synced",
            Self::UnknownWorkload(_) => "unknown_workload",
        }
    }
}
