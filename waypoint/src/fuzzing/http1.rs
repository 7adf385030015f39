//! A connection of HTTP/1, from its bytes to what an endpoint would be sent, beside a reader that knows less.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use ambit_policy::{EncodedSlashes, RequestPath};
use http::{HeaderMap, Method, Request, Response, header, request};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::request::Head;

/// More often than any input of a few kilobytes can make a connection wait.
const POLLS: usize = 10_000;

/// All that comes on a connection, as the codec and the checks of the head take it.
pub fn http1_request(data: &[u8]) {
    let seen = RefCell::new(Vec::new());
    let service = service_fn(|message: Request<Incoming>| {
        let (parts, body) = message.into_parts();
        let came = (parts.method.clone(), parts.uri.clone());
        let answer = Head::read(parts, "http").map(|head| goes_on(&head));
        seen.borrow_mut().push(came);
        async move {
            let whole = drain(body).await;
            let status = if answer.is_ok() && whole { 200 } else { 400 };
            let mut response = Response::new(String::new());
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(tokio::io::join(data, tokio::io::sink()));
    let serving = http1::Builder::new().max_headers(100).serve_connection(io, service);
    assert!(ends(serving), "the connection does not end");
    agree(&seen.borrow(), data);
}

/// Polls to the end what never has to wait for anybody else.
fn ends(future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    (0..POLLS).any(|_| future.as_mut().poll(&mut context).is_ready())
}

async fn drain(mut body: Incoming) -> bool {
    loop {
        match poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
            None => return true,
        }
    }
}

/// What is sent on cannot be misread.
pub(super) fn goes_on(head: &Head) {
    let Ok(parts) = head.to_parts(false) else { return };
    let request::Parts { uri, headers, .. } = &parts;
    assert_eq!(headers.get_all(header::HOST).iter().count(), 1, "{parts:?}");
    assert!(!headers.contains_key(header::TRANSFER_ENCODING), "{parts:?}");
    assert!(connection(headers).all(|option| option == "TE" || option == "Upgrade"), "{parts:?}");
    for value in headers.values() {
        let bytes = value.as_bytes();
        assert!(!bytes.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)), "{parts:?}");
    }
    let target = uri.to_string();
    assert!(target.starts_with('/') || target == "*", "{target:?}");
    assert!(target.bytes().all(|b| b > b' ' && b != 0x7f), "{target:?}");
    let judged =
        RequestPath::parse(head.method.as_str(), target.as_bytes(), EncodedSlashes::default());
    let judged = judged.map(|path| (path.path().to_owned(), path.is_rewritten()));
    assert_eq!(judged, Ok((head.path().to_owned(), false)), "{target:?} is sent");
    if let Ok(parts) = head.to_parts(true) {
        let authority = parts.uri.authority().map(|authority| authority.as_str());
        assert_eq!(authority, Some(head.authority()));
        assert!(!parts.headers.contains_key(header::HOST), "{parts:?}");
    }
}

fn connection(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// The requests are those that a reader finds who knows lines, lengths and nothing else; as far as that one goes.
fn agree(seen: &[(Method, http::Uri)], data: &[u8]) {
    let mut naive = data;
    for (method, uri) in seen {
        let Poll::Ready(Some(line)) = next(&mut naive) else { return };
        let begins = format!("{method} ");
        assert!(line.starts_with(begins.as_bytes()), "{method} {uri} instead of {line:?}");
    }
}

/// The first line of the next request, whose body is passed over. `Pending` where there are chunks.
fn next<'a>(data: &mut &'a [u8]) -> Poll<Option<&'a [u8]>> {
    let mut lines = data.split_inclusive(|byte| *byte == b'\n');
    let (mut used, mut first, mut length) = (0, None, 0);
    for raw in lines.by_ref() {
        used += raw.len();
        let line = raw.strip_suffix(b"\n").unwrap_or(raw);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match (first, line) {
            (None, b"") => {}
            (None, line) => first = Some(line),
            (Some(_), b"") => break,
            (Some(_), line) => {
                let text = String::from_utf8_lossy(line).to_ascii_lowercase();
                if text.starts_with("transfer-encoding") || text.starts_with("upgrade") {
                    return Poll::Pending;
                }
                if let Some(value) = text.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or(0);
                }
            }
        }
    }
    *data = data.get(used..).and_then(|rest| rest.get(length..)).unwrap_or_default();
    Poll::Ready(first)
}
