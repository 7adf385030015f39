//! HBONE connections to a captured pod, port 15008: TLS, then one task for each CONNECT.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use ambit_bootstrap::Crowded;
use ambit_hbone::{
    Authority, Baggage, Connect, Forwarded, ParseAuthorityError, Refusal, Server, Stream,
};
use ambit_identity::IdentityError;
use ambit_model::{Identity, Workload};
use ambit_net::{ConnectError, Side, canonical};
use ambit_policy::Facts;
use ambit_state::{InboundError, InboundRequest, InboundTarget, Snapshot, Target, resolve_inbound};
use ambit_telemetry::{AccessLog, Chain, ConnectionSecurity, Direction, Reporter, ResponseFlags};
use ambit_tls::{ServerStream, TlsError};
use ambit_tunnel::HANDSHAKE_DEADLINE;
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::admission::Excess;
use crate::application;
use crate::authorize::{Allowed, Denied, authorize};
use crate::config::port;
use crate::context::Local;
use crate::flow::{Flow, Party};
use crate::pod::NotReady;
use crate::run::{self, Carry, Ended, end, relay_tunnel, run};

/// How long a peer without any request yet has time for its first one when the process ends.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

/// One peer's TLS connection.
pub(crate) struct Peer {
    local: Arc<Local>,
    /// The peer's TCP address.
    address: SocketAddr,
    /// The pod's address that was dialled.
    dialled: SocketAddr,
    /// What the peer's certificate proves.
    identity: Option<Identity>,
}

/// Why no HBONE connection came about.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error("no certificate for {0}: {1}")]
    Identity(Identity, #[source] IdentityError),
    #[error("TLS: {}", Chain(.0))]
    Tls(#[from] TlsError),
    #[error("the peer did not complete the handshake within {HANDSHAKE_DEADLINE:?}")]
    Timeout,
    #[error(transparent)]
    Crowded(#[from] Crowded),
    #[error("HTTP/2: {0}")]
    Http2(#[from] ambit_hbone::Error),
}

/// Why a CONNECT was refused.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the method is not CONNECT")]
    NotConnect,
    #[error(transparent)]
    Authority(#[from] ParseAuthorityError),
    #[error(transparent)]
    NotReady(#[from] NotReady),
    #[error(transparent)]
    Target(#[from] InboundError),
    #[error(transparent)]
    Denied(#[from] Denied),
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Excess(#[from] Excess),
    #[error("the peer gave up before the application was reached")]
    Abandoned,
    #[error("PROXY header: {0}")]
    Proxy(#[source] std::io::Error),
}

/// Serves one TLS connection to its end.
pub(crate) async fn serve(local: Arc<Local>, tcp: TcpStream, address: SocketAddr) {
    let dialled = tcp.local_addr().map_or(address, canonical);
    let pod = local.pod.clone();
    let accepted = tokio::select! {
        accepted = Box::pin(handshake(&local, tcp)) => accepted,
        () = pod.drain.ended.cancelled() => return,
    };
    let (mut server, identity, chain) = match accepted {
        Ok(accepted) => accepted,
        // Somebody looked whether the port is open, as the local path and health checks do.
        Err(HandshakeError::Tls(TlsError::Transport(error))) => {
            tracing::debug!(peer = %address, %error, "connection ended before its TLS handshake");
            return;
        }
        Err(error) => {
            if matches!(error, HandshakeError::Crowded(_)) {
                pod.count_refused();
            }
            local.context.metrics.handshake_failed(error.flags(), error.reason());
            AccessLog::failed(address, dialled, Direction::Inbound, &error);
            return;
        }
    };
    let peer = Arc::new(Peer { local, address, dialled, identity });
    peer.serve(&mut server, chain).await;
}

type Accepted = (Server<ServerStream<TcpStream>>, Option<Identity>, Vec<CertificateDer<'static>>);

async fn handshake(local: &Local, tcp: TcpStream) -> Result<Accepted, HandshakeError> {
    let Local { context, pod, .. } = local;
    let workload = pod.workload(&context.state).await?;
    let identity = pod.identity(&workload);
    let credential = context
        .identities
        .obtain(&identity)
        .await
        .map_err(|error| HandshakeError::Identity(identity, error))?;
    let handshake = async {
        tcp.readable().await.map_err(TlsError::Transport)?;
        let tls = ambit_tls::accept(&credential, tcp).await?;
        let connection = tls.get_ref().1;
        let identity = ambit_tls::peer_identity(connection);
        let chain = connection.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let server = Server::handshake(tls, &local.security.hbone).await?;
        Ok((server, identity, chain))
    };
    let performed = timeout(HANDSHAKE_DEADLINE, local.turns.accept(handshake)).await;
    performed.map_err(|_| HandshakeError::Timeout)??
}

// === impl Peer ===

impl Peer {
    /// Takes requests until the peer or the pod ends; the tunnels run in tasks of their own.
    async fn serve(
        self: Arc<Self>,
        server: &mut Server<ServerStream<TcpStream>>,
        chain: Vec<CertificateDer<'static>>,
    ) {
        let drain = &self.local.pod.drain;
        let mut lists = self.local.context.revocations.subscribe();
        let (mut asked, mut closing) = (false, false);
        loop {
            tokio::select! {
                request = server.next() => match request {
                    Some(Ok(connect)) => {
                        asked = true;
                        drain.tasks.spawn(run::serve(self.clone().open(connect)));
                    }
                    Some(Err(error)) => {
                        self.local.context.metrics.tunnel_broken(error.reason());
                        tracing::debug!(peer = %self.address, %error, "HBONE connection failed");
                        return;
                    }
                    None => return,
                },
                () = time_to_go(&drain.closing, asked), if !closing => {
                    closing = true;
                    server.graceful_shutdown();
                }
                () = drain.ended.cancelled() => return finish(server).await,
                Ok(()) = lists.changed() => {
                    if lists.borrow_and_update().revokes(&chain) {
                        tracing::warn!(peer = %self.address, "certificate was revoked, closing its connections");
                        self.local.context.metrics.revoked(Reporter::Destination);
                        return finish(server).await;
                    }
                }
            }
        }
    }

    /// Answers one CONNECT; what is returned carries its tunnel.
    async fn open(self: Arc<Self>, connect: Connect) -> Option<Carry> {
        match self.target(&connect).await {
            Ok((workload, target)) => self.admit(connect, workload, target).await,
            Err(error) => {
                self.local.context.metrics.refused(error.reason());
                AccessLog::failed(self.address, self.dialled, Direction::Inbound, &error);
                connect.refuse(error.refusal());
                None
            }
        }
    }

    /// Where the CONNECT leads, by the pod's own workload.
    async fn target(
        &self,
        connect: &Connect,
    ) -> Result<(Arc<Workload>, InboundTarget), RequestError> {
        if !connect.is_connect() {
            return Err(RequestError::NotConnect);
        }
        let target = match connect.authority()? {
            Authority::Address(address) => Target::Address(canonical(address)),
            Authority::Hostname { host, port } => Target::Hostname { host: host.to_string(), port },
        };
        let workload = self.local.pod.workload(&self.local.context.state).await?;
        let forwarded_host = Forwarded::host(connect.headers());
        let request = InboundRequest {
            local: &workload,
            local_ip: self.dialled.ip(),
            target: &target,
            forwarded_host: forwarded_host.as_deref(),
            proxy_ports: &port::RESERVED,
        };
        let target = resolve_inbound(&self.local.context.state.snapshot(), &request)?;
        Ok((workload, target))
    }

    /// Asks policy, dials the application, and opens the tunnel.
    async fn admit(
        &self,
        mut connect: Connect,
        workload: Arc<Workload>,
        target: InboundTarget,
    ) -> Option<Carry> {
        let Local { context, pod, .. } = &*self.local;
        let traffic = &context.metrics.traffic;
        let snapshot = context.state.snapshot();
        let flow = self.flow(&snapshot, &connect, &workload, &target);
        let facts = Facts {
            source_ip: self.address.ip(),
            source_identity: self.identity.as_ref(),
            destination: target.upstream,
        };
        let authorized = authorize(context, &snapshot, pod, &facts);
        drop(snapshot);
        let app = match authorized {
            Ok(allowed) => {
                let reach = pin!(async {
                    tokio::select! {
                        app = self.dial(&target) => app,
                        () = connect.abandoned() => Err(RequestError::Abandoned),
                    }
                });
                self.local.turns.take(reach).await.map(|app| (app, allowed))
            }
            Err(denied) => Err(denied.into()),
        };
        let app = match app {
            Ok(reached) => reached,
            Err(error) => {
                context.metrics.refused(error.reason());
                flow.refuse(traffic, error.flags(), &error);
                connect.refuse(error.refusal());
                return None;
            }
        };
        let answer = context.config.response_baggage.then(|| pod.baggage.header(&workload));
        match connect.accept(answer.flatten()) {
            Ok(stream) => Some(Box::pin(carry(self.local.clone(), flow, stream, app))),
            Err(error) => {
                let error = Ended::from(error);
                flow.refuse(traffic, error.flags(), &error);
                None
            }
        }
    }

    async fn dial(&self, target: &InboundTarget) -> Result<TcpStream, RequestError> {
        let Local { context, pod, .. } = &*self.local;
        let Some(header) = target.proxy_header else {
            let app = pod.connect_app(self.address.ip(), target.upstream).await?;
            self.local.may_open(&app)?;
            return Ok(app);
        };
        let app = application::dial(context, pod, target.upstream).await?;
        self.local.may_open(&app)?;
        application::introduce(&app, self.address, header.destination, self.identity.as_ref())
            .await
            .map_err(RequestError::Proxy)?;
        Ok(app)
    }

    fn flow(
        &self,
        snapshot: &Snapshot,
        connect: &Connect,
        workload: &Arc<Workload>,
        target: &InboundTarget,
    ) -> Box<Flow> {
        let headers = connect.headers();
        let network = headers.get("x-forwarded-network").and_then(|value| value.to_str().ok());
        let is_remote =
            network.is_some_and(|network| !network.eq_ignore_ascii_case(&workload.network));
        let known = (!is_remote)
            .then(|| snapshot.workload_at(&workload.network, self.address.ip()))
            .flatten();
        // What the control plane says of a workload counts more than what it says of itself.
        let reads_baggage = known.is_none() && self.local.context.config.response_baggage;
        Box::new(Flow {
            direction: Direction::Inbound,
            source: Party {
                address: self.address,
                workload: known,
                identity: self.identity.clone(),
                baggage: reads_baggage
                    .then(|| Baggage::from_headers(headers))
                    .flatten()
                    .map(Box::new),
            },
            destination: Party {
                identity: Some(self.local.pod.identity(workload)),
                ..Party::of(self.dialled, Some(workload.clone()))
            },
            authority: connect.authority().ok().map(|authority| authority.to_string()),
            application: Some(target.upstream),
            service: target.service.clone(),
            security: ConnectionSecurity::MutualTls,
            protocol: "HBONE",
            counters: Arc::default(),
        })
    }
}

/// Carries a tunnel to the application.
pub(crate) async fn carry(
    local: Arc<Local>,
    flow: Box<Flow>,
    stream: Stream,
    (app, allowed): (TcpStream, Allowed),
) {
    let record = local.pod.connections.open(flow, &local.context.metrics.traffic);
    allowed.confirm(&local.context, &local.pod, &record);
    let relay = relay_tunnel(stream, app, record.counters(), Side::B);
    let ended = run(&record, &local.pod, pin!(relay)).await;
    end(record, &ended);
}

/// Resolves when the peer is to be told to take its next requests elsewhere. One that has waited in the queue until now
/// may ask first: some give up when they are sent away before they have asked anything.
async fn time_to_go(closing: &CancellationToken, asked: bool) {
    closing.cancelled().await;
    if !asked {
        // Boxed, as every connection has room for this future and few come here.
        Box::pin(tokio::time::sleep(FIRST_REQUEST)).await;
    }
}

/// Ends every stream and tells the peer with a GOAWAY.
async fn finish(server: &mut Server<ServerStream<TcpStream>>) {
    server.abrupt_shutdown();
    let flushed = async { while let Some(Ok(_)) = server.next().await {} };
    // A peer that does not read must not hold us up.
    let _ = timeout(Duration::from_secs(1), flushed).await;
}

// === impl HandshakeError ===

impl HandshakeError {
    fn flags(&self) -> ResponseFlags {
        match self {
            Self::NotReady(_) | Self::Identity(..) => ResponseFlags::IdentityError,
            Self::Tls(TlsError::Revoked(_)) => ResponseFlags::CertRevoked,
            Self::Tls(_) | Self::Timeout | Self::Crowded(_) => ResponseFlags::TlsFailure,
            Self::Http2(_) => ResponseFlags::H2HandshakeFailure,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotReady(error) => error.reason(),
            Self::Identity(..) => "identity",
            Self::Tls(error) => error.reason(),
            Self::Timeout => "handshake_timeout",
            Self::Crowded(error) => error.reason(),
            Self::Http2(error) => error.reason(),
        }
    }
}

// === impl RequestError ===

impl RequestError {
    /// The answer to the peer.
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotConnect | Self::Authority(_) => Refusal::BadRequest,
            Self::Target(error) if error.status() == 400 => Refusal::BadRequest,
            Self::Denied(_) => Refusal::Denied,
            Self::NotReady(_)
            | Self::Target(_)
            | Self::Connect(_)
            | Self::Excess(_)
            | Self::Abandoned
            | Self::Proxy(_) => Refusal::Unavailable,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::NotConnect => "not_connect",
            Self::Authority(_) => "bad_authority",
            Self::NotReady(error) => error.reason(),
            Self::Target(error) => error.reason(),
            Self::Denied(_) => "denied",
            Self::Connect(error) => error.reason(),
            Self::Excess(excess) => excess.reason(),
            Self::Abandoned => "abandoned",
            Self::Proxy(_) => "proxy_header",
        }
    }

    fn flags(&self) -> ResponseFlags {
        match self {
            Self::Denied(_) => ResponseFlags::Deny,
            _ => ResponseFlags::Connect,
        }
    }
}
