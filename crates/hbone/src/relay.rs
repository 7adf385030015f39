//! The bytes of a tunnel: a TCP socket on one side, an HTTP/2 stream on the other.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use ambit_net::{Counters, ResetOnDrop, Side, read_chunk, write_bytes};
use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::stream::{receive_error, send_all};
use crate::{Error, Pressure, Stream};

/// Moves bytes both ways until both directions have ended, in the caller's task.
///
/// `tcp_side` says which side of `counters` the socket is; the tunnel is the other. A half-close passes through as one; an error on one side becomes a reset on the other.
///
/// # Errors
/// The first failure of either side; both sides have been reset by then, as they are when the future is dropped.
pub fn relay(
    mut stream: Stream,
    tcp: TcpStream,
    counters: &Counters,
    tcp_side: Side,
) -> impl Future<Output = Result<(), Error>> + Send {
    let tcp = ResetOnDrop::new(tcp);
    // Both stay where the future has them: what an async function takes apart, it holds twice.
    async move {
        // As a whole: of a value of which only parts are named, only those would last as long.
        let Stream { send, recv, pressure, _slot } = &mut stream;
        let count = Count { counters, tcp_side, pressure };
        let ended = both(send, recv, &tcp, &count).await;
        match ended {
            Ok(()) => tcp.finish(),
            Err(_) => send.send_reset(Reason::CANCEL),
        }
        ended
    }
}

struct Count<'a> {
    counters: &'a Counters,
    tcp_side: Side,
    pressure: &'a Pressure,
}

impl Count<'_> {
    fn add_from_tcp(&self, bytes: usize) {
        self.counters.add(self.tcp_side, bytes);
    }

    fn add_to_tcp(&self, bytes: usize) {
        let tunnel = match self.tcp_side {
            Side::A => Side::B,
            Side::B => Side::A,
        };
        self.counters.add(tunnel, bytes);
    }
}

async fn both(
    send: &mut SendStream<Bytes>,
    recv: &mut RecvStream,
    tcp: &TcpStream,
    count: &Count<'_>,
) -> Result<(), Error> {
    let upload = upload(tcp, send, count);
    let download = download(recv, tcp, count);
    tokio::pin!(upload, download);
    tokio::select! {
        ended = &mut upload => {
            ended?;
            tokio::select! {
                ended = &mut download => ended,
                // Boxed, as few connections are half closed for long.
                error = Box::pin(failure(tcp)) => Err(error),
            }
        }
        ended = &mut download => {
            ended?;
            upload.await
        }
    }
}

async fn upload(
    tcp: &TcpStream,
    send: &mut SendStream<Bytes>,
    count: &Count<'_>,
) -> Result<(), Error> {
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = read_chunk(tcp) => chunk.map_err(Error::Tcp)?,
            reason = poll_fn(|cx| send.poll_reset(cx)) => return satisfied(Error::Reset(reason?)),
        };
        if chunk.is_empty() {
            send.send_data(Bytes::new(), true)?;
            return Ok(());
        }
        count.add_from_tcp(chunk.len());
        if let Err(error) = send_all(send, chunk).await {
            return satisfied(error);
        }
    }
}

/// A peer that has said everything and wants no more resets with NO_ERROR (RFC 9113 8.1). What it said is still to be
/// delivered.
fn satisfied(error: Error) -> Result<(), Error> {
    if error.is_satisfied() { Ok(()) } else { Err(error) }
}

async fn download(recv: &mut RecvStream, tcp: &TcpStream, count: &Count<'_>) -> Result<(), Error> {
    let mut next = poll_fn(|cx| poll_next(recv, cx)).await?;
    while let Some(data) = next {
        let n = data.len();
        // What came along is here already: an end can go out with the last bytes.
        let following = poll_fn(|cx| Poll::Ready(poll_next(recv, cx))).await;
        let is_last = matches!(following, Poll::Ready(Ok(None)));
        let write = pin!(write_bytes(tcp, data, is_last));
        count.pressure.write(write).await.map_err(Error::Tcp)?;
        count.add_to_tcp(n);
        recv.flow_control().release_capacity(n)?;
        next = match following {
            _ if is_last => return Ok(()),
            Poll::Ready(next) => next?,
            Poll::Pending => poll_fn(|cx| poll_next(recv, cx)).await?,
        };
    }
    match SockRef::from(tcp).shutdown(Shutdown::Write) {
        // The socket is gone already; if that was an error, reading from it tells.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        ended => ended.map_err(Error::Tcp),
    }
}

/// The next bytes of the tunnel, never none; `None` at its end.
fn poll_next(recv: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
    loop {
        return Poll::Ready(match ready!(recv.poll_data(cx)) {
            Some(Ok(data)) if data.is_empty() => continue,
            Some(Ok(data)) => Ok(Some(data)),
            Some(Err(error)) => match receive_error(error) {
                error if error.is_satisfied() => Ok(None),
                error => Err(error),
            },
            None => Ok(None),
        });
    }
}

/// Resolves when a socket that has no more to read turns out to be reset.
async fn failure(tcp: &TcpStream) -> Error {
    loop {
        if let Err(error) = tcp.ready(Interest::ERROR).await {
            return Error::Tcp(error);
        }
        match tcp.take_error() {
            Ok(Some(error)) | Err(error) => return Error::Tcp(error),
            // The event was old: wait for the next one.
            Ok(None) => {
                let _ = tcp.try_io(Interest::ERROR, || Err::<(), _>(ErrorKind::WouldBlock.into()));
            }
        }
    }
}
