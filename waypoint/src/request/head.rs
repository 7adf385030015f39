//! The head of a request: checked, and in one form whichever way it was written.

use std::net::IpAddr;

use ambit_policy::{EncodedSlashes, RequestPath};
use http::header::Entry;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header, request};

use super::answer::Answer;
use crate::rules::{HeaderEdit, Rewrite};

/// A request's head. The host is apart from the headers, and the headers are those that go on.
#[derive(Debug)]
pub(crate) struct Head {
    pub method: Method,
    pub scheme: &'static str,
    authority: HeaderValue,
    path: PathAndQuery,
    pub headers: HeaderMap,
    pub version: Version,
    pub extensions: http::Extensions,
    /// What the client wants to speak instead of HTTP.
    pub upgrade: Option<HeaderValue>,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers that are about one connection alone (RFC 9110 7.6.1).
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

// === impl Head ===

impl Head {
    /// Reads what the codec has parsed.
    ///
    /// # Errors
    /// The request can be understood in more than one way.
    pub(crate) fn read(mut parts: request::Parts, scheme: &'static str) -> Result<Self, Answer> {
        if parts.method == Method::CONNECT {
            return Err(Answer::invalid("CONNECT is not served here"));
        }
        let authority = authority(&parts)?;
        if parts.headers.contains_key(header::TRANSFER_ENCODING)
            && parts.headers.contains_key(header::CONTENT_LENGTH)
        {
            return Err(Answer::invalid("both content-length and transfer-encoding"));
        }
        let upgrade = upgrade(&parts.headers);
        strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(header::HOST);
        let path = normal_path(&parts)?;
        Ok(Self {
            method: parts.method,
            scheme,
            authority,
            path,
            headers: parts.headers,
            version: parts.version,
            extensions: parts.extensions,
            upgrade,
        })
    }

    /// The host that is asked for, as it was written, with its port if there is one.
    pub(crate) fn authority(&self) -> &str {
        self.authority.to_str().unwrap_or_default()
    }

    /// The host that is asked for, without a port.
    pub(crate) fn host(&self) -> &str {
        host_of(self.authority())
    }

    pub(crate) fn path(&self) -> &str {
        self.path.path()
    }

    /// Without the question mark; empty where there is none.
    pub(crate) fn query(&self) -> &str {
        self.path.query().unwrap_or_default()
    }

    pub(crate) fn path_and_query(&self) -> &str {
        self.path.as_str()
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.headers.get(header::CONTENT_TYPE).is_some_and(|kind| is_grpc(kind.as_bytes()))
    }

    /// The last hop that `X-Forwarded-For` names: who asked the proxy that sent this, if that one can be believed.
    pub(crate) fn client_of_gateway(&self) -> Option<IpAddr> {
        let hops = self.headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
        hops.rsplit(',').next()?.trim().parse().ok()
    }

    /// Says who has asked, at the edge: endpoints see a gateway as their client. An id is given to those without one.
    pub(crate) fn forwarded_for(&mut self, client: &HeaderValue) {
        match self.headers.entry(X_FORWARDED_FOR) {
            Entry::Vacant(list) => {
                list.insert(client.clone());
            }
            Entry::Occupied(mut list) => {
                let hops = list.iter().chain([client]).map(HeaderValue::as_bytes);
                let hops = hops.collect::<Vec<_>>().join(&b", "[..]);
                if let Ok(hops) = HeaderValue::from_bytes(&hops) {
                    list.insert(hops);
                }
            }
        }
        self.headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(self.scheme));
        if let Entry::Vacant(id) = self.headers.entry(X_REQUEST_ID)
            && let Ok(new) = HeaderValue::from_bytes(&request_id(rand::random()))
        {
            id.insert(new);
        }
    }

    pub(crate) fn edit(&mut self, edit: &HeaderEdit) {
        edit.apply(&mut self.headers);
        self.headers.remove(header::HOST);
        if let Some(host) = edit.host() {
            self.authority = host.clone();
        }
    }

    pub(crate) fn rewrite(&mut self, to: &Rewrite, matched: usize) -> Result<(), Answer> {
        if let Some(host) = &to.hostname {
            self.authority = host.clone();
        }
        if let Some(edit) = &to.path {
            let mut path = edit.apply(self.path.path(), matched);
            // Endpoints are asked for a path, whatever is left of it.
            if !path.starts_with('/') {
                path.insert(0, '/');
            }
            let text = match self.path.query() {
                // A new path may bring a query of its own.
                Some(query) if !path.contains('?') => format!("{path}?{query}"),
                _ => path,
            };
            self.path = PathAndQuery::try_from(text.as_bytes())
                .map_err(|_| Answer::invalid("the rewritten path is no path"))?;
        }
        Ok(())
    }

    /// The head of the request to an endpoint.
    pub(crate) fn to_parts(&self, http2: bool) -> Result<request::Parts, Answer> {
        let mut request = http::Request::new(());
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = Some(self.path.clone());
        if http2 {
            let authority = Authority::try_from(self.authority.as_bytes())
                .map_err(|_| Answer::invalid("the host is no host"))?;
            uri.authority = Some(authority);
            uri.scheme = Some(if self.scheme == "https" { Scheme::HTTPS } else { Scheme::HTTP });
            *request.version_mut() = Version::HTTP_2;
        } else {
            request.headers_mut().insert(header::HOST, self.authority.clone());
            // Trailers can only be taken where they are asked for, which is said for each connection.
            if request.headers().contains_key(header::TE) {
                let te = HeaderValue::from_static("TE");
                request.headers_mut().append(header::CONNECTION, te);
            }
            if let Some(upgrade) = &self.upgrade {
                request.headers_mut().insert(header::UPGRADE, upgrade.clone());
                let value = HeaderValue::from_static("Upgrade");
                request.headers_mut().insert(header::CONNECTION, value);
            }
        }
        *request.uri_mut() =
            Uri::from_parts(uri).map_err(|_| Answer::invalid("the target is no URI"))?;
        Ok(request.into_parts().0)
    }
}

/// A random UUID of version 4 (RFC 9562 5.4), as text.
fn request_id(random: u128) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let bits = random & !(0xf << 76) & !(0b11 << 62) | 0x4 << 76 | 0b10 << 62;
    let mut nibbles = (0..32).rev().map(|at| (bits >> (4 * at)) as usize & 0xf);
    std::array::from_fn(|at| match at {
        8 | 13 | 18 | 23 => b'-',
        _ => nibbles.next().and_then(|nibble| DIGITS.get(nibble)).copied().unwrap_or(b'0'),
    })
}

/// The path in the one form in which it is judged, routed by and sent on.
fn normal_path(parts: &request::Parts) -> Result<PathAndQuery, Answer> {
    // What is neither a path nor a whole URI reads as a host, which only CONNECT asks for.
    let target = parts.uri.path_and_query();
    let target = target.ok_or_else(|| Answer::invalid("the request's target is no path"))?;
    let method = parts.method.as_str();
    let text = target.as_str().as_bytes();
    let normal = RequestPath::parse(method, text, EncodedSlashes::default())
        .map_err(|refused| Answer::invalid(refused.to_string()))?;
    if !normal.is_rewritten() {
        // That of a URI without a path would be written as nothing.
        return Ok(match target.as_str() {
            "/" => PathAndQuery::from_static("/"),
            _ => target.clone(),
        });
    }
    let text = match normal.query() {
        Some(query) => format!("{}?{query}", normal.path()),
        None => normal.path().to_owned(),
    };
    PathAndQuery::try_from(text).map_err(|_| Answer::invalid("the path is no path"))
}

/// Whether a content type is one of gRPC.
pub(super) fn is_grpc(kind: &[u8]) -> bool {
    kind.strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+") || rest.starts_with(b";"))
}

pub(super) fn host_of(authority: &str) -> &str {
    let end = match authority.rfind(':') {
        Some(colon) if !authority.get(colon..).is_some_and(|rest| rest.contains(']')) => colon,
        _ => authority.len(),
    };
    authority.get(..end).unwrap_or(authority)
}

/// The one host that a request is for: of the target where it names one (RFC 9112 3.2.2), else of the Host header.
fn authority(parts: &request::Parts) -> Result<HeaderValue, Answer> {
    let request::Parts { uri, headers, version, .. } = parts;
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Answer::invalid("more than one Host header"));
    }
    // In HTTP/1 a target's host goes before the header; in HTTP/2 both have to say the same (RFC 9113 8.3.1).
    if *version == Version::HTTP_2
        && let (Some(authority), Some(host)) = (uri.authority(), host)
        && !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes())
    {
        return Err(Answer::invalid("the Host header differs from the authority"));
    }
    let authority = match (uri.authority(), host) {
        (Some(authority), _) => HeaderValue::try_from(authority.as_str()),
        (None, Some(host)) => Ok(host.clone()),
        (None, None) => return Err(Answer::invalid("no Host header")),
    };
    let authority = authority.map_err(|_| Answer::invalid("the host is no host"))?;
    // No user information, and nothing that an endpoint could read as a path.
    let valid = authority
        .as_bytes()
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+,;=".contains(byte));
    if valid { Ok(authority) } else { Err(Answer::invalid("the host is no host")) }
}

/// What the client wants to change to, where it says so in both places that it has to. Other versions of HTTP are not
/// changed to: nothing would judge the requests that follow.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let named = connection_options(headers).any(|option| option.eq_ignore_ascii_case("upgrade"));
    let is_http = |protocol: &str| {
        let name = protocol.trim().split('/').next().unwrap_or_default().to_ascii_lowercase();
        ["h2", "h2c", "http", "tls"].contains(&name.as_str())
    };
    let mut lines = headers.get_all(header::UPGRADE).iter();
    let (first, more) = (lines.next()?, lines.next());
    let text = first.to_str().ok()?;
    (named && more.is_none() && !text.split(',').any(is_http)).then(|| first.clone())
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).map(str::trim)
}

/// Removes what is meant for this process alone, the headers named by `Connection` among them. Of `TE` nothing but
/// `trailers` is passed on.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = connection_options(headers)
            .filter_map(|option| HeaderName::try_from(option).ok())
            .filter(|name| *name != header::TE)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(te) = headers.get(header::TE) {
        let trailers = te.to_str().is_ok_and(|te| te.split(',').any(|t| t.trim() == "trailers"));
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        } else {
            headers.remove(header::TE);
        }
    }
}

#[cfg(test)]
mod tests;
