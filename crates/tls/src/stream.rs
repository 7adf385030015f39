//! Handshakes over any byte stream.

use std::net::Ipv4Addr;

use ambit_model::Identity;
use rustls::{CommonState, ConnectionCommon};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::credential::{Credential, client_config};
use crate::error::TlsError;
use crate::io::BufferedIo;
use crate::x509;

/// How much plaintext rustls may take in one write, in bytes: one whole DATA frame of the largest size.
const WRITE_LIMIT: usize = 1 << 20;

/// The server's end of a mesh connection.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<BufferedIo<S>>;

/// The client's end of a mesh connection.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<BufferedIo<S>>;

/// Serves TLS with the configuration that `credential` holds ready. The caller bounds the time.
///
/// # Errors
/// See [`TlsError`]; the peer has been told by an alert where there was one to send.
pub async fn accept<S>(credential: &Credential, stream: S) -> Result<ServerStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let acceptor = TlsAcceptor::from(credential.server_config());
    let mut tls = acceptor.accept(BufferedIo::new(stream)).await.map_err(TlsError::from)?;
    use_large_writes(tls.get_mut().1);
    Ok(tls)
}

/// Opens TLS as `credential` to a server that must be one of `expected`. The caller bounds the time.
///
/// In TLS 1.3 a server's objection to our certificate arrives after this has succeeded, with the first read;
/// `TlsError::from` tells what such an error means.
///
/// # Errors
/// See [`TlsError`].
pub async fn connect<S>(
    credential: &Credential,
    expected: &[Identity],
    stream: S,
) -> Result<ClientStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connector = TlsConnector::from(client_config(credential, expected));
    // Never sent (SNI is off) and never compared; it only has to be some name.
    let name = ServerName::from(Ipv4Addr::UNSPECIFIED);
    let stream = BufferedIo::new(stream);
    let mut tls = connector.connect(name, stream).await.map_err(TlsError::from)?;
    use_large_writes(tls.get_mut().1);
    Ok(tls)
}

/// Lets a whole DATA frame of 1 MiB be encrypted and written at once; rustls's own limit is 64 KiB.
pub fn use_large_writes<Side>(connection: &mut ConnectionCommon<Side>) {
    connection.set_buffer_limit(Some(WRITE_LIMIT));
}

/// Who is at the other end: the first workload identity of its verified leaf.
pub fn peer_identity(connection: &CommonState) -> Option<Identity> {
    let leaf = connection.peer_certificates()?.first()?;
    x509::identities(leaf).into_iter().next()
}
