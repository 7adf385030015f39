//! Drain: telling everything that holds connections to finish, and waiting until it has.
//!
//! A connection's task holds a [`DrainToken`], learns from it that and how to end, and drops it when it has ended.
//! Drains nest: a [`child`](Drain::child) ends with its parent or alone, as the connections of one pod do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How connections should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrainMode {
    /// Take nothing new, announce the end (GOAWAY) and let what runs finish.
    Graceful,
    /// End now.
    Immediate,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every token was dropped in time.
    All,
    /// The deadline passed; so many tokens are still held.
    TimedOut {
        /// Tokens, here and in children, that were not dropped.
        remaining: usize,
    },
}

/// Starts a drain and waits for its end; hands out the tokens.
#[derive(Clone, Debug)]
pub struct Drain {
    mode: Arc<watch::Sender<Option<DrainMode>>>,
    parent: Option<DrainToken>,
}

/// Held by whatever has to end before the drain is over. Clones count as holders of their own.
#[derive(Clone, Debug)]
pub struct DrainToken {
    mode: watch::Receiver<Option<DrainMode>>,
    parent: Option<Box<DrainToken>>,
}

// === impl Drain ===

impl Drain {
    /// A drain that has not started.
    pub fn new() -> Self {
        Self { mode: Arc::new(watch::Sender::new(None)), parent: None }
    }

    /// A drain that also starts when `self` does, and that `self` waits for as long as it is alive.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { parent: Some(self.token()), ..Self::new() }
    }

    /// A token. After the drain has started a token may still be taken; it learns of the drain at once.
    pub fn token(&self) -> DrainToken {
        DrainToken { mode: self.mode.subscribe(), parent: self.parent.clone().map(Box::new) }
    }

    /// How many tokens are held, children included.
    pub fn holders(&self) -> usize {
        self.mode.receiver_count()
    }

    /// Tells every holder, without waiting. A graceful drain may be made immediate later, never the other way round.
    pub fn start(&self, mode: DrainMode) {
        self.mode.send_if_modified(|current| {
            let stronger = current.is_none_or(|running| running < mode);
            if stronger {
                *current = Some(mode);
            }
            stronger
        });
    }

    /// Starts the drain and waits until no token is held, or for `deadline` at most.
    pub async fn drain(&self, mode: DrainMode, deadline: Duration) -> Drained {
        self.start(mode);
        match timeout(deadline, self.mode.closed()).await {
            Ok(()) => Drained::All,
            Err(_) => Drained::TimedOut { remaining: self.holders() },
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

// === impl DrainToken ===

impl DrainToken {
    /// The drain's mode, if it has started.
    pub fn mode(&self) -> Option<DrainMode> {
        let own = *self.mode.borrow();
        own.max(self.parent.as_ref().and_then(|parent| parent.mode()))
    }

    /// Waits for the drain to start, here or above, and says how it wants connections to end.
    ///
    /// Where the drain itself is dropped without having started, nobody is left to wait: immediate.
    pub async fn started(&mut self) -> DrainMode {
        self.reached(DrainMode::Graceful).await
    }

    /// Waits until connections have to end at once, here or above.
    pub async fn immediate(&mut self) {
        self.reached(DrainMode::Immediate).await;
    }

    async fn reached(&mut self, wanted: DrainMode) -> DrainMode {
        let Some(parent) = &mut self.parent else {
            return wait(&mut self.mode, wanted).await;
        };
        // One level of boxing per level of nesting; there are two.
        tokio::select! {
            mode = wait(&mut self.mode, wanted) => mode,
            mode = Box::pin(parent.reached(wanted)) => mode,
        }
    }
}

async fn wait(mode: &mut watch::Receiver<Option<DrainMode>>, wanted: DrainMode) -> DrainMode {
    match mode.wait_for(|mode| mode.is_some_and(|mode| mode >= wanted)).await {
        Ok(mode) => mode.unwrap_or(DrainMode::Immediate),
        Err(_) => DrainMode::Immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn waits_for_every_holder() {
        let drain = Drain::new();
        let mut token = drain.token();
        assert_eq!(token.mode(), None);
        let holder = tokio::spawn(async move { token.started().await });
        assert_eq!(drain.drain(DrainMode::Graceful, SOON).await, Drained::All);
        assert_eq!(holder.await.unwrap(), DrainMode::Graceful);
    }

    #[tokio::test(start_paused = true)]
    async fn gives_up_at_the_deadline() {
        let drain = Drain::new();
        let held = (drain.token(), drain.token());
        let drained = drain.drain(DrainMode::Graceful, SOON).await;
        assert_eq!(drained, Drained::TimedOut { remaining: 2 });
        drop(held);
    }

    #[tokio::test]
    async fn only_grows_stronger() {
        let drain = Drain::new();
        let mut token = drain.token();
        drain.start(DrainMode::Graceful);
        assert_eq!(token.started().await, DrainMode::Graceful);
        drain.start(DrainMode::Immediate);
        token.immediate().await;
        drain.start(DrainMode::Graceful);
        assert_eq!(token.mode(), Some(DrainMode::Immediate));
        let mut late = drain.token();
        assert_eq!(late.started().await, DrainMode::Immediate);
    }

    #[tokio::test]
    async fn a_child_ends_alone() {
        let process = Drain::new();
        let pod = process.child();
        let mut token = pod.token();
        pod.start(DrainMode::Immediate);
        assert_eq!(token.started().await, DrainMode::Immediate);
        assert_eq!(process.token().mode(), None);
        drop(token);
        assert_eq!(pod.drain(DrainMode::Immediate, SOON).await, Drained::All);
    }

    #[tokio::test]
    async fn a_child_ends_with_its_parent() {
        let process = Drain::new();
        let pod = process.child();
        let mut token = pod.token();
        let holder = tokio::spawn(async move {
            let mode = token.started().await;
            drop((token, pod));
            mode
        });
        assert_eq!(process.drain(DrainMode::Graceful, SOON).await, Drained::All);
        assert_eq!(holder.await.unwrap(), DrainMode::Graceful);
    }

    #[tokio::test]
    async fn a_forgotten_drain_ends_its_holders() {
        let drain = Drain::new();
        let mut token = drain.token();
        drop(drain);
        assert_eq!(token.started().await, DrainMode::Immediate);
    }
}
