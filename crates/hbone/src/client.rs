//! The client side of one HBONE connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use http::{HeaderMap, Method, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::keepalive::{Keepalive, keepalive};
use crate::pool::Slot;
use crate::pressure::Windows;
use crate::sliced::Sliced;
use crate::{Authority, Config, ConnectHeaders, Error, Pressure};

/// A handle to one connection on which CONNECT requests are made. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Bytes>,
    pub(crate) shared: Arc<Shared>,
}

/// The peer's answer to a CONNECT.
#[derive(Debug)]
pub struct Response {
    /// The headers that came with the 200.
    pub headers: HeaderMap,
}

/// Stands for the number of streams that the peer takes until its SETTINGS have come. No peer can say it, and one that
/// says nothing counts as `usize::MAX`.
pub(crate) const UNTOLD: usize = usize::MAX - 1;

/// How far a connection's life has got.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// The peer has not said yet how many streams it takes: there is place for one.
    Opening,
    Open,
    /// No new stream may be opened: it is going away, or was idle for too long.
    Retired,
    /// Every stream has ended.
    Ended,
}

/// What a connection's driver, its pool and its streams know of each other.
pub(crate) struct Shared {
    streams: AtomicUsize,
    max_streams: usize,
    answer_timeout: Duration,
    pub(crate) pressure: Pressure,
    last_used: Mutex<Instant>,
    phase: watch::Sender<Phase>,
    abort: Notify,
}

// === impl Client ===

impl Client {
    /// Performs the HTTP/2 handshake on `io` and drives the connection in a task of its own.
    ///
    /// # Errors
    /// The HTTP/2 preface could not be exchanged.
    pub async fn handshake<IO>(io: IO, config: &Config) -> Result<Self, Error>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (send, mut connection) = config.client().handshake(Sliced::new(io)).await?;
        let keepalive = keepalive(connection.ping_pong(), config);
        let shared = Arc::new(Shared {
            streams: AtomicUsize::new(0),
            max_streams: config.client_max_streams,
            answer_timeout: config.answer_timeout,
            pressure: config.pressure.clone(),
            last_used: Mutex::new(Instant::now()),
            phase: watch::Sender::new(Phase::Opening),
            abort: Notify::new(),
        });
        let idle = idle(shared.clone(), config.idle_timeout);
        let windows = Windows::new(config.pressure.clone(), config.stream_window);
        tokio::spawn(drive((connection, windows), keepalive, idle, shared.clone()));
        Ok(Self { send, shared })
    }

    /// Takes a place for one stream, unless the connection is full or retired.
    pub fn reserve(&self) -> Option<Slot> {
        Slot::new(self.clone())
    }

    /// Streams that the peer takes at a time.
    pub(crate) fn allowed_streams(&self) -> usize {
        if self.is_opening() { 1 } else { self.send.current_max_send_streams() }
    }

    /// Whether the peer has not said yet how many streams it takes.
    pub(crate) fn is_opening(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Opening
    }

    /// Resolves once the peer has said how many streams it takes, or never will.
    pub(crate) async fn opened(&self) {
        self.shared.reached(Phase::Open).await;
    }

    /// Whether no new stream may be opened.
    pub fn is_retired(&self) -> bool {
        self.shared.is_retired()
    }

    /// Ends the connection and every stream on it.
    pub fn abort(&self) {
        self.shared.retire();
        self.shared.abort.notify_one();
    }

    /// Resolves once no new stream may be opened.
    pub async fn retired(&self) {
        self.shared.reached(Phase::Retired).await;
    }

    /// Resolves once the connection and all its streams have ended.
    pub async fn ended(&self) {
        self.shared.reached(Phase::Ended).await;
    }

    pub(crate) async fn open(
        &self,
        authority: &Authority,
        headers: ConnectHeaders,
    ) -> Result<(http::Response<h2::RecvStream>, h2::SendStream<Bytes>), Error> {
        let mut request =
            Request::builder().method(Method::CONNECT).uri(authority.to_string()).body(())?;
        headers.write(request.headers_mut());
        let answer = async {
            let mut send = self.send.clone().ready().await?;
            let (response, stream) = send.send_request(request, false)?;
            Ok((response.await?, stream))
        };
        timeout(self.shared.answer_timeout, answer).await.unwrap_or(Err(Error::NoAnswer))
    }
}

/// Runs the connection to its end; retires it first when it has been idle for too long.
async fn drive<IO>(
    (mut connection, windows): (Connection<IO, Bytes>, Windows),
    mut keepalive: Keepalive,
    idle: impl Future<Output = ()>,
    shared: Arc<Shared>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let connection = run(&mut connection, windows, &shared);
    tokio::pin!(connection, idle);
    let mut is_idle = false;
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended.map_err(Error::from),
            dead = &mut keepalive => break Err(dead),
            () = shared.abort.notified() => break Err(Error::Closed),
            () = &mut idle, if !is_idle => {
                is_idle = true;
                shared.retire();
            }
        }
    };
    shared.phase.send_replace(Phase::Ended);
    if let Err(error) = ended {
        tracing::debug!(%error, "HBONE connection ended");
    }
}

/// Polls the connection to its end; opens it once the peer's SETTINGS have come.
async fn run<IO>(
    connection: &mut Connection<IO, Bytes>,
    mut windows: Windows,
    shared: &Shared,
) -> Result<(), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut told = false;
    poll_fn(|cx| {
        windows.adjust(|window| connection.set_initial_window_size(window));
        let ended = Pin::new(&mut *connection).poll(cx);
        if !told && connection.max_concurrent_send_streams() != UNTOLD {
            told = true;
            shared.advance(Phase::Open);
        }
        ended
    })
    .await
}

/// Resolves once the connection has had no stream for `timeout`.
async fn idle(shared: Arc<Shared>, timeout: Duration) {
    loop {
        let deadline = *shared.last_used.lock() + timeout;
        tokio::time::sleep_until(deadline).await;
        if shared.streams.load(Ordering::Relaxed) == 0
            && shared.last_used.lock().elapsed() >= timeout
        {
            return;
        }
        if Instant::now() >= deadline {
            *shared.last_used.lock() = Instant::now();
        }
    }
}

// === impl Shared ===

impl Shared {
    pub(crate) fn retire(&self) {
        self.advance(Phase::Retired);
    }

    /// Life goes forward only.
    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    fn is_retired(&self) -> bool {
        *self.phase.borrow() >= Phase::Retired
    }

    async fn reached(&self, least: Phase) {
        // The sender lives as long as `self`, so this ends with the phase and not with an error.
        let _ = self.phase.subscribe().wait_for(|phase| *phase >= least).await;
    }

    /// Takes a place among `max_streams` and the `allowed` that the peer takes at a time.
    pub(crate) fn try_reserve(&self, allowed: usize) -> bool {
        let limit = self.max_streams.min(allowed);
        let take = |n| (n < limit).then_some(n + 1);
        !self.is_retired()
            && self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(crate) fn release(&self) {
        *self.last_used.lock() = Instant::now();
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
