//! What peers say, piece by piece.

use std::future::Future;
use std::net::Ipv4Addr;
use std::time::Duration;

use ambit_proto::ambit as proto;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use prost::Message;
use proto::filter::Kind;

use super::http1::goes_on;
use crate::destination::{HashKey, HashSource, hash_of, hash_text};
use crate::detect::{Protocol, detect};
use crate::grpc::Messages;
use crate::request::{Head, cookie};
use crate::rules::{Filter, Rewrite};
use crate::sni;
use crate::spans::Context;

/// The longest beginning after which it is known what is spoken.
const UNDECIDED: usize = 2049;

/// A connection's first bytes: what is decided is decided for good, and soon.
pub fn detection(data: &[u8]) {
    let whole = detect(data);
    assert!(whole.is_some() || data.len() <= UNDECIDED, "undecided after {} bytes", data.len());
    for end in (0..64).chain(2040..2060).filter(|end| *end < data.len()) {
        let begun = detect(data.get(..end).unwrap_or_default());
        assert!(begun.is_none() || begun == whole, "{begun:?} became {whole:?}");
    }
    let is_http2 = data.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(whole == Some(Protocol::Http2), is_http2);
    assert_eq!(whole == Some(Protocol::Tls), data.starts_with(&[0x16, 3]));
}

/// A TLS client's first bytes: the same name however they are cut, and all of them given back.
pub fn client_hello(data: &[u8]) {
    let read = |size: usize| {
        let pieces = Pieces { data, size: size.max(1) };
        let mut pieces = std::pin::pin!(async move { sni::client_hello(&mut { pieces }).await });
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match pieces.as_mut().poll(&mut context) {
            std::task::Poll::Ready(read) => read.ok(),
            std::task::Poll::Pending => None,
        }
    };
    let Some((name, bytes)) = read(usize::MAX) else {
        return assert!(read(1).is_none(), "in pieces it is a ClientHello");
    };
    assert_eq!(bytes, data.get(..bytes.len()).unwrap_or_default());
    for size in [1, 7] {
        let (cut, bytes) = read(size).unwrap_or_default();
        assert_eq!(cut, name, "in pieces of {size}");
        assert_eq!(bytes, data.get(..bytes.len()).unwrap_or_default());
    }
    if let Some(name) = name {
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
        let lower = data.to_ascii_lowercase();
        let found = lower.windows(name.len().max(1)).any(|window| window == name.as_bytes());
        // A record may end within the name.
        assert!(found || data.iter().filter(|byte| **byte == 0x16).count() > 1, "{name}");
    }
}

/// Gives bytes so many at a time.
struct Pieces<'a> {
    data: &'a [u8],
    size: usize,
}

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let size = self.size.min(buffer.remaining()).min(self.data.len());
        let (piece, rest) = self.data.split_at(size);
        buffer.put_slice(piece);
        self.data = rest;
        std::task::Poll::Ready(Ok(()))
    }
}

/// A call's bytes: the same number of messages however they are cut, and as many as a second reader finds.
pub fn grpc_messages(data: &[u8]) {
    let [size, stream @ ..] = data else { return };
    let (mut whole, mut cut) = (Messages::default(), Messages::default());
    whole.see(stream);
    for piece in stream.chunks(usize::from(*size).max(1)) {
        cut.see(piece);
    }
    let (mut rest, mut naive) = (stream, 0);
    while let Some(([_, length @ ..], after)) = rest.split_first_chunk::<5>() {
        naive += 1;
        let length = u32::from_be_bytes(*length) as usize;
        rest = after.get(length..).unwrap_or_default();
    }
    assert_eq!((whole.count, cut.count), (naive, naive));
}

/// Headers with a trace's context: what is told on is read as the same trace, a span of which is the parent.
pub fn trace_context(data: &[u8]) {
    let headers = headers(data);
    let Some(context) = Context::read(&headers) else { return };
    assert!(context.trace != 0 && context.span != 0, "{context:?} of {headers:?}");
    let child = context.child();
    let mut told = headers.clone();
    child.write(&mut told);
    let read = Context::read(&told);
    let seen = read.map(|read| (read.trace, read.span, read.sampled));
    assert_eq!(seen, Some((context.trace, child.span, true)), "{told:?}");
}

/// The fields of lines `name: value`.
fn headers(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Method, target and host in lines, then fields: both versions of HTTP.
pub fn request_head(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let (Some(method), Some(target)) = (lines.next(), lines.next()) else { return };
    let fields = headers(lines.next().unwrap_or_default());
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let mut request = http::Request::builder().method(method).uri(target).version(version);
        if let Some(headers) = request.headers_mut() {
            *headers = fields.clone();
        }
        let Ok(request) = request.body(()) else { return };
        let Ok(head) = Head::read(request.into_parts().0, "http") else { continue };
        let host = head.host();
        assert!(head.authority().starts_with(host), "{host} of {}", head.authority());
        assert!(!host.contains(['/', '@', '?', '#', ' ']), "{host}");
        goes_on(&head);
        // A head is the same the second time.
        let Ok(parts) = head.to_parts(false) else { continue };
        let again = Head::read(parts, "http").map(|again| {
            (again.authority().to_owned(), again.path_and_query().to_owned(), again.headers)
        });
        let (authority, path, headers) = again.unwrap_or_default();
        assert_eq!((&*authority, &*path), (head.authority(), head.path_and_query()));
        assert_eq!(headers, head.headers);
    }
}

/// A filter's bytes behind two of length, then the fields that it is applied to.
pub fn header_edit(data: &[u8]) {
    let Some((filter, fields)) = filter(data) else { return };
    let Ok(Filter::RequestHeaders(edit) | Filter::ResponseHeaders(edit)) =
        Filter::compile(filter.clone())
    else {
        return;
    };
    let Some(Kind::RequestHeaders(message) | Kind::ResponseHeaders(message)) = filter.kind else {
        return;
    };
    let mut headers = headers(fields);
    let before = headers.clone();
    edit.apply(&mut headers);
    let has = |headers: &HeaderMap, name: &str| headers.get_all(name).iter().count();
    for name in &message.remove {
        assert_eq!(has(&headers, name), 0, "{name} was removed");
    }
    let named = |list: &[proto::Header], name: &HeaderName| {
        list.iter().filter(|header| header.name.eq_ignore_ascii_case(name.as_str())).count()
    };
    for name in headers.keys() {
        let (set, added) = (named(&message.set, name), named(&message.add, name));
        let kept = if set > 0 { 1 } else { has(&before, name.as_str()) };
        assert_eq!(has(&headers, name.as_str()), kept + added, "{name}");
    }
    for value in headers.values() {
        assert!(!value.as_bytes().iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    }
    if let Ok(mut head) = head("/", "a.example") {
        head.edit(&edit);
        goes_on(&head);
    }
}

/// A filter's bytes behind two of length, then the path that it is applied to.
pub fn path_edit(data: &[u8]) {
    let Some((filter, path)) = filter(data) else { return };
    let Ok(Filter::Rewrite(rewrite)) = Filter::compile(filter) else { return };
    let Ok(path) = str::from_utf8(path) else { return };
    rewritten(&rewrite, path);
}

fn rewritten(rewrite: &Rewrite, path: &str) {
    for matched in [0, path.find('/').map_or(0, |at| at + 1), path.len()] {
        let Ok(mut head) = head(path, "a.example") else { return };
        let matched = matched.min(head.path().len());
        if head.rewrite(rewrite, matched).is_ok() {
            let Ok(parts) = head.to_parts(false) else { continue };
            let target = parts.uri.to_string();
            assert!(target.starts_with('/') || target == "*", "{target:?}");
            assert!(target.bytes().all(|b| b > b' ' && b != 0x7f), "{target:?}");
        }
    }
}

fn head(path: &str, host: &'static str) -> Result<Head, ()> {
    let request = http::Request::builder().uri(path).header(header::HOST, host);
    let parts = request.body(()).map_err(|_| ())?.into_parts().0;
    Head::read(parts, "http").map_err(|_| ())
}

fn filter(data: &[u8]) -> Option<(proto::Filter, &[u8])> {
    let (length, rest) = data.split_first_chunk::<2>()?;
    let (message, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((proto::Filter::decode(message).ok()?, rest))
}

/// A cookie's name, its path and its value in lines, then fields: what is set sticks.
pub fn sticky_cookie(data: &[u8]) {
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().and_then(|line| str::from_utf8(line).ok());
    let (Some(name), Some(path)) = (line(), line()) else { return };
    let fields = headers(lines.next().unwrap_or_default());
    let key = |headers| HashKey { headers, query: "", source: Ipv4Addr::LOCALHOST.into() };
    let message = proto::hash_key::Kind::Cookie(proto::Cookie {
        name: name.to_owned(),
        path: path.to_owned(),
        ttl: Some(60_000),
    });
    let Ok(source) = HashSource::compile(message) else { return };
    let _ = hash_of(&source, key(&fields));
    let ttl = Duration::from_secs(60);
    let value = "0123456789abcdef";
    let set = cookie(name, value, ttl, path);
    // The attributes are those that were meant, and the browser sends back the pair alone.
    let mut parts = set.split("; ");
    let pair = parts.next().unwrap_or_default();
    let known = ["HttpOnly", "Max-Age=60"];
    let path = format!("Path={path}");
    assert!(parts.all(|part| known.contains(&part) || *part == *path), "{set:?}");
    let mut headers = HeaderMap::new();
    if let Ok(pair) = HeaderValue::try_from(pair) {
        headers.insert(header::COOKIE, pair);
    }
    assert_eq!(hash_of(&source, key(&headers)), Some(hash_text(value)), "{set:?}");
}
