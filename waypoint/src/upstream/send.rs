//! One try of a request with one endpoint.

use std::sync::Arc;
use std::time::Instant;

use ambit_hbone::ConnectHeaders;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio_rustls::rustls::ClientConfig;

use super::codec::{http1, http2};
use super::pool::{About, Http1, Http1Lease, Http2Lease, Lease};
use super::{ConnectFailure, connect, originate, usable};
use crate::body::Body;
use crate::context::Local;
use crate::destination::{Destination, Endpoint, Origination, Settings};
use crate::io::Io;

/// What a try needs besides the request.
pub(crate) struct Try<'a> {
    pub local: &'a Arc<Local>,
    pub destination: &'a Destination,
    pub settings: &'a Settings,
    pub endpoint: &'a Arc<Endpoint>,
    pub source: &'a Source,
    pub http2: bool,
    pub began: Instant,
}

/// On whose behalf requests are sent: what the far end is told, and what keeps their connections apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub headers: ConnectHeaders,
    pub key: u64,
}

/// A response that has begun.
pub(crate) struct Sent {
    pub response: Response<Incoming>,
    pub lease: Lease,
}

/// Why no response began.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request was not sent at all.
    #[error("the connection was closed before the request could be sent: {0}")]
    NotSent(#[source] hyper::Error),
    #[error("the endpoint reset the request: {0}")]
    Reset(#[source] hyper::Error),
    /// A body that cannot be sent twice was sent already.
    #[error("the request was sent and cannot be sent again")]
    Gone,
}

/// A limit of the destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("as many requests wait as the destination's connectionPool allows")]
    Pending,
    #[error("as many requests are under way as the destination's connectionPool allows")]
    Requests,
}

/// How often a request that was not sent is given to another connection.
const STALE: usize = 3;

/// Sends the request to the endpoint, on a connection that is there or on a new one. It is taken out of `request` only
/// when there is a connection, and put back if it turns out that it was not sent.
///
/// # Errors
/// No response began.
pub(crate) async fn send(
    of: &Try<'_>,
    request: &mut Option<Request<Body>>,
) -> Result<Sent, SendError> {
    let mut stale = 0;
    loop {
        let connection = of.connection().await?;
        let fresh = connection.is_fresh();
        let message = request.take().ok_or(SendError::Gone)?;
        match connection.send(of, message).await {
            Ok(sent) => return Ok(sent),
            Err(mut error) => match error.take_message() {
                // It was idle, and was closed just now.
                Some(unsent) if !fresh && stale < STALE => {
                    stale += 1;
                    *request = Some(unsent);
                }
                Some(unsent) => {
                    *request = Some(unsent);
                    return Err(SendError::NotSent(error.into_error()));
                }
                None => return Err(SendError::Reset(error.into_error())),
            },
        }
    }
}

/// A connection that a request may be sent on.
enum Connection {
    Http1(Http1),
    Http2(Http2Lease),
}

// === impl Connection ===

impl Connection {
    /// Whether nothing was sent on it yet. One that many share is never taken for new.
    fn is_fresh(&self) -> bool {
        matches!(self, Self::Http1(connection) if connection.about.requests == 0)
    }

    async fn send(
        self,
        of: &Try<'_>,
        request: Request<Body>,
    ) -> Result<Sent, TrySendError<Request<Body>>> {
        match self {
            Self::Http1(mut connection) => {
                connection.about.requests += 1;
                let response = connection.send.try_send_request(request).await?;
                let most = of.settings.pool.max_requests_per_connection;
                let lease = Lease::Http1(Http1Lease {
                    reusable: most.is_none_or(|most| connection.about.requests < most),
                    connection,
                    endpoint: of.endpoint.clone(),
                    worker: of.local.worker,
                });
                Ok(Sent { response, lease })
            }
            Self::Http2(lease) => {
                let response = lease.send().try_send_request(request).await?;
                Ok(Sent { response, lease: Lease::Http2 { _lease: lease } })
            }
        }
    }
}

// === impl Try ===

impl Try<'_> {
    async fn connection(&self) -> Result<Connection, SendError> {
        Ok(if self.http2 {
            Connection::Http2(self.http2_connection().await?)
        } else {
            Connection::Http1(self.http1_connection().await?)
        })
    }

    async fn http1_connection(&self) -> Result<Http1, SendError> {
        let now = self.began;
        let idle = self.settings.pool.idle_timeout.unwrap_or(self.local.context.config.limits.idle);
        let (tls, key) = self.tls()?;
        let kept = self.endpoint.connections(self.local.worker);
        if let Some(kept) = kept.and_then(|kept| kept.take_http1(key, idle, now)) {
            return Ok(kept);
        }
        let (about, io) = self.dial(tls, key, now).await?;
        let preserve_case = self.local.context.config.preserve_header_case;
        let send = http1(io, preserve_case).await.map_err(ConnectFailure::from)?;
        Ok(Http1 { send, about })
    }

    async fn http2_connection(&self) -> Result<Http2Lease, SendError> {
        let now = self.began;
        let most = self.settings.pool.max_requests_per_connection;
        let (tls, key) = self.tls()?;
        let kept = self.endpoint.connections(self.local.worker).ok_or(Refused::Pending)?;
        if let Some(lease) = kept.take_http2(key, most, now) {
            return Ok(lease);
        }
        let (about, io) = self.dial(tls, key, now).await?;
        let send = http2(io).await.map_err(ConnectFailure::from)?;
        Ok(kept.add_http2(send, about, now))
    }

    /// The TLS to speak, and what connections have in common that are as good as a new one.
    fn tls(&self) -> Result<(Option<&Origination>, u64), ConnectFailure> {
        let settings = self.settings.tls.as_ref().filter(|_| self.endpoint.dial.is_direct());
        let tls = settings.map(usable).transpose()?;
        Ok((tls, self.source.key ^ tls.map_or(0, |tls| tls.number)))
    }

    /// A new connection, when there may be one more.
    async fn dial(
        &self,
        tls: Option<&Origination>,
        key: u64,
        now: Instant,
    ) -> Result<(About, Io), SendError> {
        let pool = &self.settings.pool;
        let pending = self.destination.pending.acquire(pool.max_pending);
        let _pending = pending.ok_or(Refused::Pending)?;
        let permit = self.destination.connections.wait(pool.max_connections).await;
        let limit = pool.connect_timeout.unwrap_or(self.local.context.config.limits.connect);
        let headers = self.source.headers.clone();
        let io = connect(self.local, &self.endpoint.dial, headers, limit).await?;
        fn http1(tls: &Origination) -> &Arc<ClientConfig> {
            &tls.http1
        }
        fn http2(tls: &Origination) -> &Arc<ClientConfig> {
            &tls.http2
        }
        let choose = if self.http2 { http2 } else { http1 };
        let io = originate(io, tls, limit, choose).await?;
        Ok((About::new(key, permit, now), io))
    }
}

// === impl SendError ===

impl SendError {
    /// Whether the endpoint has certainly not seen the request.
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NotSent(_) => true,
            Self::Refused(_) | Self::Gone => false,
            Self::Reset(error) => is_refused_stream(error),
        }
    }
}

/// Whether the peer said REFUSED_STREAM, which it does of requests that it has not looked at (RFC 9113 8.7). The
/// codec's error type is another crate's; its text is what there is.
fn is_refused_stream(error: &hyper::Error) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.into_iter().any(|cause| cause.to_string().contains("refused stream"))
}
