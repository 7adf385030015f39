//! HBONE connections to peers: TLS as one identity with one of those expected, then HTTP/2, kept in a pool.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_hbone::{Authority, Client, ConnectHeaders, Pool, PoolError, Response, Stream};
use ambit_identity::{Identities, IdentityError};
use ambit_model::Identity;
use ambit_net::ConnectError;
use ambit_telemetry::{Chain, ResponseFlags};
use ambit_tls::{Revocations, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// How long TLS and HTTP/2 handshakes may take together.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// What connections may be shared by: same client, same acceptable servers, same address. The pool is the pod's own,
/// so that the source address is the same as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Who dials.
    pub source: Identity,
    /// Whom the peer may prove to be; one of them suffices.
    pub identities: Vec<Identity>,
    /// The peer's address.
    pub address: SocketAddr,
}

/// What it takes to make a byte stream an HBONE connection.
#[derive(Clone)]
pub struct Security {
    /// Certificates.
    pub identities: Identities,
    /// Revocation lists, where they are followed: connections end when one names a certificate of the peer.
    pub revocations: Option<Revocations>,
    /// HTTP/2 parameters.
    pub hbone: ambit_hbone::Config,
    /// Called for each peer whose certificate turns out to be revoked.
    pub revoked: Arc<dyn Fn() + Send + Sync>,
}

/// Why no HBONE connection could be made.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// TCP failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// There is no certificate to show.
    #[error("no certificate for {0}: {1}")]
    Identity(Identity, #[source] IdentityError),
    /// The handshake failed.
    #[error("TLS with {0}: {cause}", cause = Chain(.1))]
    Tls(SocketAddr, #[source] TlsError),
    /// The peer speaks no HTTP/2.
    #[error("HTTP/2 with {0}: {1}")]
    Http2(SocketAddr, #[source] ambit_hbone::Error),
    /// The peer is too slow.
    #[error("{0} did not complete the handshake within {HANDSHAKE_DEADLINE:?}")]
    HandshakeTimeout(SocketAddr),
}

/// Why no tunnel was opened.
pub type TunnelError = PoolError<DialError>;

/// Opens a tunnel inside `outer`; it has a TLS session of its own, which nothing else shares.
///
/// # Errors
/// The far end proved no acceptable identity, or it refused the CONNECT.
pub async fn open_inside(
    security: &Security,
    outer: Stream,
    key: &PoolKey,
    authority: &Authority,
    headers: ConnectHeaders,
) -> Result<(Stream, Response), TunnelError> {
    let client = secure(security, outer.into_io(), key)
        .await
        .map_err(|error| PoolError::Dial(Arc::new(error)))?;
    let slot = client.reserve().ok_or(PoolError::Tunnel(ambit_hbone::Error::Closed))?;
    slot.connect(authority, headers).await.map_err(PoolError::Tunnel)
}

/// TLS as `key.source` with one of `key.identities`, then HTTP/2, on a byte stream to `key.address`.
///
/// # Errors
/// No certificate, a handshake that fails, or one that takes too long.
pub async fn secure<IO>(security: &Security, io: IO, key: &PoolKey) -> Result<Client, DialError>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let PoolKey { source, identities, address } = key;
    let credential = security
        .identities
        .obtain(source)
        .await
        .map_err(|error| DialError::Identity(source.clone(), error))?;
    let handshake = async {
        let tls = ambit_tls::connect(&credential, identities, io)
            .await
            .inspect_err(|error| {
                if matches!(error, TlsError::Revoked(_)) {
                    (security.revoked)();
                }
            })
            .map_err(|error| DialError::Tls(*address, error))?;
        let chain = tls.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default();
        let client = Client::handshake(tls, &security.hbone)
            .await
            .map_err(|error| DialError::Http2(*address, error))?;
        Ok::<_, DialError>((client, chain))
    };
    let (client, chain) = timeout(HANDSHAKE_DEADLINE, handshake)
        .await
        .map_err(|_| DialError::HandshakeTimeout(*address))??;
    if security.revocations.is_some() {
        tokio::spawn(abort_when_revoked(client.clone(), chain, security.clone()));
    }
    Ok(client)
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").finish_non_exhaustive()
    }
}

/// HBONE connections by key, those of one thread.
pub type Tunnels = Pool<PoolKey, DialError>;

/// Ends the connection as soon as a revocation list names a certificate of its peer.
async fn abort_when_revoked(
    client: Client,
    chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    security: Security,
) {
    let Some(revocations) = &security.revocations else { return };
    let mut lists = revocations.subscribe();
    loop {
        tokio::select! {
            () = client.ended() => return,
            changed = lists.changed() => if changed.is_err() { return },
        }
        if lists.borrow_and_update().revokes(&chain) {
            tracing::warn!("peer's certificate was revoked, closing its connections");
            (security.revoked)();
            client.abort();
            return;
        }
    }
}

// === impl DialError ===

impl DialError {
    /// The flag that the connection's metrics carry.
    pub fn flags(&self) -> ResponseFlags {
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

    /// A stable label for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.reason(),
            Self::Identity(..) => "identity",
            Self::Tls(_, error) => error.reason(),
            Self::HandshakeTimeout(_) => "handshake_timeout",
            Self::Http2(_, error) => error.reason(),
        }
    }

    /// Whether another endpoint may do better; nothing of the connection's bytes has been sent.
    pub fn may_try_another(&self) -> bool {
        match self {
            Self::Connect(error) => error.may_try_another(),
            Self::Identity(..) => false,
            Self::Tls(..) | Self::Http2(..) | Self::HandshakeTimeout(_) => true,
        }
    }
}

/// A stable label for metrics and logs.
pub fn reason(error: &TunnelError) -> &'static str {
    match error {
        PoolError::Dial(error) => error.reason(),
        PoolError::Tunnel(error) => error.reason(),
    }
}

/// The flag that the metrics of a connection carry whose tunnel failed so.
pub fn flags(error: &TunnelError) -> ResponseFlags {
    match error {
        PoolError::Dial(error) => error.flags(),
        PoolError::Tunnel(_) => ResponseFlags::Connect,
    }
}

/// Whether another endpoint may do better: the peer was not reached, or could not reach the application itself.
pub fn may_try_another(error: &TunnelError) -> bool {
    match error {
        PoolError::Dial(error) => error.may_try_another(),
        PoolError::Tunnel(ambit_hbone::Error::Status(status)) => {
            *status == http::StatusCode::SERVICE_UNAVAILABLE
        }
        PoolError::Tunnel(error) => error.is_retryable(),
    }
}
