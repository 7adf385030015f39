//! HTTP/1.1, HTTP/2 and WebSocket upgrades on one port.
//!
//! Query parameters shape the answer: `status=503`, `delay=<milliseconds>`, `bytes=<n>` (so many bytes instead of JSON).

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::seen::{self, MAX_BODY};

use super::{Connection, websocket};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The size of the pieces of a generated body.
const PIECE: &[u8] = &[b'.'; 16 * 1024];

/// Serves one connection to its end; after `closing` only to the end of what was asked.
pub(super) async fn serve<I>(
    stream: I,
    connection: Connection,
    closing: CancellationToken,
) -> Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(answer(request, connection).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new());
    let mut serving = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let done = tokio::select! {
        // What has been asked is read first: before it knows the version, the server would just close.
        biased;
        done = serving.as_mut() => done,
        () = closing.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    done.map_err(|error| anyhow!(error))
}

async fn answer(request: Request<Incoming>, connection: Connection) -> Response<Body> {
    if websocket::is_upgrade(&request) {
        return websocket::accept(request, connection).map(BodyExt::boxed_unsync);
    }
    let wanted = Wanted::of(request.uri().query().unwrap_or_default());
    let mut seen = connection.seen(format!("{:?}", request.version()));
    match read(request).await {
        Ok(request) => seen.request = Some(request),
        Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
    }
    tokio::time::sleep(wanted.delay).await;
    let mut response = match wanted.bytes {
        Some(bytes) => Response::new(generated(bytes)),
        None => Response::new(Full::from(seen.to_line() + "\n").boxed_unsync()),
    };
    *response.status_mut() = wanted.status;
    let content_type = if wanted.bytes.is_some() { "text/plain" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// What the query asks for; what it does not say or says wrongly is left at its default.
struct Wanted {
    status: StatusCode,
    delay: Duration,
    bytes: Option<u64>,
}

impl Wanted {
    fn of(query: &str) -> Self {
        let mut wanted = Self { status: StatusCode::OK, delay: Duration::ZERO, bytes: None };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match key.as_ref() {
                "status" => wanted.status = value.parse().unwrap_or(wanted.status),
                "delay" => wanted.delay = value.parse().map_or(wanted.delay, Duration::from_millis),
                "bytes" => wanted.bytes = value.parse().ok(),
                _ => {}
            }
        }
        wanted
    }
}

async fn read(request: Request<Incoming>) -> Result<seen::Request, hyper::Error> {
    let (head, mut body) = request.into_parts();
    let (mut beginning, mut body_bytes) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            body_bytes += data.len() as u64;
            let room = MAX_BODY - beginning.len();
            beginning.extend(data.iter().take(room));
        }
    }
    let host = head.uri.authority().map(ToString::to_string).or_else(|| {
        head.headers.get(HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
    });
    Ok(seen::Request {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        host,
        headers: seen::headers(&head.headers),
        body: String::from_utf8_lossy(&beginning).into_owned(),
        body_bytes,
    })
}

fn generated(bytes: u64) -> Body {
    let pieces = stream::unfold(bytes, |left| async move {
        let length = left.min(PIECE.len() as u64);
        let piece = PIECE.get(..usize::try_from(length).ok()?).filter(|piece| !piece.is_empty())?;
        Some((Ok(Frame::data(Bytes::from_static(piece))), left - length))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn plain(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::from(text).boxed_unsync());
    *response.status_mut() = status;
    response
}
