//! What a server tells of a connection or request.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use http::HeaderMap;
use serde::Serialize;

/// Bytes of a body that are echoed; the rest is only counted.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// The JSON of every answer. Fields that do not apply are absent.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Seen {
    /// The instance.
    pub(crate) name: String,
    /// `HTTP/1.1`, `HTTP/2.0`, `websocket`, `grpc` or `tcp`.
    pub(crate) protocol: String,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The address it connected to.
    pub(crate) local: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Tls>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<Request>,
}

/// What the TLS handshake told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tls {
    pub(crate) version: String,
    pub(crate) sni: Option<String>,
    pub(crate) alpn: Option<String>,
}

/// What an HTTP or gRPC request told.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// The authority, or the `host` header.
    pub(crate) host: Option<String>,
    /// Values of one name are joined by `, `.
    pub(crate) headers: BTreeMap<String, String>,
    /// The body's beginning as text.
    pub(crate) body: String,
    /// The body's length.
    pub(crate) body_bytes: u64,
}

impl Seen {
    /// One line of JSON without its end.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

/// Headers by name.
pub(crate) fn headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all.entry(name.to_string())
            .and_modify(|joined: &mut String| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    all
}
