//! Connecting to the control plane: TLS, keepalive, the token and the headers of a stream.

mod connector;
mod headers;
mod messages;

use std::future::poll_fn;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ambit_proto::discovery::DeltaDiscoveryRequest;
use ambit_tls::ControlError;
use http::header::{CONTENT_TYPE, HeaderValue, TE};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Request, StatusCode, Version};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::EncodeBody;
use tonic::transport::Endpoint;
use tonic_prost::ProstEncoder;
use tower_service::Service as _;

use crate::{Config, Token};

pub(crate) use messages::Messages;

/// The wire facts of Istio's ztunnel about its connection to istiod.
const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no stream could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The configured address is no URL.
    #[error("the control plane's address {address:?} is not of the form https://host:port")]
    Address {
        /// What was configured.
        address: String,
    },
    /// A token would cross the network readable by everyone.
    #[error(
        "a token may not be sent in plaintext to {host}; use https:// or an address of this machine"
    )]
    PlaintextToken {
        /// The host of the address.
        host: String,
    },
    /// The token cannot be read.
    #[error("cannot read the token {}: {source}; check AUTH_TOKEN", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The roots cannot be used.
    #[error("{}", chain(source))]
    Roots {
        /// Why.
        #[from]
        source: ControlError,
    },
    /// A header cannot be sent.
    #[error("the header {name:?} or its value has characters that HTTP does not allow")]
    Header {
        /// The header's name.
        name: String,
    },
    /// The TCP or TLS connection failed.
    #[error("cannot connect to {address}: {}", chain(source))]
    Transport {
        /// The control plane.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The control plane refused the stream.
    #[error("{address} refused the stream: {:?}: {}", source.code(), source.message())]
    Refused {
        /// The control plane.
        address: String,
        /// What it said.
        source: Box<Status>,
    },
}

/// Opens a connection and on it a stream that sends what comes out of `requests`.
pub(crate) async fn open(
    config: &Config,
    requests: UnboundedReceiverStream<DeltaDiscoveryRequest>,
) -> Result<Messages, ConnectError> {
    let headers = headers::metadata(config)?.into_headers();
    let failed = |source| ConnectError::Transport { address: config.address.clone(), source };
    let refused = |source| ConnectError::Refused {
        address: config.address.clone(),
        source: Box::new(source),
    };
    let uri = uri(config)?;
    let connector = connector::connector(&uri, config)?;
    let mut channel = endpoint(uri).connect_with_connector(connector).await.map_err(failed)?;
    let mut request = Request::new(encoded(requests));
    *request.method_mut() = Method::POST;
    *request.version_mut() = Version::HTTP_2;
    // The endpoint puts its origin before it.
    *request.uri_mut() = Uri::from_static(METHOD);
    *request.headers_mut() = headers;
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    poll_fn(|cx| channel.poll_ready(cx)).await.map_err(failed)?;
    let response = channel.call(request).await.map_err(failed)?;
    match (response.status(), Status::from_header_map(response.headers())) {
        (StatusCode::OK, None) => Ok(Messages::new(response.into_body())),
        // A response without a body has its status among the headers.
        (_, Some(status)) => Err(refused(status)),
        (status, None) => Err(refused(Status::unknown(format!("HTTP status {status}")))),
    }
}

/// Requests as the body of a stream.
fn encoded(requests: UnboundedReceiverStream<DeltaDiscoveryRequest>) -> Body {
    let encoder = ProstEncoder::<DeltaDiscoveryRequest>::default();
    Body::new(EncodeBody::new_client(encoder, requests.map(Ok), None, None))
}

fn endpoint(origin: Uri) -> Endpoint {
    // TLS is the connector's business; an endpoint of scheme https would insist on its own.
    let mut parts = origin.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    let plain = Uri::from_parts(parts).unwrap_or_else(|_| origin.clone());
    Endpoint::from(plain)
        .origin(origin)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
}

fn uri(config: &Config) -> Result<Uri, ConnectError> {
    let invalid = || ConnectError::Address { address: config.address.clone() };
    let mut parts = config.address.parse::<Uri>().map_err(|_| invalid())?.into_parts();
    // What follows the authority means nothing here.
    parts.path_and_query = Some(PathAndQuery::from_static("/"));
    let uri = Uri::from_parts(parts).map_err(|_| invalid())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {}
        Some(scheme) if *scheme == Scheme::HTTP => {
            if config.token != Token::None && !is_local(host) {
                return Err(ConnectError::PlaintextToken { host: host.to_owned() });
            }
        }
        _ => return Err(invalid()),
    }
    Ok(uri)
}

fn is_local(host: &str) -> bool {
    host == "localhost" || bare(host).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

/// An error with its causes, as far as it does not name them itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;

    fn check(address: &str, token: Token) -> Result<String, String> {
        let config = Config { token, ..Config::new(address, Node::default()) };
        uri(&config).map(|uri| uri.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn tokens_are_never_sent_in_plaintext_to_another_machine() {
        let token = || Token::Literal("secret".to_owned());
        for address in [
            "https://istiod.istio-system.svc:15012/",
            "http://127.0.0.1:15012/",
            "http://[::1]:1/",
            "http://localhost:1/",
        ] {
            assert_eq!(check(address, token()), Ok(address.to_owned()));
        }
        assert!(check("http://10.0.0.1:15010", token()).unwrap_err().contains("10.0.0.1"));
        assert!(check("http://10.0.0.1:15010", Token::None).is_ok());
    }

    #[test]
    fn what_is_no_address_is_named() {
        for address in ["", "istiod:15012", "ftp://istiod:1", "https://", "a b"] {
            let error = check(address, Token::None).unwrap_err();
            assert!(error.contains("https://host:port"), "{address}: {error}");
        }
    }
}
