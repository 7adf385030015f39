//! A byte stream that lets others on its thread go on.
//!
//! HTTP/2 takes in frames for as long as there are bytes to read, which a peer can see to, and small frames are much work
//! for few bytes. So after a while there seems to be nothing to read, until everybody else has had their turn.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

/// How long reading may go on without a break.
const SLICE: Duration = Duration::from_millis(1);

/// `S`, read in slices of time.
#[derive(Debug)]
pub(crate) struct Sliced<S> {
    inner: S,
    /// When it was first read from since the last break.
    began: Option<Instant>,
}

// === impl Sliced ===

impl<S> Sliced<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, began: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sliced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let began = *self.began.get_or_insert_with(Instant::now);
        if began.elapsed() > SLICE {
            self.began = None;
            // Unlike a mere wake, this waits for news from the kernel as well.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if read.is_pending() {
            self.began = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sliced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    struct Endless;

    impl AsyncRead for Endless {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buf.put_slice(&[7; 16]);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_endless_stream_leaves_others_their_turn() {
        let mut endless = Sliced::new(Endless);
        let mut block = [0; 64];
        let began = Instant::now();
        let read = async {
            loop {
                endless.read_exact(&mut block).await.unwrap();
            }
        };
        let others = async {
            for _ in 0..10 {
                yield_now().await;
            }
        };
        tokio::select! {
            () = read => {}
            () = others => {}
        }
        assert!(began.elapsed() >= 5 * SLICE, "a slice is used up: {:?}", began.elapsed());
    }
}
