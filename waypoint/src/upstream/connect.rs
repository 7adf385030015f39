//! Dialling an endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_hbone::{Authority, ConnectHeaders, PoolError};
use ambit_model::Str;
use ambit_net::{ConnectError, ConnectOptions, TcpOptions};
use ambit_tunnel::{PoolKey, TunnelError, secure};
use http::StatusCode;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use crate::context::Local;
use crate::destination::{Dial, Origination};
use crate::io::{Io, Transport};

/// Why there is no connection with an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectFailure {
    #[error(transparent)]
    Tcp(#[from] ConnectError),
    #[error("tunnel: {0}")]
    Tunnel(TunnelError),
    #[error("no tunnel to {0} within {1:?}")]
    TooSlow(SocketAddr, Duration),
    #[error("cannot resolve {0}: {1}")]
    Resolve(Box<str>, #[source] std::io::Error),
    #[error("{0} has no address")]
    NoAddress(Box<str>),
    #[error("TLS with the endpoint: {0}")]
    Tls(#[source] std::io::Error),
    #[error("TLS settings cannot be used: {0}")]
    Settings(Str),
    #[error("HTTP handshake: {0}")]
    Http(#[from] hyper::Error),
}

/// A byte stream with the application at `dial`. `headers` tell the far end of a tunnel who is behind it.
///
/// # Errors
/// The endpoint, or the node proxy before it, could not be reached within `limit` or refused.
pub(crate) async fn connect(
    local: &Arc<Local>,
    dial: &Dial,
    headers: ConnectHeaders,
    limit: Duration,
) -> Result<Io, ConnectFailure> {
    match dial {
        Dial::Tcp(address) => Ok(tcp(*address, limit, TcpOptions::default()).await?.into()),
        Dial::Name(name, port) => {
            let failed = |error| ConnectFailure::Resolve((**name).into(), error);
            let mut found = lookup_host((&**name, *port)).await.map_err(failed)?;
            let address = found.next().ok_or_else(|| ConnectFailure::NoAddress((**name).into()))?;
            Ok(tcp(address, limit, TcpOptions::default()).await?.into())
        }
        Dial::Hbone { proxy, authority, identities, .. } => {
            let source = local.context.identity.clone();
            let key = PoolKey { source, identities: identities.clone(), address: *proxy };
            let security = &local.context.security;
            let dial = || {
                let (security, key) = (security.clone(), key.clone());
                async move {
                    let tcp = tcp(key.address, limit, TcpOptions::default().shared()).await?;
                    secure(&security, tcp, &key).await
                }
            };
            let destination = Authority::from(*authority);
            let opening = local.tunnels.connect(&key, dial, &destination, headers);
            match timeout(limit, opening).await {
                Ok(Ok((stream, _))) => Ok(stream.into_io().into()),
                Ok(Err(error)) => Err(ConnectFailure::Tunnel(error)),
                Err(_) => Err(ConnectFailure::TooSlow(*authority, limit)),
            }
        }
    }
}

/// Settings that can be used.
///
/// # Errors
/// They cannot.
pub(crate) fn usable(
    settings: &Result<Arc<Origination>, Str>,
) -> Result<&Origination, ConnectFailure> {
    settings.as_deref().map_err(|why| ConnectFailure::Settings(why.clone()))
}

/// TLS on `io` as `settings` say, with the configuration that `choose` takes; `io` itself where there are none.
///
/// # Errors
/// The endpoint is not whom they expect.
pub(crate) async fn originate(
    io: Io,
    settings: Option<&Origination>,
    limit: Duration,
    choose: impl FnOnce(&Origination) -> &Arc<ClientConfig>,
) -> Result<Io, ConnectFailure> {
    let Some(settings) = settings else { return Ok(io) };
    let connector = TlsConnector::from(choose(settings).clone());
    let handshake = connector.connect(settings.name.clone(), io);
    let slow = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let tls = timeout(limit, handshake).await.unwrap_or_else(|_| Err(slow()));
    Ok(Io::new(Transport::Client(Box::new(tls.map_err(ConnectFailure::Tls)?))))
}

async fn tcp(
    address: SocketAddr,
    timeout: Duration,
    tcp: TcpOptions,
) -> Result<TcpStream, ConnectError> {
    ambit_net::connect(address, &ConnectOptions { timeout, tcp, ..Default::default() }).await
}

// === impl ConnectFailure ===

impl ConnectFailure {
    /// Whether the far end's policy refused the tunnel.
    pub(crate) fn is_denial(&self) -> bool {
        let Self::Tunnel(PoolError::Tunnel(ambit_hbone::Error::Status(status))) = self else {
            return false;
        };
        *status == StatusCode::UNAUTHORIZED
    }
}
