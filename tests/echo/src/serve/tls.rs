//! TLS in front of the HTTP server, with a certificate made at start.

use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::seen::Tls;

use super::{Connection, http};

/// An acceptor of TLS 1.2 and 1.3 with a self-signed certificate for `name` and `localhost`; ALPN h2 and http/1.1.
pub(super) fn acceptor(name: &str) -> Result<TlsAcceptor> {
    let names = vec!["localhost".to_owned(), name.to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("making a certificate")?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves HTTP over one TLS connection.
pub(super) async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    mut connection: Connection,
    closing: CancellationToken,
) -> Result<()> {
    let stream = acceptor.accept(stream).await.context("TLS handshake")?;
    let (_, session) = stream.get_ref();
    connection.tls = Some(Tls {
        version: session.protocol_version().map(|v| format!("{v:?}")).unwrap_or_default(),
        sni: session.server_name().map(str::to_owned),
        alpn: session.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
    });
    http::serve(stream, connection, closing).await
}
