//! What sticks a request to an endpoint.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::exchange::Exchange;
use super::head::Head;
use super::response::Edit;
use crate::destination::{HashKey, HashSource, Settings, hash_of, hash_text};

/// The request's hash. Where it is a cookie's and the request has none, the response sets one.
pub(super) fn hash(exchange: &mut Exchange, settings: &Settings, head: &Head) -> Option<u64> {
    let source = settings.hash.as_ref()?;
    let key = HashKey {
        headers: &head.headers,
        query: head.query(),
        source: exchange.connection.peer.ip(),
    };
    let found = hash_of(source, key);
    let HashSource::Cookie { name, path, ttl: Some(ttl) } = source else { return found };
    if found.is_some() {
        return found;
    }
    let value = format!("{:016x}", rand::random::<u64>());
    if let Ok(cookie) = HeaderValue::try_from(cookie(name, &value, *ttl, path)) {
        exchange.response_edits.push(Edit::Cookie(Arc::new(cookie)));
    }
    Some(hash_text(&value))
}

/// A cookie as responses set it; one without `ttl` is for the session.
pub(crate) fn cookie(name: &str, value: &str, ttl: Duration, path: &str) -> String {
    let mut cookie = format!("{name}={value}; HttpOnly");
    if !ttl.is_zero() {
        cookie.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
    }
    if !path.is_empty() {
        cookie.push_str(&format!("; Path={path}"));
    }
    cookie
}
