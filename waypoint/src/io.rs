//! The byte streams that requests travel on, as one type, so that the HTTP codecs are compiled once.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use ambit_hbone::StreamIo;
use ambit_tls::ServerStream;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::head_timer::Reads;
use tokio_rustls::client::TlsStream as ClientStream;

/// A connection with a client or with an endpoint, and what was read of it already.
pub(crate) struct Io {
    unread: Bytes,
    /// Who wants to know when something was read.
    reads: Option<Reads>,
    transport: Transport,
}

/// What carries the bytes.
pub(crate) enum Transport {
    /// A CONNECT stream.
    Tunnel(StreamIo),
    /// A socket.
    Tcp(TcpStream),
    /// TLS that a client opened.
    Server(Box<ServerStream<TcpStream>>),
    /// TLS that this process opened.
    Client(Box<ClientStream<Io>>),
}

// === impl Io ===

impl Io {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { unread: Bytes::new(), reads: None, transport }
    }

    /// Whether this side ended TLS and agreed on HTTP/2 there.
    pub(crate) fn agreed_on_http2(&self) -> bool {
        match &self.transport {
            Transport::Server(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
            _ => false,
        }
    }

    /// The stream with `bytes`, which were read of it, put back in front.
    pub(crate) fn unread(self, bytes: Bytes) -> Self {
        let unread = match (bytes.is_empty(), self.unread.is_empty()) {
            (true, _) => self.unread,
            (_, true) => bytes,
            // What was put back before has been read in part.
            _ => [bytes, self.unread].concat().into(),
        };
        Self { unread, ..self }
    }

    /// The stream, which counts in `reads` how often something was read.
    pub(crate) fn counted(self, reads: Reads) -> Self {
        Self { reads: Some(reads), ..self }
    }

    /// What was put back, and then what comes.
    fn poll_either(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let n = self.unread.len().min(buf.remaining());
            buf.put_slice(self.unread.get(..n).unwrap_or_default());
            self.unread.advance(n);
            return Poll::Ready(Ok(()));
        }
        match &mut self.transport {
            Transport::Tunnel(io) => Pin::new(io).poll_read(cx, buf),
            Transport::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Transport::Server(io) => Pin::new(io).poll_read(cx, buf),
            Transport::Client(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl From<StreamIo> for Io {
    fn from(stream: StreamIo) -> Self {
        Self::new(Transport::Tunnel(stream))
    }
}

impl From<TcpStream> for Io {
    fn from(stream: TcpStream) -> Self {
        Self::new(Transport::Tcp(stream))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_either(cx, buf))?;
        if let Some(reads) = &self.reads
            && buf.filled().len() > before
        {
            reads.fetch_add(1, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tunnel(io) => Pin::new(io).poll_write(cx, buf),
            Transport::Tcp(io) => Pin::new(io).poll_write(cx, buf),
            Transport::Server(io) => Pin::new(io).poll_write(cx, buf),
            Transport::Client(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Tunnel(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Transport::Tcp(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Transport::Server(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Transport::Client(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Tunnel(_) => false,
            Transport::Tcp(io) => io.is_write_vectored(),
            Transport::Server(io) => io.is_write_vectored(),
            Transport::Client(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tunnel(io) => Pin::new(io).poll_flush(cx),
            Transport::Tcp(io) => Pin::new(io).poll_flush(cx),
            Transport::Server(io) => Pin::new(io).poll_flush(cx),
            Transport::Client(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Tunnel(io) => Pin::new(io).poll_shutdown(cx),
            Transport::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Transport::Server(io) => Pin::new(io).poll_shutdown(cx),
            Transport::Client(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_is_put_back_is_read_again_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connect = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(connect, listener.accept());
        drop(far.unwrap());
        let mut io = Io::from(near.unwrap()).unread(Bytes::from_static(b"abcdef"));
        let mut first = [0; 2];
        io.read_exact(&mut first).await.unwrap();
        let mut io = io.unread(first.to_vec().into()).unread(Bytes::new());
        let mut all = String::new();
        io.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "abcdef");
    }
}
