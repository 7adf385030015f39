//! HBONE connections to peers: dialled from the pod, kept in the worker's pool.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_hbone::{Authority, Client, ConnectHeaders, PoolError, Response, Stream};
use ambit_identity::IdentityError;
use ambit_model::Identity;
use ambit_net::ConnectError;
use ambit_telemetry::{Chain, Reporter, ResponseFlags};
use ambit_tls::TlsError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::context::{Context, Local};

/// How long TLS and HTTP/2 handshakes may take together.
pub(crate) const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What connections may be shared by: same client, same acceptable servers, same address. The pool is the pod's own,
/// so that the source address is the same as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    pub source: Identity,
    pub identities: Vec<Identity>,
    pub address: SocketAddr,
}

/// Why no HBONE connection could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no certificate for {0}: {1}")]
    Identity(Identity, #[source] IdentityError),
    #[error("TLS with {0}: {cause}", cause = Chain(.1))]
    Tls(SocketAddr, #[source] TlsError),
    #[error("HTTP/2 with {0}: {1}")]
    Http2(SocketAddr, #[source] ambit_hbone::Error),
    #[error("{0} did not complete the handshake within {HANDSHAKE_DEADLINE:?}")]
    HandshakeTimeout(SocketAddr),
}

/// Why no tunnel was opened.
pub(crate) type TunnelError = PoolError<DialError>;

/// Opens a tunnel to `authority` through the peer that `key` names.
///
/// # Errors
/// The peer could not be reached or proved no acceptable identity, or it refused the CONNECT.
pub(crate) async fn open(
    local: &Arc<Local>,
    key: &PoolKey,
    authority: &Authority,
    headers: ConnectHeaders,
    connect_timeout: Duration,
) -> Result<(Stream, Response), TunnelError> {
    let dial = || dial(local.clone(), key.clone(), connect_timeout);
    local.pool.connect(key, dial, authority, headers).await
}

/// Opens a tunnel inside `outer`; it has a TLS session of its own, which nothing else shares.
///
/// # Errors
/// The far end proved no acceptable identity, or it refused the CONNECT.
pub(crate) async fn open_inside(
    context: &Arc<Context>,
    outer: Stream,
    key: &PoolKey,
    authority: &Authority,
    headers: ConnectHeaders,
) -> Result<(Stream, Response), TunnelError> {
    let client = secure(context, outer.into_io(), key)
        .await
        .map_err(|error| PoolError::Dial(Arc::new(error)))?;
    let slot = client.reserve().ok_or(PoolError::Tunnel(ambit_hbone::Error::Closed))?;
    slot.connect(authority, headers).await.map_err(PoolError::Tunnel)
}

async fn dial(
    local: Arc<Local>,
    key: PoolKey,
    connect_timeout: Duration,
) -> Result<Client, DialError> {
    let tcp = local.pod.connect(key.address, connect_timeout).await?;
    secure(&local.context, tcp, &key).await
}

/// TLS as `key.source` with one of `key.identities`, then HTTP/2, on a byte stream to `key.address`.
///
/// # Errors
/// No certificate, a handshake that fails, or one that takes too long.
pub(crate) async fn secure<IO>(
    context: &Arc<Context>,
    io: IO,
    key: &PoolKey,
) -> Result<Client, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let PoolKey { source, identities, address } = key;
    let credential = context
        .identities
        .obtain(source)
        .await
        .map_err(|error| DialError::Identity(source.clone(), error))?;
    let handshake = async {
        let tls = ambit_tls::connect(&credential, identities, io)
            .await
            .inspect_err(|error| {
                if matches!(error, TlsError::Revoked(_)) {
                    context.metrics.revoked(Reporter::Source);
                }
            })
            .map_err(|error| DialError::Tls(*address, error))?;
        let chain = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let client = Client::handshake(tls, &context.config.hbone)
            .await
            .map_err(|error| DialError::Http2(*address, error))?;
        Ok::<_, DialError>((client, chain))
    };
    let (client, chain) = timeout(HANDSHAKE_DEADLINE, handshake)
        .await
        .map_err(|_| DialError::HandshakeTimeout(*address))??;
    if context.config.certificates.crl.is_some() {
        tokio::spawn(abort_when_revoked(client.clone(), chain, context.clone()));
    }
    Ok(client)
}

/// Ends the connection as soon as a revocation list names a certificate of its peer.
async fn abort_when_revoked(
    client: Client,
    chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    context: Arc<Context>,
) {
    let mut lists = context.revocations.subscribe();
    loop {
        tokio::select! {
            () = client.ended() => return,
            changed = lists.changed() => if changed.is_err() { return },
        }
        if lists.borrow_and_update().revokes(&chain) {
            tracing::warn!("peer's certificate was revoked, closing its connections");
            context.metrics.revoked(Reporter::Source);
            client.abort();
            return;
        }
    }
}

// === impl DialError ===

impl DialError {
    /// The flag that the connection's metrics carry.
    pub(crate) fn flags(&self) -> ResponseFlags {
        match self {
            // Whoever drops packets to the tunnel port of a pod is most often a NetworkPolicy.
            Self::Connect(ConnectError::TimedOut { .. }) => ResponseFlags::NetworkPolicy,
            Self::Connect(_) => ResponseFlags::Connect,
            Self::Identity(..) => ResponseFlags::IdentityError,
            Self::Tls(_, TlsError::Revoked(_)) => ResponseFlags::CertRevoked,
            Self::Tls(..) | Self::HandshakeTimeout(_) => ResponseFlags::TlsFailure,
            Self::Http2(..) => ResponseFlags::H2HandshakeFailure,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.reason(),
            Self::Identity(..) => "identity",
            Self::Tls(_, error) => error.reason(),
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::Http2(_, error) => error.reason(),
        }
    }

    /// Whether another endpoint may do better; nothing of the connection's bytes has been sent.
    pub(crate) fn may_try_another(&self) -> bool {
        match self {
            Self::Connect(error) => error.may_try_another(),
            Self::Identity(..) => false,
            Self::Tls(..) | Self::Http2(..) | Self::HandshakeTimeout(_) => true,
        }
    }
}

/// A stable label for metrics and logs.
pub(crate) fn reason(error: &TunnelError) -> &'static str {
    match error {
        PoolError::Dial(error) => error.reason(),
        PoolError::Tunnel(error) => error.reason(),
    }
}

/// The flag that the metrics of a connection carry whose tunnel failed so.
pub(crate) fn flags(error: &TunnelError) -> ResponseFlags {
    match error {
        PoolError::Dial(error) => error.flags(),
        PoolError::Tunnel(_) => ResponseFlags::Connect,
    }
}

/// Whether another endpoint may do better: the peer was not reached, or could not reach the application itself.
pub(crate) fn may_try_another(error: &TunnelError) -> bool {
    match error {
        PoolError::Dial(error) => error.may_try_another(),
        PoolError::Tunnel(ambit_hbone::Error::Status(status)) => {
            *status == http::StatusCode::SERVICE_UNAVAILABLE
        }
        PoolError::Tunnel(error) => error.is_retryable(),
    }
}
