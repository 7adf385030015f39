//! An open tunnel.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::Slot;
use crate::{Error, Pressure};

/// Both directions of an accepted CONNECT. Dropping it before both have ended resets the stream.
pub struct Stream {
    pub(crate) send: SendStream<Bytes>,
    pub(crate) recv: RecvStream,
    pub(crate) pressure: Pressure,
    /// The place on a pooled connection, given back when the tunnel ends.
    pub(crate) _slot: Option<Slot>,
}

/// A [`Stream`] as a byte stream, for a session inside the tunnel.
pub struct StreamIo {
    stream: Stream,
    unread: Bytes,
    shut: bool,
}

// === impl Stream ===

impl Stream {
    pub(crate) fn new(
        send: SendStream<Bytes>,
        recv: RecvStream,
        slot: Option<Slot>,
        pressure: Pressure,
    ) -> Self {
        Self { send, recv, pressure, _slot: slot }
    }

    /// The tunnel as a byte stream.
    pub fn into_io(self) -> StreamIo {
        StreamIo { stream: self, unread: Bytes::new(), shut: false }
    }

    /// Resets the stream: the peer sees an error, not an end.
    pub fn reset(mut self) {
        self.send.send_reset(Reason::CANCEL);
    }
}

/// Sends all of `chunk` in frames as large as flow control lets them be.
pub(crate) async fn send_all(send: &mut SendStream<Bytes>, mut chunk: Bytes) -> Result<(), Error> {
    while !chunk.is_empty() {
        send.reserve_capacity(chunk.len());
        let capacity = match send.capacity() {
            0 => poll_fn(|cx| poll_capacity(send, cx)).await?,
            ready => ready,
        };
        send.send_data(chunk.split_to(capacity.min(chunk.len())), false)?;
    }
    Ok(())
}

fn poll_capacity(send: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
    match ready!(send.poll_capacity(cx)) {
        Some(capacity) => Poll::Ready(Ok(capacity?)),
        None => Poll::Ready(Err(closed(send, cx))),
    }
}

/// Why a stream cannot send any more.
fn closed(send: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Error {
    match send.poll_reset(cx) {
        Poll::Ready(Ok(reason)) => Error::Reset(reason),
        Poll::Ready(Err(error)) => error.into(),
        Poll::Pending => Error::Closed,
    }
}

/// An error of the receiving side; a reset by the peer is told from a failed connection.
pub(crate) fn receive_error(error: h2::Error) -> Error {
    match error.reason() {
        Some(reason) if error.is_reset() => Error::Reset(reason),
        _ => error.into(),
    }
}

// === impl StreamIo ===

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.unread.is_empty() {
            match ready!(this.stream.recv.poll_data(cx)) {
                Some(Ok(data)) => this.unread = data,
                Some(Err(error)) => {
                    let error = receive_error(error);
                    let end = if error.is_satisfied() { Ok(()) } else { Err(io_error(error)) };
                    return Poll::Ready(end);
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.unread.len().min(buf.remaining());
        buf.put_slice(this.unread.get(..n).unwrap_or_default());
        this.unread.advance(n);
        let released = this.stream.recv.flow_control().release_capacity(n);
        Poll::Ready(released.map_err(|e| io_error(e.into())))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let send = &mut self.stream.send;
        send.reserve_capacity(buf.len());
        let mut capacity = send.capacity();
        while capacity == 0 {
            capacity = ready!(poll_capacity(send, cx)).map_err(io_error)?;
        }
        let n = capacity.min(buf.len());
        let data = Bytes::copy_from_slice(buf.get(..n).unwrap_or_default());
        send.send_data(data, false).map_err(|e| io_error(e.into()))?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::replace(&mut self.shut, true) {
            return Poll::Ready(Ok(()));
        }
        let ended = self.stream.send.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(|e| io_error(e.into())))
    }
}

fn io_error(error: Error) -> io::Error {
    let kind = match error {
        Error::Reset(_) => io::ErrorKind::ConnectionReset,
        _ => io::ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, error)
}
