//! The response on its way to the client: its head as rules want it, its body counted to the end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use ambit_telemetry::RequestFlag;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::exchange::{End, Exchange};
use crate::destination::{Active, Permit};
use crate::grpc::Messages;
use crate::rules::{Action, Backend, Filter};
use crate::upstream::Lease;

/// What a response consists of.
pub(crate) enum Content {
    Whole(Bytes),
    Passed(Box<Passed>),
}

/// The body of an endpoint's response, and what it occupies until it has ended.
pub(crate) struct Passed {
    pub body: Incoming,
    pub lease: Option<Lease>,
    pub _active: Active,
    /// When the request's time is over.
    pub deadline: Option<Pin<Box<Sleep>>>,
    /// What else goes when it has ended.
    pub _permits: (Permit, Option<Permit>),
}

/// A change to the response's head that a rule, or one of its backends, asks for.
pub(crate) enum Edit {
    Rule(Arc<Action>, usize),
    Backend(Arc<Backend>, usize),
    /// A cookie that sticks the client to its endpoint.
    Cookie(Arc<HeaderValue>),
}

/// A response's body, which ends the exchange when it ends.
pub(crate) struct ResponseBody {
    content: Content,
    exchange: Option<Exchange>,
    end: End,
    /// Of a gRPC call.
    messages: Option<Messages>,
}

/// Why a response broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("the endpoint broke the response off: {0}")]
    Upstream(#[from] hyper::Error),
    #[error("the request's time is over")]
    TimedOut,
}

// === impl Edit ===

impl Edit {
    pub(super) fn of_rule(action: Arc<Action>, at: usize) -> Self {
        Self::Rule(action, at)
    }

    fn apply(&self, headers: &mut HeaderMap) {
        let filter = match self {
            Self::Rule(action, at) => action.filters.get(*at),
            Self::Backend(backend, at) => backend.filters.get(*at),
            Self::Cookie(cookie) => {
                headers.append(header::SET_COOKIE, HeaderValue::clone(cookie));
                None
            }
        };
        if let Some(Filter::ResponseHeaders(edit)) = filter {
            edit.apply(headers);
        }
    }
}

/// Puts the last touches to a response's head.
pub(super) fn finish(
    mut exchange: Exchange,
    mut response: Response<Content>,
) -> Response<ResponseBody> {
    for edit in std::mem::take(&mut exchange.response_edits) {
        edit.apply(response.headers_mut());
    }
    let end = End {
        status: response.status().as_u16(),
        grpc_status: grpc_status(response.headers()),
        ..End::default()
    };
    let messages = exchange.grpc.then(Messages::default);
    response.map(|content| ResponseBody { content, exchange: Some(exchange), end, messages })
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

// === impl ResponseBody ===

impl ResponseBody {
    fn finished(&mut self, complete: bool) {
        let Some(mut exchange) = self.exchange.take() else { return };
        if let Content::Passed(passed) = &mut self.content {
            if complete && let Some(lease) = passed.lease.take() {
                lease.release();
            } else if exchange.flag == RequestFlag::None {
                exchange.flag = RequestFlag::DownstreamGone;
            }
        }
        exchange.end(self.end);
    }

    fn broken(&mut self, flag: RequestFlag, error: ResponseError) -> ResponseError {
        if let Some(exchange) = &mut self.exchange {
            exchange.flag = flag;
            exchange.reason = Some(error.to_string().into());
        }
        self.finished(false);
        error
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)))
            }
            Content::Passed(passed) => match Pin::new(&mut passed.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    if let Some(deadline) = &mut passed.deadline {
                        ready!(deadline.as_mut().poll(cx));
                        let error = this.broken(RequestFlag::Timeout, ResponseError::TimedOut);
                        return Poll::Ready(Some(Err(error)));
                    }
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.end.response_bytes += data.len() as u64;
                    if let Some(messages) = &mut this.messages {
                        messages.see(data);
                        this.end.messages = messages.count;
                    }
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.end.grpc_status = grpc_status(trailers).or(this.end.grpc_status);
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(this.broken(RequestFlag::UpstreamReset, error.into()))),
            None => {
                this.finished(true);
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Passed(passed) => passed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Passed(passed) => passed.body.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    /// The codec does not read to the end where it knows that there is no more.
    fn drop(&mut self) {
        let complete = self.is_end_stream();
        self.finished(complete);
    }
}
