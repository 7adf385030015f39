//! A read buffer between a socket and rustls, which asks for 4,096 bytes at a time.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is asked of the socket at once, in bytes: four full TLS records.
const BLOCK: usize = 64 * 1024;

/// How many idle blocks one thread keeps for its next reads.
const SPARE: usize = 4;

type Block = Box<[u8]>;

thread_local! {
    static SPARES: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// `S` with large reads. Writes pass straight through.
///
/// The block is borrowed from the thread while it holds bytes that rustls has not taken yet, so that an idle
/// connection holds none.
#[derive(Debug)]
pub struct BufferedIo<S> {
    inner: S,
    held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    block: Block,
    start: usize,
    end: usize,
}

// === impl BufferedIo ===

impl<S> BufferedIo<S> {
    /// Wraps `inner`; allocates nothing.
    pub fn new(inner: S) -> Self {
        Self { inner, held: None }
    }

    /// Wraps `inner`, of which `read` has been read already.
    pub fn with_unread(inner: S, read: &[u8]) -> Self {
        let held = Held { block: read.into(), start: 0, end: read.len() };
        Self { inner, held: (!read.is_empty()).then_some(held) }
    }

    /// The wrapped stream.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped stream. Reading from it would skip what is buffered.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Whether bytes wait in a block at this moment.
    pub fn holds_block(&self) -> bool {
        self.held.is_some()
    }

    /// Moves waiting bytes to `buf`; false if there are none.
    fn serve(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(held) = &mut self.held else {
            return false;
        };
        let waiting = held.block.get(held.start..held.end).unwrap_or_default();
        let (now, later) = waiting.split_at(waiting.len().min(buf.remaining()));
        buf.put_slice(now);
        held.start += now.len();
        if later.is_empty() {
            release(self.held.take());
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BufferedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 || self.serve(buf) {
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() >= BLOCK {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let mut block = borrow();
        let mut large = ReadBuf::new(&mut block);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut large);
        let end = large.filled().len();
        if end == 0 || !matches!(read, Poll::Ready(Ok(()))) {
            release(Some(Held { block, start: 0, end: 0 }));
            return read;
        }
        ready!(read)?;
        self.held = Some(Held { block, start: 0, end });
        self.serve(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BufferedIo<S> {
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

fn borrow() -> Block {
    let spare = SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
    spare.unwrap_or_else(|| vec![0; BLOCK].into_boxed_slice())
}

fn release(held: Option<Held>) {
    let Some(held) = held else {
        return;
    };
    // While the thread ends there is no place to keep it, and it is simply freed.
    let _ = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < SPARE && held.block.len() == BLOCK {
            spares.push(held.block);
        }
    });
}
