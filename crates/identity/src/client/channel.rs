//! The gRPC channel, made anew when the root file changes.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ambit_proto::certificate::istio_certificate_service_client::IstioCertificateServiceClient;
use ambit_tls::{RootSource, control_client_config};
use http::uri::InvalidUri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::{info, warn};

use super::config::{CaClientConfig, CaClientError};

/// The largest answer that is read, in bytes: a long chain and many roots fit.
const MAX_ANSWER_BYTES: usize = 1 << 20;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

pub(super) type Client = IstioCertificateServiceClient<Channel>;

pub(super) struct Channels {
    endpoint: Endpoint,
    address: String,
    root: RootSource,
    alt_hostname: Option<String>,
    current: Mutex<Current>,
}

struct Current {
    /// What the channel was made with; nothing for the system's roots and without TLS.
    roots: Option<Vec<u8>>,
    client: Client,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

// === impl Channels ===

impl Channels {
    pub(super) fn new(config: &CaClientConfig) -> Result<Self, CaClientError> {
        let (endpoint, origin) = endpoint(config)?;
        let tls = tls_wanted(&origin, &config.address)?;
        let (roots, client) = if tls {
            let roots = config.root.read()?;
            (roots, connect(&endpoint, &config.root, config.alt_hostname.as_deref())?)
        } else {
            (None, client(endpoint.connect_with_connector_lazy(tower::service_fn(plain))))
        };
        Ok(Self {
            endpoint,
            address: config.address.clone(),
            root: config.root.clone(),
            alt_hostname: config.alt_hostname.clone(),
            current: Mutex::new(Current { roots, client }),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The client to use now. A root file that has changed makes a new channel; one that cannot be used is logged,
    /// and the old channel serves on.
    pub(super) fn current(&self) -> Client {
        let mut current = self.current.lock();
        if current.roots.is_none() {
            return current.client.clone();
        }
        let renewed = self.root.read().and_then(|roots| {
            if roots == current.roots {
                return Ok(None);
            }
            let client = connect(&self.endpoint, &self.root, self.alt_hostname.as_deref())?;
            Ok(Some(Current { roots, client }))
        });
        match renewed {
            Ok(None) => {}
            Ok(Some(renewed)) => {
                info!(address = self.address, "root of the certificate authority has changed");
                *current = renewed;
            }
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "root of the certificate authority not reloaded; the last good one stays in use"
            ),
        }
        current.client.clone()
    }
}

/// Where to connect, and what requests name as their destination.
fn endpoint(config: &CaClientConfig) -> Result<(Endpoint, Uri), CaClientError> {
    let invalid = |source: Box<dyn std::error::Error + Send + Sync>| CaClientError::Address {
        address: config.address.clone(),
        source,
    };
    let address = match config.address.split_once("://") {
        Some(_) => config.address.clone(),
        None => format!("https://{}", config.address),
    };
    let origin: Uri = address.parse().map_err(|e: InvalidUri| invalid(e.into()))?;
    let Some(authority) = origin.authority().filter(|authority| !authority.host().is_empty())
    else {
        return Err(invalid("no host".into()));
    };
    // TLS is the connector's business; told of `https`, the library would insist on its own.
    let endpoint =
        Endpoint::from_shared(format!("http://{authority}")).map_err(|e| invalid(e.into()))?;
    let endpoint = endpoint
        .origin(origin.clone())
        .connect_timeout(config.timeout)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(config.timeout);
    Ok((endpoint, origin))
}

fn tls_wanted(uri: &Uri, address: &str) -> Result<bool, CaClientError> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(true),
        Some("http") if loopback => Ok(false),
        Some("http") => Err(CaClientError::Plaintext { address: address.to_owned() }),
        other => Err(CaClientError::Address {
            address: address.to_owned(),
            source: format!("scheme {other:?}").into(),
        }),
    }
}

fn connect(
    endpoint: &Endpoint,
    root: &RootSource,
    alt_hostname: Option<&str>,
) -> Result<Client, ambit_tls::ControlError> {
    let connector = TlsConnector::from(control_client_config(root, alt_hostname)?);
    let connector = Arc::new(connector);
    Ok(client(endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let connector = Arc::clone(&connector);
        async move { secure(&connector, &uri).await }
    }))))
}

fn client(channel: Channel) -> Client {
    IstioCertificateServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES)
}

async fn plain(uri: Uri) -> io::Result<TokioIo<Box<dyn Stream>>> {
    Ok(TokioIo::new(Box::new(dial(&uri, 80).await?)))
}

async fn secure(connector: &TlsConnector, uri: &Uri) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let tls = connector.connect(name, dial(uri, 443).await?).await?;
    Ok(TokioIo::new(Box::new(tls)))
}

async fn dial(uri: &Uri, default_port: u16) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(default_port))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
