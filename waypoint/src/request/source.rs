//! Where a request's body comes from.

use std::sync::Arc;

use http_body::Body as _;
use hyper::body::Incoming;

use super::exchange::Exchange;
use super::mirror;
use crate::body::{Body, Kept, Seen};

/// Where a request's body comes from.
pub(super) enum Source {
    None,
    /// It can be sent once.
    Once(Option<Body>),
    Kept(Kept),
}

// === impl Source ===

impl Source {
    /// The source of `body`, which the exchange counts.
    pub(super) fn new(exchange: &mut Exchange, body: Incoming, keep: bool) -> Self {
        if body.is_end_stream() {
            return Self::None;
        }
        let counted = Arc::new(if exchange.grpc { Seen::of_grpc() } else { Seen::default() });
        exchange.sent = Some(counted.clone());
        if keep {
            let limit = exchange.connection.local.context.config.limits.replay_bytes;
            Self::Kept(Kept::new(body, limit, counted))
        } else {
            Self::Once(Some(Body::Passed(body, counted)))
        }
    }

    /// A body for one more sending; none where there cannot be another.
    pub(super) fn next(&mut self) -> Option<Body> {
        match self {
            Self::None => Some(Body::Empty),
            Self::Once(body) => body.take(),
            Self::Kept(kept) => mirror::replay(kept),
        }
    }

    /// A body for a copy of the request.
    pub(super) fn copy(&self) -> Option<Body> {
        match self {
            Self::None => Some(Body::Empty),
            Self::Once(_) => None,
            Self::Kept(kept) => mirror::replay(kept),
        }
    }

    pub(super) fn is_repeatable(&self) -> bool {
        match self {
            Self::None => true,
            Self::Once(body) => body.is_some(),
            Self::Kept(kept) => kept.is_whole(),
        }
    }
}
