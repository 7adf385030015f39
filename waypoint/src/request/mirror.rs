//! Copies of requests, whose responses nobody waits for.

use std::sync::Arc;
use std::time::Instant;

use http::Request;
use http_body::Body as _;

use super::head::Head;
use super::version::wants_http2;
use crate::body::{Body, Kept};
use crate::connection::Connection;
use crate::destination::{Destination, Request as Asked};
use crate::rules::{Action, Filter};
use crate::upstream::{Try, send};

/// Sends the copies that `action` asks for. `body` is what the request itself is sent from; copies of bodies that are
/// larger than what is kept are cut off.
pub(super) fn mirror(
    connection: &Arc<Connection>,
    action: &Action,
    head: &Head,
    body: &dyn Fn() -> Option<Body>,
) {
    for mirror in &action.mirrors {
        if !mirror.wants(&mut rand::rng()) {
            continue;
        }
        let Ok(destination) = &mirror.backend.to else { continue };
        let Some(body) = body() else { continue };
        let http2 = wants_http2(connection, destination, head);
        let Ok(mut parts) = head.to_parts(http2) else { continue };
        for filter in &mirror.backend.filters {
            if let Filter::RequestHeaders(edit) = filter {
                edit.apply(&mut parts.headers);
            }
        }
        let request = Request::from_parts(parts, body);
        let copy = send_copy(connection.clone(), destination.clone(), request, http2);
        connection.drain.tasks.spawn(copy);
    }
}

async fn send_copy(
    connection: Arc<Connection>,
    destination: Arc<Destination>,
    request: Request<Body>,
    http2: bool,
) {
    let settings = destination.settings().clone();
    let endpoints = destination.endpoints();
    let began = Instant::now();
    let asked = Asked { hash: None, tried: &[], now: began };
    let chosen = destination.choice.choose(&endpoints, &settings, &asked, &mut rand::rng());
    let Some(endpoint) = chosen else { return };
    let active = endpoint.enter();
    let attempt = Try {
        local: &connection.local,
        destination: &destination,
        settings: &settings,
        endpoint: &active,
        source: &connection.source,
        http2,
        began,
    };
    match send(&attempt, &mut Some(request)).await {
        Ok(sent) => {
            let mut body = sent.response.into_body();
            while let Some(Ok(_)) = next(&mut body).await {}
            if body.is_end_stream() {
                sent.lease.release();
            }
        }
        Err(error) => {
            tracing::debug!(service = %destination.service, %error, "a mirrored request failed")
        }
    }
}

async fn next(
    body: &mut hyper::body::Incoming,
) -> Option<Result<http_body::Frame<bytes::Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| std::pin::Pin::new(&mut *body).poll_frame(cx)).await
}

/// A body from its beginning, where all of it is kept.
pub(super) fn replay(kept: &Kept) -> Option<Body> {
    kept.is_whole().then(|| kept.replay())
}
