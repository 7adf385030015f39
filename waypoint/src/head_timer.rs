//! How long the head of a request may take, counted from its first byte: a connection without requests is no slow one.
//!
//! The codec starts its timer as soon as it waits for a head, and so would close what clients keep open for later.
//! Whatever they send at that moment would be lost, and not all of it may be sent again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use tokio::time::Sleep as TokioSleep;

/// How often something has been read from a connection.
pub(crate) type Reads = Arc<AtomicU64>;

/// The timer of one connection's codec.
pub(crate) struct HeadTimer {
    pub(crate) reads: Reads,
    /// How long a head may take.
    pub(crate) head: Duration,
    /// How long there may be none.
    pub(crate) idle: Duration,
}

/// The wait for one head.
struct Wait {
    reads: Reads,
    /// How much had been read when the wait began.
    before: u64,
    head: Duration,
    begun: bool,
    over: Pin<Box<TokioSleep>>,
}

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Wait {
            before: self.reads.load(Relaxed),
            reads: self.reads.clone(),
            head: self.head,
            begun: false,
            over: Box::pin(tokio::time::sleep(self.idle)),
        })
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.reads.load(Relaxed) > self.before {
            self.begun = true;
            let until = tokio::time::Instant::now() + self.head;
            self.over.as_mut().reset(until);
        }
        self.over.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let second = Duration::from_secs(1);
        let timer = HeadTimer { reads: Reads::default(), head: 15 * second, idle: 3600 * second };
        let began = tokio::time::Instant::now();
        timer.sleep(second).await;
        assert_eq!(began.elapsed().as_secs(), 3600);

        // The codec asks again whenever something was read.
        let mut wait = timer.sleep(second);
        let began = tokio::time::Instant::now();
        assert!(tokio::time::timeout(100 * second, wait.as_mut()).await.is_err());
        for _ in 0..3 {
            timer.reads.fetch_add(1, Relaxed);
            assert!(tokio::time::timeout(4 * second, wait.as_mut()).await.is_err());
        }
        wait.await;
        assert_eq!(began.elapsed().as_secs(), 115);
    }
}
