//! Captured outbound connections, port 15001: resolve, plan, dial, relay.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ambit_hbone::{Authority, Baggage, ConnectHeaders, Response, Stream};
use ambit_model::{Identity, Str, Workload};
use ambit_net::{ConnectError, Side, canonical, original_dst};
use ambit_state::{DoubleHbone, Hbone, Refusal, Request, Unresolved, resolve};
use ambit_telemetry::{AccessLog, ConnectionSecurity, Direction, ResponseFlags};
use ambit_tunnel::{PoolKey, TunnelError, flags, may_try_another, open_inside, reason, secure};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::authorize::Allowed;
use crate::config::port;
use crate::context::Local;
use crate::flow::{Flow, Party};
use crate::headers::connect_headers;
use crate::local::{LocalConnection, LocalError};
use crate::lookup::{LookUpError, look_up};
use crate::plan::{Ends, Node, Plan, plan, with_hop};
use crate::pod::NotReady;
use crate::run::{Carry, end, relay_tcp, relay_tunnel, run};

/// One of several endpoints gets this part of the connect deadline, so that the others get their turn.
const ENDPOINTS_PER_DEADLINE: u32 = 3;

/// A captured connection on its way out.
struct Outbound {
    local: Arc<Local>,
    source: SocketAddr,
    destination: SocketAddr,
    workload: Arc<Workload>,
    identity: Identity,
    /// Until when it has to be connected.
    deadline: Instant,
}

/// A connection that has reached its far end.
enum Open {
    Tcp(TcpStream, Ends),
    Tunnel(Stream, Box<Flow>),
    Local(Box<LocalConnection>, (TcpStream, Allowed)),
}

/// A connection that has not, and whom it was for.
struct Failed(Ends, OutboundError);

/// Why a connection went nowhere.
#[derive(Debug, thiserror::Error)]
enum OutboundError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    #[error(transparent)]
    Local(#[from] LocalError),
    #[error(transparent)]
    LookUp(#[from] LookUpError),
}

/// Opens one captured connection; what is returned carries it to its end.
pub(crate) async fn open(local: Arc<Local>, tcp: TcpStream, source: SocketAddr) -> Option<Carry> {
    let destination = match original_dst(&tcp, source) {
        Ok(destination) => destination,
        Err(error) => {
            AccessLog::failed(source, source, Direction::Outbound, &error);
            ambit_net::reset(tcp);
            return None;
        }
    };
    // Nothing redirected it here: whoever dials this port itself would be sent in circles.
    if destination.port() == port::OUTBOUND
        && tcp.local_addr().is_ok_and(|own| canonical(own) == destination)
    {
        let refusal = Refusal::SelfCall(destination);
        local.context.metrics.refused(refusal.reason());
        AccessLog::failed(source, destination, Direction::Outbound, &refusal);
        ambit_net::reset(tcp);
        return None;
    }
    match Outbound::new(local.clone(), source, destination).await {
        Ok(outbound) => outbound.connect(tcp).await,
        Err(error) => {
            local.context.metrics.refused(error.reason());
            AccessLog::failed(source, destination, Direction::Outbound, &error);
            ambit_net::reset(tcp);
            None
        }
    }
}

/// Carries a connection that needs no tunnel.
pub(crate) async fn carry_tcp(
    local: Arc<Local>,
    flow: Box<Flow>,
    tcp: TcpStream,
    server: TcpStream,
) {
    let record = local.pod.connections.open(flow, &local.context.metrics.traffic);
    let relay = relay_tcp(tcp, server, record.counters());
    let ended = run(&record, &local.pod, pin!(relay)).await;
    end(record, &ended);
}

/// Carries a connection through its tunnel.
pub(crate) async fn carry_tunnel(
    local: Arc<Local>,
    flow: Box<Flow>,
    tcp: TcpStream,
    stream: Stream,
) {
    let record = local.pod.connections.open(flow, &local.context.metrics.traffic);
    let relay = relay_tunnel(stream, tcp, record.counters(), Side::A);
    let ended = run(&record, &local.pod, pin!(relay)).await;
    end(record, &ended);
}

// === impl Outbound ===

impl Outbound {
    async fn new(
        local: Arc<Local>,
        source: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Self, NotReady> {
        let workload = local.pod.workload(&local.context.state).await?;
        let identity = local.pod.identity(&workload);
        let deadline = Instant::now() + local.context.config.sockets.connect_timeout;
        Ok(Self { local, source, destination, workload, identity, deadline })
    }

    async fn connect(&self, tcp: TcpStream) -> Option<Carry> {
        let local = || self.local.clone();
        match self.local.turns.take(pin!(self.reach())).await {
            Ok(Open::Tcp(server, ends)) => {
                let destination = server.peer_addr().map_or(self.destination, canonical);
                Some(Box::pin(carry_tcp(local(), self.flow(ends, destination), tcp, server)))
            }
            Ok(Open::Tunnel(stream, flow)) => {
                Some(Box::pin(carry_tunnel(local(), flow, tcp, stream)))
            }
            Ok(Open::Local(connection, server)) => {
                Some(Box::pin(connection.carry(local(), tcp, server)))
            }
            Err(failed) => {
                self.refuse(failed);
                ambit_net::reset(tcp);
                None
            }
        }
    }

    /// Tries one endpoint after the other until one is reached.
    async fn reach(&self) -> Result<Open, Failed> {
        let mut tried: Vec<Str> = Vec::new();
        let mut last = None;
        loop {
            let plan = match self.plan(&tried).await {
                Ok(plan) => plan,
                // No endpoint is left: what was wrong with the last one says more.
                Err(failed) => return Err(last.unwrap_or(failed)),
            };
            let failed = match self.dial(plan).await {
                Ok(open) => return Ok(open),
                Err(failed) => failed,
            };
            let Failed(ends, error) = &failed;
            match &ends.dialled {
                Some(workload) if error.may_try_another() && Instant::now() < self.deadline => {
                    tracing::debug!(endpoint = %workload.uid, %error, "trying another endpoint");
                    tried.push(workload.uid.clone());
                    last = Some(failed);
                }
                _ => return Err(failed),
            }
        }
    }

    async fn plan(&self, tried: &[Str]) -> Result<Plan, Failed> {
        let context = &self.local.context;
        let request = Request {
            source: &self.workload,
            source_ip: self.source.ip(),
            destination: self.destination,
            tried,
            proxy_ports: &port::RESERVED,
        };
        let node = Node {
            is_captured: &|workload| context.pods.find(workload).is_some(),
            encrypt_local: context.config.encrypt_local || self.workload.encrypt_local,
            registry_only: context.config.registry_only,
        };
        let snapshot = context.state.snapshot();
        let planned = plan(resolve(&snapshot, &request, &mut rand::rng()), &node);
        drop(snapshot);
        match planned {
            Plan::Refuse(refusal) => Err(Failed(Ends::default(), refusal.into())),
            Plan::LookUp { name, ends } => match self.look_up(&name).await {
                Ok(address) => Ok(with_hop(name.at(address), ends, &node)),
                Err(error) => Err(Failed(ends, error.into())),
            },
            planned => Ok(planned),
        }
    }

    async fn look_up(&self, name: &Unresolved) -> Result<IpAddr, LookUpError> {
        if let Some(source) = self.party().labels() {
            self.local.context.metrics.looked_up(source, &name.host);
        }
        look_up(name).await
    }

    async fn dial(&self, plan: Plan) -> Result<Open, Failed> {
        match plan {
            Plan::Tcp { destination, ends } => {
                match self.local.pod.connect(destination, self.attempt(&ends)).await {
                    Ok(server) => Ok(Open::Tcp(server, ends)),
                    Err(error) => Err(Failed(ends, error.into())),
                }
            }
            Plan::Local { hop, ends } => match self.local_connection(&hop, &ends).await {
                None => self.dial_hbone(hop, ends).await,
                Some(connection) => match connection.dial(&self.local).await {
                    Ok(server) => Ok(Open::Local(Box::new(connection), server)),
                    Err(error) => Err(Failed(ends, error.into())),
                },
            },
            Plan::Hbone { hop, ends } => self.dial_hbone(hop, ends).await,
            // Boxed, as few connections need the room.
            Plan::DoubleHbone { hop, ends } => Box::pin(self.dial_double_hbone(hop, ends)).await,
            Plan::LookUp { ends, name } => {
                Err(Failed(ends, LookUpError::NoAddress(name.host).into()))
            }
            Plan::Refuse(refusal) => Err(Failed(Ends::default(), refusal.into())),
        }
    }

    /// The local path to the pod behind `hop`, if it is captured here and can be reached.
    async fn local_connection(&self, hop: &Hbone, ends: &Ends) -> Option<LocalConnection> {
        let workload = ends.dialled.clone()?;
        let target = self.local.context.pods.find(&workload)?;
        let pod = &self.local.pod;
        let reachable = pod.reachable.check(pod, hop.dial.ip()).await;
        reachable.then(|| LocalConnection {
            source: self.party(),
            service: ends.service.clone(),
            target,
            workload,
            destination: hop.authority,
        })
    }

    async fn dial_hbone(&self, hop: Hbone, ends: Ends) -> Result<Open, Failed> {
        let key = self.key(hop.dial, hop.identities);
        let authority = Authority::from(hop.authority);
        let headers = self.headers(&ends);
        let timeout = self.attempt(&ends);
        match self.open(&key, &authority, headers, timeout).await {
            Ok((stream, _)) => {
                let flow = self.flow(ends, hop.dial).over_tls(&self.identity, &key, &authority);
                Ok(Open::Tunnel(stream, flow))
            }
            Err(error) => Err(Failed(ends, error.into())),
        }
    }

    /// Opens a tunnel to `authority` through the peer that `key` names.
    async fn open(
        &self,
        key: &PoolKey,
        authority: &Authority,
        headers: ConnectHeaders,
        connect_timeout: Duration,
    ) -> Result<(Stream, Response), TunnelError> {
        let dial = || {
            let (local, key) = (self.local.clone(), key.clone());
            async move {
                let tcp = local.pod.connect_tunnel(key.address, connect_timeout).await?;
                local.turns.take(secure(&local.security, tcp, &key)).await
            }
        };
        self.local.pool.connect(key, dial, authority, headers).await
    }

    /// Opens a tunnel to the gateway of another network and in it one to the service behind.
    async fn dial_double_hbone(&self, hop: DoubleHbone, ends: Ends) -> Result<Open, Failed> {
        let outer = self.key(hop.gateway, hop.gateway_identities);
        let inner = self.key(hop.gateway, hop.identities);
        let Ok(authority) = hop.authority.parse::<Authority>() else {
            let refusal = Refusal::NoGateway(hop.authority.as_str().into());
            return Err(Failed(ends, refusal.into()));
        };
        let headers = self.headers(&ends);
        let opened = async {
            let timeout = self.attempt(&ends);
            let (stream, _) = self.open(&outer, &authority, headers.clone(), timeout).await?;
            let network = &self.local.context.config.node.network;
            let security = &self.local.security;
            open_inside(security, stream, &inner, &authority, headers.with_network(network)).await
        };
        match opened.await {
            Ok((stream, response)) => {
                let mut flow =
                    self.flow(ends, hop.gateway).over_tls(&self.identity, &inner, &authority);
                flow.protocol = "DOUBLEHBONE";
                flow.destination.workload = None;
                flow.destination.baggage = Baggage::from_headers(&response.headers).map(Box::new);
                Ok(Open::Tunnel(stream, flow))
            }
            Err(error) => Err(Failed(ends, error.into())),
        }
    }

    fn refuse(&self, Failed(ends, error): Failed) {
        let metrics = &self.local.context.metrics;
        metrics.refused(error.reason());
        self.flow(ends, self.destination).refuse(&metrics.traffic, error.flags(), &error);
    }

    fn flow(&self, ends: Ends, destination: SocketAddr) -> Box<Flow> {
        Box::new(Flow {
            direction: Direction::Outbound,
            source: Party { identity: None, ..self.party() },
            destination: Party::of(destination, ends.destination),
            authority: None,
            application: None,
            service: ends.service,
            security: ConnectionSecurity::Unknown,
            protocol: "TCP",
            counters: Arc::default(),
        })
    }

    fn party(&self) -> Party {
        Party {
            identity: Some(self.identity.clone()),
            ..Party::of(self.source, Some(self.workload.clone()))
        }
    }

    fn key(&self, address: SocketAddr, identities: Vec<Identity>) -> PoolKey {
        PoolKey { source: self.identity.clone(), identities, address }
    }

    fn headers(&self, ends: &Ends) -> ConnectHeaders {
        connect_headers(self.local.pod.baggage.header(&self.workload), self.source, ends)
    }

    /// How long the next dial may take: a share of the deadline where there may be other endpoints.
    fn attempt(&self, ends: &Ends) -> Duration {
        let whole = self.local.context.config.sockets.connect_timeout;
        let share = if ends.service.is_some() { whole / ENDPOINTS_PER_DEADLINE } else { whole };
        share.min(self.deadline.saturating_duration_since(Instant::now()))
    }
}

// === impl OutboundError ===

impl OutboundError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::Connect(error) => error.reason(),
            Self::Tunnel(error) => reason(error),
            Self::Local(LocalError::Denied(_)) => "denied",
            Self::Local(LocalError::SelfCall(_)) => "self_call",
            Self::Local(LocalError::Connect(error)) => error.reason(),
            Self::LookUp(_) => "look_up",
        }
    }

    fn flags(&self) -> ResponseFlags {
        match self {
            Self::Tunnel(error) => flags(error),
            Self::Local(error) => error.flags(),
            Self::Refused(_) | Self::Connect(_) | Self::LookUp(_) => ResponseFlags::Connect,
        }
    }

    fn may_try_another(&self) -> bool {
        match self {
            Self::Connect(error) | Self::Local(LocalError::Connect(error)) => {
                error.may_try_another()
            }
            Self::Tunnel(error) => may_try_another(error),
            Self::LookUp(_) => true,
            Self::Refused(_) | Self::Local(LocalError::Denied(_) | LocalError::SelfCall(_)) => {
                false
            }
        }
    }
}
