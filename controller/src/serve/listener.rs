//! The port: TCP, TLS where it is not turned off, and HTTP/2 for [`Services`].

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ambit_lifecycle::Drain;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Authority, Services};

/// Connections at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 16 * 1024;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after `accept` failed, e.g. for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Whether the port speaks TLS.
#[derive(Clone)]
pub enum Security {
    /// With a certificate of this authority.
    Tls(Arc<Authority>),
    /// Not at all, which is for the loopback alone.
    Plaintext,
}

/// A port that is listened on.
pub struct Listener {
    socket: TcpListener,
    security: Security,
}

/// Why the port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Plaintext would leave the machine.
    #[error("--plaintext: {0} is not an address of the loopback; use --listen 127.0.0.1:{port}, or TLS", port = .0.port())]
    Plaintext(SocketAddr),
    /// Somebody listens there already.
    #[error("--listen {0}: the port is in use; stop the other controller or choose another port")]
    InUse(SocketAddr),
    /// The system does not let us.
    #[error("--listen {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

// === impl Listener ===

impl Listener {
    /// Listens on `address`. `[::]` is every address of both families, or of IPv4 where there is no IPv6.
    ///
    /// # Errors
    /// The address cannot be listened on, or not in plaintext.
    pub async fn bind(address: SocketAddr, security: Security) -> Result<Self, ListenError> {
        if matches!(security, Security::Plaintext) && !address.ip().is_loopback() {
            return Err(ListenError::Plaintext(address));
        }
        let bound = match TcpListener::bind(address).await {
            // There is no IPv6 on this machine.
            Err(error)
                if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                    && error.kind() != io::ErrorKind::AddrInUse =>
            {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            bound => bound,
        };
        match bound {
            Ok(socket) => Ok(Self { socket, security }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(ListenError::InUse(address))
            }
            Err(source) => Err(ListenError::Listen { address, source }),
        }
    }

    /// The address that is listened on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `drain` closes; connections are tasks of it.
    pub async fn serve(self, services: Services, drain: Drain) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (self.socket.accept().await, permit)
            };
            tokio::select! {
                (accepted, permit) = accepted => match accepted {
                    Ok((socket, peer)) => {
                        let connection =
                            connection(socket, self.security.clone(), services.clone(), drain.closing.clone());
                        drain.spawn(async move {
                            if let Err(error) = connection.await {
                                tracing::debug!(%peer, %error, "connection failed");
                            }
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                () = drain.closing.cancelled() => return,
            }
        }
    }
}

async fn connection(
    socket: TcpStream,
    security: Security,
    services: Services,
    closing: CancellationToken,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    match security {
        Security::Plaintext => http(socket, services, closing).await,
        Security::Tls(authority) => {
            let handshake = TlsAcceptor::from(authority.server_config()).accept(socket);
            let timeout = tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await;
            let stream = timeout.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            http(stream, services, closing).await
        }
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    services: Services,
    closing: CancellationToken,
) -> io::Result<()> {
    let answer = service_fn(move |request: Request<Incoming>| {
        let services = services.clone();
        async move { Ok::<_, Infallible>(services.call(request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(100)
        .max_header_list_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    served.map_err(io::Error::other)
}
