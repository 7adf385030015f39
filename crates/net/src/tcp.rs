//! Options of TCP connections, and ending one with a reset.

use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Options of a TCP connection; the default is what Istio's node proxy sets (protocol.md 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// `TCP_NODELAY`: send small segments at once.
    pub nodelay: bool,
    /// When to probe an idle peer; `None` leaves keepalive off.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: how long sent data may stay unacknowledged. `None` is the kernel's retry limit.
    pub user_timeout: Option<Duration>,
    /// `TCP_NOTSENT_LOWAT`: how many bytes the kernel takes that it cannot send yet. `None` is what its send buffer holds.
    pub unsent: Option<u32>,
}

/// What the kernel takes of a connection that streams share: at 1 Gb/s, a millisecond of it.
const SHARED_UNSENT: u32 = 128 << 10;

/// TCP keepalive. Times are rounded to whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe.
    pub time: Duration,
    /// Time between probes.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub retries: u32,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self {
            nodelay: true,
            keepalive: Some(Keepalive::default()),
            user_timeout: None,
            unsent: None,
        }
    }
}

impl TcpOptions {
    /// The same for a connection that streams share. What the kernel holds is ahead of whoever's turn is next, so that a
    /// bulk transfer would make all others wait for as long as a send buffer takes on its link.
    pub fn shared(self) -> Self {
        Self { unsent: Some(SHARED_UNSENT), ..self }
    }
}

impl Default for Keepalive {
    /// 180 s, 180 s, 9 probes.
    fn default() -> Self {
        Self { time: Duration::from_secs(180), interval: Duration::from_secs(180), retries: 9 }
    }
}

/// Sets `options` on a connected, connecting or listening TCP socket. Connections accepted from a listener inherit
/// them, so a listener that [`listen`](crate::listen) tuned leaves nothing to do for each connection.
///
/// # Errors
///
/// Whatever `setsockopt` reports; the options before the failing one stay set.
pub fn tune(socket: &impl AsFd, options: &TcpOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    if options.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(keepalive) = options.keepalive {
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(keepalive.time)
                .with_interval(keepalive.interval)
                .with_retries(keepalive.retries),
        )?;
    }
    if options.user_timeout.is_some() {
        socket.set_tcp_user_timeout(options.user_timeout)?;
    }
    if let Some(unsent) = options.unsent {
        socket.set_tcp_notsent_lowat(unsent)?;
    }
    Ok(())
}

/// Closes `stream` with a reset: the peer sees `ECONNRESET`, and what was not sent yet is dropped.
pub fn reset(stream: TcpStream) {
    prepare_reset(&stream);
}

fn prepare_reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "could not prepare a reset, closing in order instead");
    }
}

/// A connection that is reset when it is dropped before it has [finished](ResetOnDrop::finish), so that its peer can
/// tell one that was cut off from one that ended.
#[derive(Debug)]
pub struct ResetOnDrop {
    stream: TcpStream,
    finished: bool,
}

// === impl ResetOnDrop ===

impl ResetOnDrop {
    /// Guards `stream`.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, finished: false }
    }

    /// Closes the connection in order.
    pub fn finish(mut self) {
        self.finished = true;
    }
}

impl Deref for ResetOnDrop {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if !self.finished {
            prepare_reset(&self.stream);
        }
    }
}

/// Whether `error` says that the peer ended the connection abruptly (`ECONNRESET`, `EPIPE`, `ECONNABORTED`).
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
    )
}

/// Sends what the socket takes of `data` now.
pub(crate) fn send(stream: &TcpStream, data: &[u8]) -> io::Result<usize> {
    transfer(stream, data, 0)
}

/// The same where the end of the stream follows at once: a packet that is not full waits for it.
pub(crate) fn send_last(stream: &TcpStream, data: &[u8]) -> io::Result<usize> {
    transfer(stream, data, libc::MSG_MORE)
}

fn transfer(stream: &TcpStream, data: &[u8], flags: libc::c_int) -> io::Result<usize> {
    let transfer = || SockRef::from(stream).send_with_flags(data, flags | libc::MSG_NOSIGNAL);
    let mut tried = false;
    let sent = drain_hint(stream, Interest::WRITABLE, data.len(), || {
        tried = true;
        transfer()
    });
    match sent {
        // Of a new connection the runtime has not heard yet; it most likely takes what it is given.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock && !tried => transfer(),
        sent => sent,
    }
}

/// Runs `transfer`, a nonblocking read or write of up to `wanted` bytes, if the socket is thought ready. A transfer of
/// fewer bytes (but not none, the end) has exhausted the socket: the readiness is taken back at once, which spares the
/// call that would only report `WouldBlock`. Events that come in meanwhile are not lost.
pub(crate) fn drain_hint(
    stream: &TcpStream,
    interest: Interest,
    wanted: usize,
    transfer: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut short = None;
    let result = stream.try_io(interest, || match transfer()? {
        0 => Ok(0),
        moved if moved < wanted => {
            short = Some(moved);
            Err(io::ErrorKind::WouldBlock.into())
        }
        moved => Ok(moved),
    });
    short.map_or(result, Ok)
}
