//! Bodies of requests to endpoints: none, passed through as it comes, or kept for another try while it passes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::grpc::Messages;

/// Any body that this process sends.
pub(crate) enum Body {
    Empty,
    /// As it comes from the other side.
    Passed(Incoming, Arc<Seen>),
    Kept(Replay),
}

/// A request body that is remembered while it is sent, so that it can be sent again, or to several at once.
pub(crate) struct Kept(Arc<Mutex<State>>);

/// One sending of a kept body.
pub(crate) struct Replay {
    state: Arc<Mutex<State>>,
    /// The number of the next chunk.
    next: usize,
    ended: bool,
}

struct State {
    /// What was read, unless it was more than `limit`.
    chunks: Vec<Bytes>,
    /// How many chunks were read.
    read: usize,
    bytes: usize,
    limit: usize,
    trailers: Option<HeaderMap>,
    rest: Option<Incoming>,
    /// Others who wait for the next chunk; the body itself remembers only the last who asked.
    waiting: Vec<Waker>,
    counted: Arc<Seen>,
    hint: SizeHint,
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error(transparent)]
    Received(#[from] hyper::Error),
    #[error("the body cannot be sent again: it is larger than what is kept")]
    Overflown,
}

/// What of a request body has passed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    bytes: AtomicU64,
    broken: AtomicBool,
    /// The messages, of a gRPC call.
    messages: Option<Mutex<Messages>>,
}

// === impl Seen ===

impl Seen {
    /// For a gRPC call, whose messages are counted.
    pub(crate) fn of_grpc() -> Self {
        Self { messages: Some(Mutex::default()), ..Self::default() }
    }

    fn see(&self, frame: Option<&hyper::Result<Frame<Bytes>>>) {
        let data = match frame {
            Some(Ok(frame)) => frame.data_ref(),
            Some(Err(_)) => return self.broken.store(true, Relaxed),
            None => None,
        };
        let Some(data) = data else { return };
        self.bytes.fetch_add(data.len() as u64, Relaxed);
        if let Some(messages) = &self.messages {
            messages.lock().see(data);
        }
    }

    /// Whether the client broke it off, or sent what is no body: no endpoint is to blame for what follows.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn messages(&self) -> u64 {
        self.messages.as_ref().map_or(0, |messages| messages.lock().count)
    }
}

// === impl Body ===

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Passed(incoming, counted) => {
                let frame = ready!(Pin::new(incoming).poll_frame(cx));
                counted.see(frame.as_ref());
                Poll::Ready(frame.map(|frame| Ok(frame?)))
            }
            Self::Kept(replay) => replay.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Passed(incoming, _) => incoming.is_end_stream(),
            Self::Kept(replay) => replay.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Passed(incoming, _) => incoming.size_hint(),
            Self::Kept(replay) => replay.state.lock().hint,
        }
    }
}

// === impl Kept ===

impl Kept {
    /// Keeps up to `limit` bytes of `body` while it is sent.
    pub(crate) fn new(body: Incoming, limit: usize, counted: Arc<Seen>) -> Self {
        let hint = body.size_hint();
        Self(Arc::new(Mutex::new(State {
            chunks: Vec::new(),
            read: 0,
            bytes: 0,
            limit,
            trailers: None,
            rest: Some(body),
            waiting: Vec::new(),
            counted,
            hint,
        })))
    }

    /// The body from its beginning.
    pub(crate) fn replay(&self) -> Body {
        Body::Kept(Replay { state: self.0.clone(), next: 0, ended: false })
    }

    /// Whether it can be sent from its beginning.
    pub(crate) fn is_whole(&self) -> bool {
        !self.0.lock().is_overflown()
    }
}

// === impl Replay ===

impl Replay {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut state = self.state.lock();
        if self.next < state.read {
            return Poll::Ready(Some(match state.chunks.get(self.next) {
                Some(chunk) => {
                    self.next += 1;
                    Ok(Frame::data(chunk.clone()))
                }
                None => Err(BodyError::Overflown),
            }));
        }
        match ready!(state.poll_rest(cx))? {
            Some(data) => {
                self.next += 1;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            None => {
                self.ended = true;
                Poll::Ready(state.trailers.clone().map(|trailers| Ok(Frame::trailers(trailers))))
            }
        }
    }
}

impl Drop for Replay {
    /// Whoever else waits has to ask for itself now.
    fn drop(&mut self) {
        self.state.lock().wake();
    }
}

// === impl State ===

impl State {
    /// The next chunk that nobody has read yet.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(None)) };
        let Poll::Ready(frame) = Pin::new(rest).poll_frame(cx) else {
            self.waiting.push(cx.waker().clone());
            return Poll::Pending;
        };
        self.counted.see(frame.as_ref());
        let frame = frame.transpose();
        self.wake();
        match frame?.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.keep(&data);
                Poll::Ready(Ok(Some(data)))
            }
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok();
                self.rest = None;
                Poll::Ready(Ok(None))
            }
            None => {
                self.rest = None;
                Poll::Ready(Ok(None))
            }
        }
    }

    fn keep(&mut self, data: &Bytes) {
        self.read += 1;
        self.bytes += data.len();
        if self.is_overflown() {
            self.chunks = Vec::new();
        } else {
            self.chunks.push(data.clone());
        }
    }

    fn is_overflown(&self) -> bool {
        self.bytes > self.limit
    }

    fn wake(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }
}
