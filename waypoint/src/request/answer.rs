//! Responses of this process itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::cors::Granted;
use super::response::Content;
use ambit_telemetry::RequestFlag;

/// A response that no endpoint gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: StatusCode,
    /// What metrics and logs say of it.
    pub flag: RequestFlag,
    /// Why, in words.
    pub reason: Box<str>,
    body: Bytes,
    /// Boxed, because answers are errors on every request's way.
    headers: Box<HeaderMap>,
    grpc_status: Option<u32>,
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

// === impl Answer ===

impl Answer {
    pub(crate) fn new(status: StatusCode, flag: RequestFlag, reason: impl Into<Box<str>>) -> Self {
        let reason = reason.into();
        let body = Bytes::copy_from_slice(reason.as_bytes());
        Self { status, flag, reason, body, headers: Box::default(), grpc_status: None }
    }

    /// The request cannot be taken as it is.
    pub(crate) fn invalid(reason: impl Into<Box<str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, RequestFlag::Invalid, reason)
    }

    /// A policy says no.
    pub(crate) fn denied(reason: String) -> Self {
        let body = Bytes::from_static(b"RBAC: access denied");
        Self { body, ..Self::new(StatusCode::FORBIDDEN, RequestFlag::Denied, reason) }
    }

    /// The connection was opened for another host.
    pub(crate) fn misdirected() -> Self {
        let reason = "the connection was opened for another host";
        Self::new(StatusCode::MISDIRECTED_REQUEST, RequestFlag::Invalid, reason)
    }

    pub(crate) fn no_route(reason: &'static str) -> Self {
        Self {
            body: Bytes::new(),
            ..Self::new(StatusCode::NOT_FOUND, RequestFlag::NoRoute, reason)
        }
    }

    /// What a rule says that is to be answered.
    pub(crate) fn given(status: StatusCode, body: Bytes) -> Self {
        Self { body, ..Self::new(status, RequestFlag::None, "direct response") }
    }

    #[must_use]
    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    #[must_use]
    pub(crate) fn with_cors(mut self, cors: Granted) -> Self {
        cors.apply(&mut self.headers);
        self
    }

    #[must_use]
    pub(crate) fn with_grpc_status(self, status: u32) -> Self {
        Self { grpc_status: Some(status), ..self }
    }

    /// The response; a gRPC client is told in the way that it understands.
    pub(crate) fn into_response(self, grpc: bool) -> (Response<Content>, Option<u32>) {
        let mut response = Response::new(Content::Whole(Bytes::new()));
        *response.headers_mut() = *self.headers;
        if grpc || self.grpc_status.is_some() {
            let status = self.grpc_status.unwrap_or_else(|| grpc_status(self.status));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(GRPC_STATUS, HeaderValue::from(status));
            if let Ok(message) = HeaderValue::try_from(percent_encoded(&self.reason)) {
                headers.insert(GRPC_MESSAGE, message);
            }
            return (response, Some(status));
        }
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            let headers = response.headers_mut();
            headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
            *response.body_mut() = Content::Whole(self.body);
        }
        (response, None)
    }
}

/// The status that stands for one of HTTP (gRPC's "HTTP to gRPC Status Code Mapping").
fn grpc_status(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// How gRPC writes a message (its "PROTOCOL-HTTP2").
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
