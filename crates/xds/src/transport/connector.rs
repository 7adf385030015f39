//! TCP, and TLS on it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ambit_tls::{RootSource, control_client_config};
use http::uri::{Scheme, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::{ConnectError, bare};
use crate::{Config, Roots};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_KEEPALIVE_IDLE: Duration = Duration::from_secs(300);
const TCP_KEEPALIVE_INTERVAL: Duration = Duration::from_secs(75);
const TCP_KEEPALIVE_RETRIES: u32 = 9;

/// A connected byte stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to one control plane.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// A connector to `uri`. Roots are read now.
pub(super) fn connector(uri: &Uri, config: &Config) -> Result<Connector, ConnectError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(TCP_KEEPALIVE_IDLE));
    tcp.set_keepalive_interval(Some(TCP_KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(TCP_KEEPALIVE_RETRIES));
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Ok(Connector { tcp, tls: None });
    }
    let roots = match &config.roots {
        Roots::File(path) => RootSource::Path(path.clone()),
        Roots::Pem(pem) => RootSource::Pem(pem.clone()),
        Roots::System => RootSource::System,
    };
    let client = control_client_config(&roots, config.alternative_hostname.as_deref())?;
    let host = bare(uri.host().unwrap_or_default()).to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| ConnectError::Address { address: config.address.clone() })?;
    Ok(Connector { tcp, tls: Some((client.into(), name)) })
}

// === impl Connector ===

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let tls = self.tls.clone();
        Box::pin(async move {
            let tcp: TcpStream = connecting.await.map_err(io::Error::other)?.into_inner();
            let Some((connector, name)) = tls else { return Ok(TokioIo::new(Box::new(tcp) as _)) };
            let handshake = connector.connect(name, tcp);
            let stream =
                tokio::time::timeout(CONNECT_TIMEOUT, handshake).await.map_err(|_| {
                    io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timed out")
                })??;
            Ok(TokioIo::new(Box::new(stream) as _))
        })
    }
}
