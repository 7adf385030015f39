//! Pipes that carry spliced bytes, kept for reuse by each thread.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use tokio::net::TcpStream;

/// Empty pipes that a thread keeps.
const KEPT: usize = 64;
/// Capacities to ask for, best first; what a new pipe has anyway is the last resort.
const CAPACITIES: [i32; 2] = [1 << 20, 1 << 18];
/// With more pipes than this in use, each is filled only to `SCARCE_FILL`: stalled receivers must not pin the memory
/// of the node.
const PLENTY: usize = 64;
/// The fill of a pipe when many are in use.
const SCARCE_FILL: usize = 1 << 16;
/// With this many pipes in use, the next connection copies.
const MOST: usize = 1024;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
}

/// A pipe in use, and how much is in it. Dropped, it is closed with what it holds.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Ends,
    filled: usize,
    _in_use: InUse,
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

/// Counts pipes in use.
#[derive(Debug)]
struct InUse;

// === impl Pipe ===

impl Pipe {
    /// An empty pipe; `None` if enough are in use or the process has no descriptors left.
    pub(super) fn take() -> Option<Self> {
        if IN_USE.load(Ordering::Relaxed) >= MOST {
            return None;
        }
        let ends = match POOL.with_borrow_mut(Vec::pop) {
            Some(ends) => ends,
            None => Ends::new()
                .inspect_err(
                    |error| tracing::debug!(%error, "no pipe to splice through, copying instead"),
                )
                .ok()?,
        };
        Some(Self { ends, filled: 0, _in_use: InUse::new() })
    }

    /// Gives the pipe to the thread's pool, or closes it if it is not empty or the pool is full.
    pub(super) fn put_back(self) {
        if self.filled > 0 {
            return;
        }
        POOL.with_borrow_mut(|pool| {
            if pool.len() < KEPT {
                pool.push(self.ends);
            }
        });
    }

    /// Bytes inside.
    pub(super) fn filled(&self) -> usize {
        self.filled
    }

    /// Moves bytes from `stream` into the empty pipe: how many, 0 at the end of the stream.
    pub(super) fn fill(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let scarce = IN_USE.load(Ordering::Relaxed) > PLENTY;
        let wanted = if scarce { self.ends.capacity.min(SCARCE_FILL) } else { self.ends.capacity };
        let moved = splice(stream, None, &self.ends.writer, None, wanted, flags())?;
        self.filled += moved;
        Ok(moved)
    }

    /// Moves bytes out into `stream`: how many.
    pub(super) fn drain(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let moved = splice(&self.ends.reader, None, stream, None, self.filled, flags())?;
        self.filled = self.filled.saturating_sub(moved);
        Ok(moved)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE
}

// === impl Ends ===

impl Ends {
    fn new() -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        let granted =
            CAPACITIES.iter().find_map(|size| fcntl(&writer, FcntlArg::F_SETPIPE_SZ(*size)).ok());
        let capacity = match granted {
            Some(capacity) => capacity,
            None => fcntl(&writer, FcntlArg::F_GETPIPE_SZ)?,
        };
        Ok(Self { reader, writer, capacity: usize::try_from(capacity).unwrap_or(0) })
    }
}

// === impl InUse ===

impl InUse {
    fn new() -> Self {
        IN_USE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        IN_USE.fetch_sub(1, Ordering::Relaxed);
    }
}
