//! How much a tunnel may be sent before its reader has taken it.
//!
//! A stream holds what its reader is too slow for, as much as its window. One such stream is no matter, thousands are the
//! node's memory. So the more streams wait for their readers, the smaller the windows of all of them become; a stream
//! that nobody waits for holds nothing and is as fast as before.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

/// What the streams that wait may hold together if they fill their windows at the same time, bytes.
const TOGETHER: usize = 32 << 20;
/// What each may hold in any case, bytes.
const LEAST: u32 = 32 << 10;

/// Counts streams whose reader is slower than their sender. Clones are handles of the same count.
#[derive(Clone, Debug, Default)]
pub struct Pressure(Arc<AtomicUsize>);

/// The windows of one connection's streams.
#[derive(Debug)]
pub(crate) struct Windows {
    pressure: Pressure,
    full: u32,
    current: u32,
}

/// One stream that waits.
struct Waiting<'a>(&'a Pressure);

// === impl Pressure ===

impl Pressure {
    /// Performs a write to a reader, which counts as waiting if it does not take everything at once.
    pub(crate) async fn write<T>(&self, write: impl Future<Output = T>) -> T {
        let mut write = pin!(write);
        let first = poll_fn(|cx| Poll::Ready(write.as_mut().poll(cx))).await;
        if let Poll::Ready(written) = first {
            return written;
        }
        self.0.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(self);
        write.await
    }

    /// How many streams wait.
    pub fn waiting(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Windows ===

impl Windows {
    pub(crate) fn new(pressure: Pressure, full: u32) -> Self {
        Self { pressure, full, current: full }
    }

    /// Announces another window where the pressure has changed; a change that has not been acknowledged comes first.
    pub(crate) fn adjust(&mut self, announce: impl FnOnce(u32) -> Result<(), h2::Error>) {
        let wanted = wanted(self.pressure.waiting(), self.full, self.current);
        if wanted != self.current && announce(wanted).is_ok() {
            self.current = wanted;
        }
    }
}

/// The window when so many wait: smaller at once, larger only when there is room for twice as many.
fn wanted(waiting: usize, full: u32, current: u32) -> u32 {
    let fitting = fitting(waiting, full);
    if fitting <= current { fitting } else { current.max(self::fitting(2 * waiting, full)) }
}

fn fitting(waiting: usize, full: u32) -> u32 {
    let mut window = full;
    while window / 2 >= LEAST && waiting.saturating_mul(window as usize) > TOGETHER {
        window /= 2;
    }
    window
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: u32 = 1 << 20;

    #[test]
    fn windows_shrink_at_once_and_grow_with_a_margin() {
        for (waiting, current, expected) in [
            (0, 4 * MIB, 4 * MIB),
            (8, 4 * MIB, 4 * MIB),
            (9, 4 * MIB, 2 * MIB),
            (16, 4 * MIB, 2 * MIB),
            (17, 2 * MIB, MIB),
            (200, 4 * MIB, 128 << 10),
            (100_000, 4 * MIB, LEAST),
            // Eight fit into 4 MiB each, but hardly.
            (8, 2 * MIB, 2 * MIB),
            (4, 2 * MIB, 4 * MIB),
            (5, LEAST, 2 * MIB),
            (0, LEAST, 4 * MIB),
        ] {
            assert_eq!(wanted(waiting, 4 * MIB, current), expected, "{waiting} {current}");
        }
        // One that was configured to be small stays so.
        assert_eq!(wanted(100_000, 10_000, 10_000), 10_000);
    }

    #[tokio::test]
    async fn only_writes_that_wait_count() {
        let pressure = Pressure::default();
        assert_eq!(pressure.write(async { 7 }).await, 7);
        let mut waits = Box::pin(pressure.write(std::future::pending::<()>()));
        assert_eq!((&mut waits).now_or_never(), None);
        assert_eq!(pressure.waiting(), 1);
        drop(waits);
        assert_eq!(pressure.waiting(), 0);
    }
}
