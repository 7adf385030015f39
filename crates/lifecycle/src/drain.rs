//! Drain: no new connections first, then time to finish, then the end.

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The two steps in which whatever holds connections ends. Clones are handles of the same drain.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// No new connections; running ones announce their end (GOAWAY) and go on.
    pub closing: CancellationToken,
    /// Running connections end.
    pub ended: CancellationToken,
    /// Accept loops and connections: the drain is over when the last of them is.
    pub tasks: TaskTracker,
}

impl Drain {
    /// Runs `task` as one of those that the drain waits for; dropped unfinished where the drain does not wait any longer.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move {
            let _ = ended.run_until_cancelled_owned(task).await;
        });
    }

    /// Ends everything at once, without waiting for it.
    pub fn end(&self) {
        self.closing.cancel();
        self.ended.cancel();
        self.tasks.close();
    }

    /// Stops accepting and lets connections finish until `deadline`. Says whether all have finished.
    pub async fn close(&self, deadline: Instant) -> bool {
        self.closing.cancel();
        self.tasks.close();
        timeout_at(deadline, self.tasks.wait()).await.is_ok()
    }

    /// Stops accepting, lets connections finish until `deadline`, then ends them. Says whether all finished by themselves.
    pub async fn finish(&self, deadline: Instant) -> bool {
        let finished = self.close(deadline).await;
        self.ended.cancel();
        self.tasks.wait().await;
        finished
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn waits_for_every_task() {
        let drain = Drain::default();
        let closing = drain.closing.clone();
        drain.spawn(async move {
            closing.cancelled().await;
            tokio::time::sleep(SOON / 2).await;
        });
        let began = Instant::now();
        assert!(drain.finish(began + SOON).await);
        assert_eq!(began.elapsed(), SOON / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn ends_what_lasts_longer() {
        let drain = Drain::default();
        drain.spawn(std::future::pending());
        let ended = drain.ended.clone();
        drain.tasks.spawn(async move { ended.cancelled().await });
        let began = Instant::now();
        assert!(!drain.finish(began + SOON).await);
        assert_eq!(began.elapsed(), SOON);
    }

    #[tokio::test]
    async fn ends_at_once() {
        let drain = Drain::default();
        drain.spawn(std::future::pending());
        drain.end();
        drain.tasks.wait().await;
        assert!(drain.closing.is_cancelled());
    }
}
