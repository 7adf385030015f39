//! The end of what a process wrote.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is kept, in bytes.
const KEPT: usize = 256 << 10;

/// Collects the output of a process, the last 256 KiB of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<u8>>>);

// === impl Log ===

impl Log {
    /// Takes over a child's output streams, where they are piped.
    pub(crate) fn follow(&self, child: &mut tokio::process::Child) {
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(self.clone().collect(stdout));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(self.clone().collect(stderr));
        }
    }

    async fn collect(self, mut stream: impl AsyncRead + Unpin) {
        let mut chunk = vec![0; 8 << 10];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            let mut kept = self.0.lock();
            kept.extend(chunk.iter().take(count));
            let excess = kept.len().saturating_sub(KEPT);
            kept.drain(..excess);
        }
    }

    /// What is kept.
    pub(crate) fn text(&self) -> String {
        let mut kept = self.0.lock();
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }

    /// The last lines on one, for an error message.
    pub(crate) fn last_words(&self) -> String {
        let text = self.text();
        let lines: Vec<&str> =
            text.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        let words: Vec<&str> = lines.into_iter().rev().collect();
        match words.is_empty() {
            true => "none".to_owned(),
            false => crate::manifest::one_line(&words.join(" | ")),
        }
    }
}
