//! Writes log lines in batches from a thread of its own, so that logging never blocks a connection.
//!
//! The first line after a pause starts a batch; it is written 10 ms later, or as soon as it is large. When whoever
//! reads the log does not keep up and the buffer is full, lines are dropped and their number is told in a line of
//! its own: a stuck log pipe must not stop a node's traffic.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for company.
const BATCH_DELAY: Duration = Duration::from_millis(10);
/// A batch of this many bytes waits no longer.
const BATCH_BYTES: usize = 64 * 1024;
/// The most that waits to be written.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// A buffer that grew beyond this is given back after a burst.
const KEPT_BYTES: usize = 16 * 1024;

/// Writes what is left and ends the writing thread when dropped.
#[derive(Debug)]
pub struct LogGuard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A `MakeWriter` of whole lines.
#[derive(Clone, Debug)]
pub(super) struct LineWriter(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    dropped: u64,
    closed: bool,
}

/// A writer and the guard of its thread.
pub(super) fn spawn(out: impl Write + Send + 'static) -> io::Result<(LineWriter, LogGuard)> {
    let shared = Arc::new(Shared::default());
    let writing = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || writing.write_until_closed(out))?;
    Ok((LineWriter(Arc::clone(&shared)), LogGuard { shared, thread: Some(thread) }))
}

// === impl Shared ===

impl Shared {
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.lines.len() + line.len() > MAX_BYTES {
            state.dropped += 1;
            return;
        }
        let before = state.lines.len();
        state.lines.extend_from_slice(line);
        let starts = before == 0;
        let fills = before < BATCH_BYTES && state.lines.len() >= BATCH_BYTES;
        drop(state);
        if starts || fills {
            self.changed.notify_one();
        }
    }

    /// An output that cannot be written to any more ends nothing: there is nobody left to tell.
    fn write_until_closed(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        while self.next_batch(&mut batch) {
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits for a batch and swaps it into the empty `batch`; false when closed and nothing is left.
    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        let mut state = self.state.lock();
        while state.lines.is_empty() && state.dropped == 0 {
            if state.closed {
                return false;
            }
            self.changed.wait(&mut state);
        }
        let deadline = Instant::now() + BATCH_DELAY;
        while state.lines.len() < BATCH_BYTES && !state.closed {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        std::mem::swap(batch, &mut state.lines);
        let dropped = std::mem::take(&mut state.dropped);
        drop(state);
        if dropped > 0 {
            let _ =
                writeln!(batch, "{dropped} log lines were dropped here: their reader is too slow");
        }
        true
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl LineWriter ===

impl<'w> MakeWriter<'w> for LineWriter {
    type Writer = &'w Self;

    fn make_writer(&'w self) -> Self::Writer {
        self
    }
}

impl Write for &LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_out_when_the_guard_is_gone() {
        let sink = Sink::default();
        let (writer, guard) = spawn(sink.clone()).unwrap();
        let expected: Vec<u8> =
            (0..1000).flat_map(|n| format!("line {n}\n").into_bytes()).collect();
        for line in expected.split_inclusive(|b| *b == b'\n') {
            (&writer).write_all(line).unwrap();
        }
        drop(guard);
        assert_eq!(*sink.0.lock(), expected);
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_says_so() {
        let sink = Sink::default();
        let stuck = sink.0.lock();
        let (writer, guard) = spawn(sink.clone()).unwrap();
        let line = vec![b'x'; 1024];
        let (fits, spare) = (MAX_BYTES / line.len(), 3);
        // The thread may take one batch before it is stuck; after that nothing leaves the buffer.
        for _ in 0..2 * fits + spare {
            (&writer).write_all(&line).unwrap();
        }
        drop(stuck);
        drop(guard);
        let written = sink.0.lock();
        let text = String::from_utf8_lossy(&written);
        assert!(text.contains("log lines were dropped here"), "{} bytes", text.len());
        assert!(written.len() <= 2 * MAX_BYTES + 1024);
    }
}
