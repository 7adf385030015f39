//! One small HTTP request, for probes and for the mesh's own diagnostics.

use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use crate::room::Room;

/// How much of an answer is read, in bytes.
const BODY_LIMIT: usize = 64 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// A connection out of a room, from `source` if given.
pub(crate) async fn connect(
    room: &Room,
    source: Option<SocketAddr>,
    to: SocketAddr,
) -> io::Result<TcpStream> {
    let socket = room.run(move || {
        let socket = match to {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        source.map(|source| socket.bind(source)).transpose()?;
        Ok::<_, io::Error>(socket)
    });
    socket??.connect(to).await
}

/// Sends a request over a connection of its own.
pub(crate) async fn send(
    stream: TcpStream,
    request: Request<Empty<&'static [u8]>>,
) -> io::Result<Response> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The connection ends by itself when the sender is dropped.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
    let body = body.map_err(io::Error::other)?.to_bytes().to_vec();
    Ok(Response { status, body })
}

/// Asks what listens on the loopback of a room.
pub(crate) async fn get(room: &Room, port: u16, path: &str) -> io::Result<Response> {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    let stream = connect(room, None, to).await?;
    let request = Request::get(path).header("host", to.to_string()).body(Empty::new());
    send(stream, request.map_err(io::Error::other)?).await
}
