//! A connection from its first byte to its last: find out what it speaks, then serve requests or pass bytes on.

use std::sync::Arc;

use ambit_proto::ambit::{ListenerProtocol, Protocol as Declared};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use crate::connection::Connection;
use crate::detect::{Protocol, sniff};
use crate::head_timer::{HeadTimer, Reads};
use crate::io::Io;
use crate::target::Target;
use crate::{request, tcp};

/// Streams that a client may have open on one HTTP/2 connection.
const STREAMS: u32 = 250;
/// Stream and connection windows: what of requests may be on its way.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Serves a client's connection to its end.
pub(crate) async fn connection(connection: Arc<Connection>, mut io: Io) {
    let limits = &connection.local.context.config.limits;
    let protocol = match declared(&connection) {
        Declared::Tcp => Protocol::Opaque,
        // Nothing else is spoken then, whatever comes (RFC 9113 3.3).
        Declared::Http2 if io.agreed_on_http2() => Protocol::Http2,
        declared => {
            // Only where anything may come may the server be the one to speak first.
            let limit =
                if declared == Declared::Detect { limits.detection } else { limits.header_read };
            let sniffed = connection.drain.ended.run_until_cancelled(sniff(&mut io, limit)).await;
            let Some(sniffed) = sniffed else { return };
            match sniffed {
                Ok((protocol, read)) => {
                    io = io.unread(read);
                    match (declared, protocol) {
                        (Declared::Detect | Declared::Tls, found) => found,
                        // What is declared as HTTP may come in either version, and is told if it is neither.
                        (_, Protocol::Http2) => Protocol::Http2,
                        _ => Protocol::Http1,
                    }
                }
                Err(error) => {
                    tracing::debug!(peer = %connection.peer, %error, "connection failed before it said anything");
                    return;
                }
            }
        }
    };
    match protocol {
        Protocol::Http1 => over_http1(connection, io).await,
        Protocol::Http2 => over_http2(connection, io).await,
        Protocol::Tls | Protocol::Opaque => tcp::pass(connection, io, protocol).await,
    }
}

fn declared(connection: &Connection) -> Declared {
    let rules = connection.local.context.rules.load();
    let (service, port) = match &connection.target {
        Target::Service { service, port } => (service, port),
        Target::Front { port, name } => {
            let spoken = rules.fronts.get(port).and_then(|front| front.spoken(name.as_deref()));
            return match spoken {
                Some(ListenerProtocol::PlainTcp | ListenerProtocol::TlsTerminated) => Declared::Tcp,
                Some(ListenerProtocol::TlsPassthrough) => Declared::Tls,
                // Either version, but nothing else.
                Some(ListenerProtocol::PlainHttp | ListenerProtocol::Https) => Declared::Http2,
                None => Declared::Detect,
            };
        }
        Target::Workload { .. } => return Declared::Detect,
    };
    let route = rules.services.get(&service.key());
    route.and_then(|route| route.port(*port)).map_or(Declared::Detect, |port| port.protocol)
}

async fn over_http1(connection: Arc<Connection>, io: Io) {
    let limits = &connection.local.context.config.limits;
    let shared = connection.clone();
    let service = service_fn(move |message| {
        let connection = shared.clone();
        async move { request::serve(connection, message).await }
    });
    let reads = Reads::default();
    let timer = HeadTimer::new(reads.clone(), limits.header_read, limits.client_idle);
    let serving = http1::Builder::new()
        .timer(timer)
        .header_read_timeout(limits.header_read)
        .preserve_header_case(connection.local.context.config.preserve_header_case)
        .max_buf_size(limits.header_bytes.max(8192))
        .serve_connection(TokioIo::new(io.counted(reads)), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        // What has come is read first: a codec that has read nothing yet closes at once when it drains.
        biased;
        ended = serving.as_mut() => ended,
        () = connection.drain.closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = connection.drain.ended.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %connection.peer, %error, "HTTP/1 connection ended");
    }
}

async fn over_http2(connection: Arc<Connection>, io: Io) {
    let limits = &connection.local.context.config.limits;
    let shared = connection.clone();
    let service = service_fn(move |message| {
        let connection = shared.clone();
        async move { request::serve(connection, message).await }
    });
    let serving = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        // What has come is read first: a codec that has read nothing yet closes at once when it drains.
        biased;
        ended = serving.as_mut() => ended,
        () = connection.drain.closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                ended = serving => ended,
                () = connection.drain.ended.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %connection.peer, %error, "HTTP/2 connection ended");
    }
}
