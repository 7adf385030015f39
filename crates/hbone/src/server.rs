//! The server side of one HBONE connection.

use std::future::poll_fn;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::keepalive::{Keepalive, keepalive};
use crate::pressure::Windows;
use crate::sliced::Sliced;
use crate::{Authority, Config, Error, ParseAuthorityError, Pressure, Stream};

/// One connection that peers open tunnels on. [`Server::next`] has to be polled for anything to move.
pub struct Server<IO> {
    connection: Connection<Sliced<IO>, Bytes>,
    keepalive: Keepalive,
    windows: Windows,
    pressure: Pressure,
}

/// A request for a tunnel that waits for its answer; dropped unanswered, it is reset.
pub struct Connect {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    pressure: Pressure,
}

/// What a CONNECT is refused with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: no CONNECT, or its authority makes no sense here.
    BadRequest,
    /// 401: policy says no.
    Denied,
    /// 503: the destination is not known or cannot be reached.
    Unavailable,
}

// === impl Server ===

impl<IO: AsyncRead + AsyncWrite + Unpin> Server<IO> {
    /// Performs the HTTP/2 handshake on `io`.
    ///
    /// # Errors
    /// The peer speaks no HTTP/2.
    pub async fn handshake(io: IO, config: &Config) -> Result<Self, Error> {
        let mut connection = config.server().handshake(Sliced::new(io)).await?;
        let keepalive = keepalive(connection.ping_pong(), config);
        let pressure = config.pressure.clone();
        let windows = Windows::new(pressure.clone(), config.stream_window);
        Ok(Self { connection, keepalive, windows, pressure })
    }

    /// The next request, or `None` once the connection has ended in order. Cancel safe.
    ///
    /// # Errors
    /// The connection failed, or the peer stopped answering PINGs (which sends an abrupt GOAWAY).
    pub async fn next(&mut self) -> Option<Result<Connect, Error>> {
        let Self { connection, windows, .. } = self;
        let accept = poll_fn(|cx| {
            windows.adjust(|window| connection.set_initial_window_size(window));
            connection.poll_accept(cx)
        });
        tokio::select! {
            accepted = accept => {
                let (request, respond) = match accepted? {
                    Ok(accepted) => accepted,
                    Err(error) => return Some(Err(error.into())),
                };
                Some(Ok(Connect { request, respond, pressure: self.pressure.clone() }))
            }
            dead = &mut self.keepalive => {
                self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
                Some(Err(dead))
            }
        }
    }

    /// Sends GOAWAY; requests already made are still served by [`Server::next`], which then ends.
    pub fn graceful_shutdown(&mut self) {
        self.connection.graceful_shutdown();
    }

    /// Sends GOAWAY and ends every stream; [`Server::next`] flushes it and ends.
    pub fn abrupt_shutdown(&mut self) {
        self.connection.abrupt_shutdown(h2::Reason::NO_ERROR);
    }
}

// === impl Connect ===

impl Connect {
    /// Whether the method is CONNECT.
    pub fn is_connect(&self) -> bool {
        self.request.method() == Method::CONNECT
    }

    /// Where the tunnel shall end.
    ///
    /// # Errors
    /// The authority is neither `IP:port` nor `hostname:port`.
    pub fn authority(&self) -> Result<Authority, ParseAuthorityError> {
        self.request.uri().authority().map_or("", |a| a.as_str()).parse()
    }

    /// The request's headers.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Ends when the peer gives up waiting for the answer, or its connection breaks.
    pub async fn abandoned(&mut self) {
        // An error is as good as a reset: nobody waits any more.
        let _ = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }

    /// Answers 200 and opens the tunnel.
    ///
    /// # Errors
    /// The peer has given up meanwhile.
    pub fn accept(mut self, baggage: Option<HeaderValue>) -> Result<Stream, Error> {
        let mut response = Response::new(());
        if let Some(baggage) = baggage {
            response.headers_mut().insert("baggage", baggage);
        }
        let send = self.respond.send_response(response, false)?;
        Ok(Stream::new(send, self.request.into_body(), None, self.pressure))
    }

    /// Answers with the refusal's status and nothing else.
    pub fn refuse(mut self, refusal: Refusal) {
        let mut response = Response::new(());
        *response.status_mut() = refusal.status();
        if let Err(error) = self.respond.send_response(response, true) {
            tracing::debug!(%error, "the peer was gone before it could be refused");
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::UNAUTHORIZED,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
