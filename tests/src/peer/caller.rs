//! Plays a client of HBONE by bare HTTP/2: whatever a caller might send can be sent.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;

use ambit_model::Identity;
use ambit_tls::{Credential, TlsError};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Mesh;
use crate::wait::soon;

/// One HTTP/2 connection on which requests are made.
pub struct Caller {
    send: SendRequest<Bytes>,
    driver: JoinHandle<Result<(), h2::Error>>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    /// 200: the tunnel is open.
    Open(Tunnel),
    /// Any other status.
    Status(u16, HeaderMap),
    /// The stream was reset.
    Reset(Reason),
    /// The connection failed or goes away.
    Failed(h2::Error),
}

/// An open tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// The headers of the 200.
    pub headers: HeaderMap,
    send: SendStream<Bytes>,
    recv: RecvStream,
    unread: Vec<u8>,
}

impl Mesh {
    /// TLS from a pod to `to` with a configuration of the caller's own making.
    ///
    /// # Errors
    /// The handshake fails as far as the client sees; what a server objects to shows with the first read.
    ///
    /// # Panics
    /// There is nobody at `to`.
    pub async fn dial_tls(
        &self,
        pod: &str,
        to: SocketAddr,
        config: ClientConfig,
    ) -> Result<TlsStream<TcpStream>, TlsError> {
        let tcp = self.dial(pod, to).await.expect("somebody listens");
        let name = rustls::pki_types::ServerName::from(to.ip());
        let connector = TlsConnector::from(Arc::new(config));
        soon(connector.connect(name, tcp)).await.map_err(TlsError::from)
    }

    /// The proxy that a pod's node would have, calling `to` with `credential`; the peer must be `expected`.
    ///
    /// # Panics
    /// No connection comes about.
    pub async fn caller(
        &self,
        pod: &str,
        credential: &Credential,
        to: SocketAddr,
        expected: &Identity,
    ) -> Caller {
        let config = ambit_tls::client_config(credential, std::slice::from_ref(expected));
        let tls = self.dial_tls(pod, to, (*config).clone()).await.expect("TLS");
        Caller::over(tls).await.expect("HTTP/2")
    }
}

// === impl Caller ===

impl Caller {
    /// HTTP/2 over any byte stream.
    ///
    /// # Errors
    /// The peer speaks no HTTP/2.
    pub async fn over<IO>(io: IO) -> Result<Self, h2::Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = soon(h2::client::handshake(io)).await?;
        Ok(Self { send, driver: tokio::spawn(connection) })
    }

    /// A CONNECT to `authority`, and what comes of it.
    ///
    /// # Panics
    /// `authority` cannot be sent, or no answer comes.
    pub async fn connect(&mut self, authority: &str) -> Answer {
        self.request(connect_request(authority)).await
    }

    /// Any request, and what comes of it.
    ///
    /// # Panics
    /// No answer comes.
    pub async fn request(&mut self, request: Request<()>) -> Answer {
        match self.begin(request).await {
            Ok((response, send)) => Answer::of(response, send).await,
            Err(error) => error.into(),
        }
    }

    /// The opened tunnel to `authority`.
    ///
    /// # Panics
    /// It is refused.
    pub async fn tunnel(&mut self, authority: &str) -> Tunnel {
        self.connect(authority).await.open()
    }

    /// Sends any request and does not wait for an answer.
    ///
    /// # Errors
    /// The connection takes no more of them.
    pub async fn begin(
        &mut self,
        request: Request<()>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.send = soon(self.send.clone().ready()).await?;
        self.send.send_request(request, false)
    }

    /// Waits for the connection's end.
    ///
    /// # Errors
    /// It did not end in order.
    ///
    /// # Panics
    /// It goes on.
    pub async fn ended(self) -> Result<(), h2::Error> {
        let Self { send, driver } = self;
        let ended = soon(driver).await.expect("no panic");
        // Not before: without a handle HTTP/2 would end it from this side.
        drop(send);
        match ended {
            // The peer closed in order, and was gone before this side's own farewell.
            Err(e) if e.get_io().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => Ok(()),
            ended => ended,
        }
    }
}

/// A CONNECT request.
///
/// # Panics
/// `authority` cannot stand in a request.
pub fn connect_request(authority: &str) -> Request<()> {
    Request::builder().method(Method::CONNECT).uri(authority).body(()).expect("an authority")
}

// === impl Answer ===

impl Answer {
    /// Waits for the answer to a request.
    ///
    /// # Panics
    /// None comes.
    pub async fn of(response: ResponseFuture, send: SendStream<Bytes>) -> Self {
        match soon(response).await {
            Ok(response) => {
                let (head, recv) = response.into_parts();
                match head.status.as_u16() {
                    200 => Self::Open(Tunnel { headers: head.headers, send, recv, unread: vec![] }),
                    status => Self::Status(status, head.headers),
                }
            }
            Err(error) => error.into(),
        }
    }

    /// The tunnel, which must be open.
    ///
    /// # Panics
    /// It is not.
    pub fn open(self) -> Tunnel {
        match self {
            Self::Open(tunnel) => tunnel,
            other => panic!("no tunnel: {other:?}"),
        }
    }

    /// In a word: a status, or `reset <reason>`, or `failed`.
    pub fn in_a_word(&self) -> String {
        match self {
            Self::Open(_) => "200".into(),
            Self::Status(status, _) => status.to_string(),
            Self::Reset(reason) => format!("reset {reason:?}"),
            Self::Failed(_) => "failed".into(),
        }
    }
}

impl From<h2::Error> for Answer {
    fn from(error: h2::Error) -> Self {
        match error.reason() {
            Some(reason) if error.is_reset() => Self::Reset(reason),
            _ => Self::Failed(error),
        }
    }
}

// === impl Tunnel ===

impl Tunnel {
    /// Sends bytes.
    ///
    /// # Panics
    /// The tunnel takes none.
    pub fn write(&mut self, bytes: &[u8]) {
        self.send.send_data(Bytes::copy_from_slice(bytes), false).expect("the tunnel is open");
    }

    /// Ends the way to the application.
    ///
    /// # Panics
    /// It has ended already.
    pub fn finish(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("the tunnel is open");
    }

    /// Resets the stream.
    pub fn reset(&mut self) {
        self.send.send_reset(Reason::CANCEL);
    }

    /// The next line.
    ///
    /// # Errors
    /// The tunnel was reset.
    ///
    /// # Panics
    /// There is none.
    pub async fn line(&mut self) -> Result<String, h2::Error> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let chunk = self.chunk().await.expect("the tunnel has not ended")?;
            self.unread.extend(chunk);
        }
    }

    /// Everything until the end.
    ///
    /// # Errors
    /// The tunnel was reset.
    pub async fn rest(&mut self) -> Result<Vec<u8>, h2::Error> {
        while let Some(chunk) = self.chunk().await {
            self.unread.extend(chunk?);
        }
        Ok(std::mem::take(&mut self.unread))
    }

    async fn chunk(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let chunk = soon(self.recv.data()).await?;
        if let Ok(bytes) = &chunk {
            // An error would mean that more is given back than was received.
            let _ = self.recv.flow_control().release_capacity(bytes.len());
        }
        Some(chunk)
    }
}
