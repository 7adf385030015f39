//! Tunnels that clients' node proxies open, port 15008: TLS, then one task for each CONNECT.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_bootstrap::{Crowded, Worker};
use ambit_hbone::{Baggage, Connect, ParseAuthorityError, Refusal, Server};
use ambit_identity::IdentityError;
use ambit_lifecycle::Drain;
use ambit_model::Identity;
use ambit_telemetry::Chain;
use ambit_tls::{ServerStream, TlsError};
use ambit_tunnel::HANDSHAKE_DEADLINE;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connection::{Client, Connection};
use crate::context::Local;
use crate::target::{Asked, NoTarget, Target, target};
use crate::{io::Io, serve};

/// Why no HBONE connection came about.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
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
    Target(#[from] NoTarget),
}

/// One peer's TLS connection.
struct Peer {
    local: Arc<Local>,
    drain: Drain,
    address: SocketAddr,
    /// What the peer's certificate proves.
    identity: Option<Identity>,
}

/// Takes a connection to the worker that serves the fewest of them, and serves it there.
pub(crate) fn dispatch(
    locals: &Arc<[Arc<Local>]>,
    drain: &Drain,
    accepted_by: usize,
    (tcp, peer): (TcpStream, SocketAddr),
) {
    let Some(workers) = locals.first().map(|local| &local.context.workers) else { return };
    let chosen = Worker::least_loaded(workers, accepted_by);
    let (Some(local), Some(worker)) = (locals.get(chosen).cloned(), workers.get(chosen)) else {
        return;
    };
    let (load, drain) = (worker.load(), drain.clone());
    match tcp.into_std() {
        Ok(tcp) => {
            let tasks = drain.tasks.clone();
            let serve = async move {
                match TcpStream::from_std(tcp) {
                    Ok(tcp) => serve_tls(local, drain, tcp, peer).await,
                    Err(error) => tracing::warn!(%error, "cannot hand a connection to its worker"),
                }
                drop(load);
            };
            tasks.spawn_on(serve, &worker.handle);
        }
        Err(error) => tracing::warn!(%error, "cannot hand a connection to its worker"),
    }
}

async fn serve_tls(local: Arc<Local>, drain: Drain, tcp: TcpStream, address: SocketAddr) {
    let accepted = tokio::select! {
        accepted = Box::pin(handshake(&local, tcp)) => accepted,
        () = drain.ended.cancelled() => return,
    };
    match accepted {
        Ok((mut server, identity)) => {
            let peer = Arc::new(Peer { local, drain, address, identity });
            peer.serve(&mut server).await;
        }
        // Somebody looked whether the port is open.
        Err(HandshakeError::Tls(TlsError::Transport(error))) => {
            tracing::debug!(peer = %address, %error, "connection ended before its TLS handshake");
        }
        Err(error) => {
            local.context.metrics.refused(error.reason());
            tracing::warn!(peer = %address, %error, "refused a connection");
        }
    }
}

type Accepted = (Server<ServerStream<TcpStream>>, Option<Identity>);

async fn handshake(local: &Local, tcp: TcpStream) -> Result<Accepted, HandshakeError> {
    let context = &local.context;
    let credential = context
        .identities
        .obtain(&context.identity)
        .await
        .map_err(|error| HandshakeError::Identity(context.identity.clone(), error))?;
    let handshake = async {
        tcp.readable().await.map_err(TlsError::Transport)?;
        let tls = ambit_tls::accept(&credential, tcp).await?;
        let identity = ambit_tls::peer_identity(tls.get_ref().1);
        Ok((Server::handshake(tls, &context.config.hbone).await?, identity))
    };
    let performed = timeout(HANDSHAKE_DEADLINE, local.turns.accept(handshake)).await;
    performed.map_err(|_| HandshakeError::Timeout)??
}

// === impl Peer ===

impl Peer {
    /// Takes requests until the peer or the process ends; the tunnels run in tasks of their own.
    async fn serve(self: Arc<Self>, server: &mut Server<ServerStream<TcpStream>>) {
        let drain = &self.drain;
        let mut closing = false;
        loop {
            tokio::select! {
                request = server.next() => match request {
                    Some(Ok(connect)) => {
                        drain.tasks.spawn(self.clone().handle(connect));
                    }
                    Some(Err(error)) => {
                        tracing::debug!(peer = %self.address, %error, "HBONE connection failed");
                        return;
                    }
                    None => return,
                },
                () = drain.closing.cancelled(), if !closing => {
                    closing = true;
                    server.graceful_shutdown();
                }
                () = drain.ended.cancelled() => {
                    server.abrupt_shutdown();
                    let flushed = async { while let Some(Ok(_)) = server.next().await {} };
                    // A peer that does not read must not hold us up.
                    let _ = timeout(Duration::from_secs(1), flushed).await;
                    return;
                }
            }
        }
    }

    /// Serves one CONNECT: answer, then whatever is spoken inside.
    async fn handle(self: Arc<Self>, connect: Connect) {
        let Self { local, address, drain, .. } = &*self;
        let client = self.client(&connect);
        let target = match self.target(&connect, &client) {
            Ok(target) => target,
            Err(error) => {
                local.context.metrics.refused(error.reason());
                tracing::warn!(peer = %address, %error, "refused a tunnel");
                return connect.refuse(Refusal::BadRequest);
            }
        };
        let connection = Connection::new(local.clone(), drain.clone(), client, target);
        match connect.accept(None) {
            Ok(stream) => serve::connection(Arc::new(connection), Io::from(stream.into_io())).await,
            Err(error) => {
                tracing::debug!(peer = %address, %error, "the peer was gone before its tunnel was open");
            }
        }
    }

    fn client(&self, connect: &Connect) -> Client {
        let Self { local, address, identity, .. } = self;
        let snapshot = local.context.state.snapshot();
        let network = &local.context.config.node.network;
        let elsewhere = connect
            .headers()
            .get("x-forwarded-network")
            .is_some_and(|theirs| !theirs.as_bytes().eq_ignore_ascii_case(network.as_bytes()));
        Client {
            address: *address,
            identity: identity.clone(),
            workload: (!elsewhere).then(|| snapshot.workload_at(network, address.ip())).flatten(),
            baggage: Baggage::from_headers(connect.headers()),
        }
    }

    fn target(&self, connect: &Connect, client: &Client) -> Result<Target, RequestError> {
        if !connect.is_connect() {
            return Err(RequestError::NotConnect);
        }
        let context = &self.local.context;
        let namespace = client.identity.as_ref().map_or("", |identity| &identity.namespace);
        let network = &context.config.node.network;
        let asked = Asked { network, namespace, own: &context.own };
        let snapshot = context.state.snapshot();
        Ok(target(&snapshot, &context.rules.load(), &connect.authority()?, asked)?)
    }
}

// === impl HandshakeError ===

impl HandshakeError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Identity(..) => "identity",
            Self::Tls(error) => error.reason(),
            Self::Timeout => "handshake_timeout",
            Self::Crowded(error) => error.reason(),
            Self::Http2(_) => "http2_handshake",
        }
    }
}

// === impl RequestError ===

impl RequestError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotConnect => "not_connect",
            Self::Authority(_) => "bad_authority",
            Self::Target(error) => error.reason(),
        }
    }
}
