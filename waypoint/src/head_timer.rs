//! How long the head of a request may take, counted from its first byte: a connection without requests is no slow one.
//!
//! The codec starts its timer as soon as it waits for a head, and so would close what clients keep open for later.
//! Whatever they send at that moment would be lost, and not all of it may be sent again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};
use parking_lot::Mutex;
use tokio::time::{Instant as Deadline, Sleep as TokioSleep};

/// How often something has been read from a connection.
pub(crate) type Reads = Arc<AtomicU64>;

/// The timer of one connection's codec.
pub(crate) struct HeadTimer {
    shared: Arc<Shared>,
}

struct Shared {
    reads: Reads,
    /// How long a head may take.
    head: Duration,
    /// How long there may be none.
    idle: Duration,
    /// One for all heads: what is set for a later time than is wanted is found out when it wakes.
    alarm: Mutex<Pin<Box<TokioSleep>>>,
}

/// The wait for one head.
struct Wait {
    shared: Arc<Shared>,
    /// How much had been read when the wait began.
    before: u64,
    /// When it is over.
    until: Deadline,
    begun: bool,
}

// === impl HeadTimer ===

impl HeadTimer {
    /// For a connection that counts what is read in `reads`.
    pub(crate) fn new(reads: Reads, head: Duration, idle: Duration) -> Self {
        let alarm = Mutex::new(Box::pin(tokio::time::sleep(idle)));
        Self { shared: Arc::new(Shared { reads, head, idle, alarm }) }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, head: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(Deadline::now().into_std() + head)
    }

    /// The codec asks for the time that a head may take from now on.
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        let shared = self.shared.clone();
        let idle = shared.idle.saturating_sub(shared.head);
        Box::pin(Wait {
            before: shared.reads.load(Relaxed),
            until: Deadline::from_std(deadline) + idle,
            begun: false,
            shared,
        })
    }
}

// === impl Wait ===

impl Sleep for Wait {}

impl Future for Wait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.begun && self.shared.reads.load(Relaxed) > self.before {
            self.begun = true;
            self.until = Deadline::now() + self.shared.head;
        }
        let mut alarm = self.shared.alarm.lock();
        if alarm.deadline() > self.until {
            alarm.as_mut().reset(self.until);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if Deadline::now() >= self.until {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_from_its_first_byte_on() {
        let second = Duration::from_secs(1);
        let reads = Reads::default();
        let timer = HeadTimer::new(reads.clone(), 15 * second, 3600 * second);
        let began = tokio::time::Instant::now();
        timer.sleep(15 * second).await;
        assert_eq!(began.elapsed().as_secs(), 3600);

        // The codec asks again whenever something was read.
        let mut wait = timer.sleep(15 * second);
        let began = tokio::time::Instant::now();
        assert!(tokio::time::timeout(100 * second, wait.as_mut()).await.is_err());
        for _ in 0..3 {
            reads.fetch_add(1, Relaxed);
            assert!(tokio::time::timeout(4 * second, wait.as_mut()).await.is_err());
        }
        wait.await;
        assert_eq!(began.elapsed().as_secs(), 115);

        // A connection that has had requests has all of its time again.
        let began = tokio::time::Instant::now();
        timer.sleep(15 * second).await;
        assert_eq!(began.elapsed().as_secs(), 3600);
    }
}
