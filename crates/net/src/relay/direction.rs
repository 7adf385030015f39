//! One direction of a relay: what it holds between two polls, and one step at a time.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::pipe::Pipe;
use crate::tcp::{drain_hint, send, send_last};

/// Up to this many bytes are moved by reading and writing, which is cheaper for small messages; a read that fills the
/// buffer begins to splice.
const BUFFER: usize = 32 * 1024;

thread_local! {
    /// The thread's copy buffer. Empty between two steps: what a slow receiver leaves moves to the direction.
    static COPY: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// One direction of a relay.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    source: &'a TcpStream,
    destination: &'a TcpStream,
    moved: &'a AtomicU64,
    state: State,
}

/// What a direction does next.
#[derive(Debug)]
enum State {
    /// Read, and write what was read. Holds nothing.
    Copy,
    /// Write what the receiver has left of a read.
    Stalled { data: Box<[u8]>, sent: usize },
    /// Drain the pipe if there is anything in it, else fill it.
    Splice(Pipe),
    /// Nothing, for good.
    Ended,
}

/// How a direction ended.
#[derive(Debug)]
pub(super) enum End {
    /// The source finished, and the destination knows.
    Finished,
    /// Reading failed.
    SourceBroken(io::Error),
    /// Writing failed.
    DestinationBroken(io::Error),
}

// === impl Direction ===

impl<'a> Direction<'a> {
    /// A direction that has moved nothing yet.
    pub(super) fn new(
        source: &'a TcpStream,
        destination: &'a TcpStream,
        moved: &'a AtomicU64,
    ) -> Self {
        Self { source, destination, moved, state: State::Copy }
    }

    /// Moves bytes until the direction ends, one of its sockets has to be waited for, or `budget`, in bytes, is 0.
    /// In the last case nobody will wake the task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> Poll<End> {
        while *budget > 0 {
            let step = match &mut self.state {
                State::Copy => self.copy(cx, budget),
                State::Stalled { .. } => self.write_rest(cx),
                State::Splice(pipe) if pipe.filled() > 0 => self.drain(cx),
                State::Splice(_) => self.fill(cx, budget),
                State::Ended => return Poll::Pending,
            };
            if let Err(end) = ready!(step) {
                self.state = State::Ended;
                return Poll::Ready(end);
            }
        }
        Poll::Pending
    }

    fn copy(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> Poll<Result<(), End>> {
        ready!(self.source.poll_read_ready(cx)).map_err(End::SourceBroken)?;
        Poll::Ready(COPY.with_borrow_mut(|buffer| {
            let read = match self.receive(buffer) {
                Ok(0) => return Err(self.finish()),
                Ok(read) => read,
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(End::SourceBroken(error)),
            };
            *budget = budget.saturating_sub(read);
            let (data, room) = buffer.split_at_mut(read);
            // Once the source has closed it stays ready: its end can go out with its last bytes.
            let after = match self.source.poll_read_ready(cx) {
                Poll::Ready(_) if !room.is_empty() => self.receive(room),
                _ => Err(io::ErrorKind::WouldBlock.into()),
            };
            match after {
                Ok(0) => {
                    self.forward(data, send_last)?;
                    // Where the receiver has left something, the end is met again after it.
                    if matches!(self.state, State::Copy) { Err(self.finish()) } else { Ok(()) }
                }
                Ok(more) => {
                    *budget = budget.saturating_sub(more);
                    self.forward(buffer.get(..read + more).unwrap_or_default(), send)
                }
                Err(error) => {
                    self.forward(data, send)?;
                    if would_block(&error) { Ok(()) } else { Err(End::SourceBroken(error)) }
                }
            }
        }))
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        drain_hint(self.source, Interest::READABLE, buffer.len(), || {
            Ok(recv(self.source.as_raw_fd(), buffer, MsgFlags::empty())?)
        })
    }

    /// Writes what was just read and decides how to go on.
    fn forward(
        &mut self,
        data: &[u8],
        send: fn(&TcpStream, &[u8]) -> io::Result<usize>,
    ) -> Result<(), End> {
        let sent = match send(self.destination, data) {
            Ok(sent) => sent,
            Err(error) if would_block(&error) => 0,
            Err(error) => return Err(End::DestinationBroken(error)),
        };
        self.count(sent);
        match data.get(sent..) {
            Some(rest) if !rest.is_empty() => {
                self.state = State::Stalled { data: rest.into(), sent: 0 }
            }
            _ if data.len() == BUFFER => {
                self.state = Pipe::take().map_or(State::Copy, State::Splice)
            }
            _ => {}
        }
        Ok(())
    }

    fn write_rest(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let State::Stalled { data, sent } = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        ready!(self.destination.poll_write_ready(cx)).map_err(End::DestinationBroken)?;
        let written = match send(self.destination, data.get(*sent..).unwrap_or_default()) {
            Ok(written) => written,
            Err(error) if would_block(&error) => 0,
            Err(error) => return Poll::Ready(Err(End::DestinationBroken(error))),
        };
        *sent += written;
        if *sent >= data.len() {
            // The receiver is the slower one, so there is more to come.
            self.state = Pipe::take().map_or(State::Copy, State::Splice);
        }
        self.count(written);
        Poll::Ready(Ok(()))
    }

    fn fill(&mut self, cx: &mut Context<'_>, budget: &mut usize) -> Poll<Result<(), End>> {
        let State::Splice(pipe) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        let filled = match self.source.poll_read_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.source.try_io(Interest::READABLE, || pipe.fill(self.source))
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        };
        match filled {
            Ok(0) => Poll::Ready(Err(self.finish())),
            Ok(moved) => {
                *budget = budget.saturating_sub(moved);
                Poll::Ready(Ok(()))
            }
            Err(error) if would_block(&error) => {
                self.release();
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(End::SourceBroken(error))),
        }
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let State::Splice(pipe) = &mut self.state else {
            return Poll::Ready(Ok(()));
        };
        ready!(self.destination.poll_write_ready(cx)).map_err(End::DestinationBroken)?;
        match self.destination.try_io(Interest::WRITABLE, || pipe.drain(self.destination)) {
            Ok(moved) => self.count(moved),
            Err(error) if would_block(&error) => {}
            Err(error) => return Poll::Ready(Err(End::DestinationBroken(error))),
        }
        Poll::Ready(Ok(()))
    }

    /// Gives an empty pipe back and goes on copying.
    fn release(&mut self) {
        if let State::Splice(pipe) = std::mem::replace(&mut self.state, State::Copy) {
            pipe.put_back();
        }
    }

    /// Tells the destination that the source has finished.
    fn finish(&mut self) -> End {
        self.release();
        match SockRef::from(self.destination).shutdown(Shutdown::Write) {
            Ok(()) => End::Finished,
            Err(error) => End::DestinationBroken(error),
        }
    }

    fn count(&self, moved: usize) {
        self.moved.fetch_add(moved as u64, Ordering::Relaxed);
    }
}

fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
