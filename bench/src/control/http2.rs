//! One HTTP/2 connection over TLS, and as little around it as possible: a thousand of them share two cores with what
//! is measured.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ambit_tls::{RootSource, control_client_config};
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// The body of a request.
pub(crate) type RequestBody = UnsyncBoxBody<Bytes, std::convert::Infallible>;
/// What requests go into.
pub(crate) type Requests = SendRequest<RequestBody>;

/// A server, and what its certificate must say.
#[derive(Clone)]
pub(crate) struct Server {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

/// A body that grows while it is sent.
pub(crate) struct Growing(mpsc::UnboundedReceiver<Bytes>);

// === impl Server ===

impl Server {
    /// The server at `address`, called `name` in a certificate that descends from `roots`.
    ///
    /// # Errors
    /// Roots or a name that cannot be used.
    pub(crate) fn new(address: SocketAddr, name: &str, roots: &str) -> anyhow::Result<Self> {
        let config = control_client_config(&RootSource::Pem(roots.to_owned()), None)?;
        let name = ServerName::try_from(name.to_owned())?;
        Ok(Self { address, name, connector: TlsConnector::from(Arc::clone(&config)) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens a connection; its task ends when the last sender is dropped.
    ///
    /// # Errors
    /// Nobody listens, or it is not the server that was meant.
    pub(crate) async fn connect(&self) -> anyhow::Result<Requests> {
        let failed = || format!("cannot connect to {}", self.address);
        let tcp = TcpStream::connect(self.address).await.with_context(failed)?;
        tcp.set_nodelay(true)?;
        let tls = self.connector.connect(self.name.clone(), tcp).await.with_context(failed)?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tls));
        let (requests, connection) = handshake.await.with_context(failed)?;
        // How it ends shows in the requests.
        tokio::spawn(connection);
        Ok(requests)
    }
}

// === impl Growing ===

impl Growing {
    pub(crate) fn new() -> (mpsc::UnboundedSender<Bytes>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver))
    }
}

impl Body for Growing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|data| data.map(|data| Ok(Frame::data(data))))
    }
}
