//! How the HTTP codecs towards endpoints are set up.

use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::body::Body;
use crate::io::Io;

/// Stream and connection windows: what of responses may be on its way.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes of a response's header; of HTTP/1 it may have a hundred fields, which the codec has room for on its stack.
const MAX_HEADER_BYTES: usize = 128 << 10;

/// Speaks HTTP/1.1 on `io`, with the names of headers in the case that they came in where that is wanted; the connection runs in a task of its own.
pub(super) async fn http1(
    io: Io,
    preserve_header_case: bool,
) -> hyper::Result<http1::SendRequest<Body>> {
    let (send, connection) = http1::Builder::new()
        .preserve_header_case(preserve_header_case)
        .max_buf_size(MAX_HEADER_BYTES)
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "HTTP/1 connection with an endpoint ended");
        }
    });
    Ok(send)
}

/// Speaks HTTP/2 on `io`, with prior knowledge; the connection runs in a task of its own.
pub(super) async fn http2(io: Io) -> hyper::Result<http2::SendRequest<Body>> {
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .keep_alive_interval(Duration::from_secs(30))
        .handshake(TokioIo::new(io))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "HTTP/2 connection with an endpoint ended");
        }
    });
    Ok(send)
}
