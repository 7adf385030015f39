//! WebSocket: the first message tells what the server saw, then every message comes back.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::seen::{self, Seen};

use super::Connection;

/// Whether the request asks for a WebSocket.
pub(super) fn is_upgrade<B>(request: &Request<B>) -> bool {
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    request.headers().get(UPGRADE).is_some_and(websocket)
}

/// Accepts the upgrade and serves it in a task of its own.
pub(super) fn accept(request: Request<Incoming>, connection: Connection) -> Response<Empty<Bytes>> {
    let mut response = Response::new(Empty::new());
    let accept =
        request.headers().get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let Some(accept) = accept.and_then(|accept| HeaderValue::try_from(accept).ok()) else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let mut seen = connection.seen("websocket");
    seen.request = Some(head(&request));
    tokio::spawn(async move {
        if let Err(error) = echo(request, seen).await {
            eprintln!("{}: {error:#}", connection.peer);
        }
    });
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(HeaderMap::from_iter([
        (UPGRADE, HeaderValue::from_static("websocket")),
        (CONNECTION, HeaderValue::from_static("upgrade")),
        (SEC_WEBSOCKET_ACCEPT, accept),
    ]));
    response
}

async fn echo(request: Request<Incoming>, seen: Seen) -> anyhow::Result<()> {
    let upgraded = TokioIo::new(hyper::upgrade::on(request).await?);
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    socket.send(Message::text(seen.to_line())).await?;
    while let Some(message) = socket.next().await {
        match message {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).await?,
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn head<B>(request: &Request<B>) -> seen::Request {
    let host = request.headers().get(http::header::HOST);
    seen::Request {
        method: request.method().to_string(),
        path: request.uri().to_string(),
        host: host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned()),
        headers: seen::headers(request.headers()),
        body: String::new(),
        body_bytes: 0,
    }
}
